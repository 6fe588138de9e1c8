"""One target, looked at in one snapshot: judged against the phase, and described for the report."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from types import MappingProxyType

from runbooks_lib.facts.databases import Held, HeldEnum, HeldIndex, HeldTable
from runbooks_lib.findings import CLOSING, Finding, Note, Verdict
from runbooks_lib.phase import Phase, Target
from runbooks_lib.postgres.catalog.catalog import Catalog, Key, count_rows, read_catalog
from runbooks_lib.postgres.session.connect import Sessions
from runbooks_lib.steps.extras import check_extras
from runbooks_lib.steps.schema_checks import Added, check_row_counts, check_schema

NOTHING_SEEN: Mapping[str, Held] = MappingProxyType({})
AS_DECLARED = "as declared"
MANY_OBJECTS = 60  # from which on a row for each index would be most of the table


def inspect(
    phase: Phase,
    sessions: Sessions,
    name: str,
    target: Target,
    *,
    created_by: str | None,
    adds: Collection[Added] = (),
    own: Collection[Key] = frozenset(),
) -> tuple[tuple[Finding, ...], Held]:
    """Judge one target's catalogue and row counts in one snapshot; also describe what is there.

    Raises ConnectionFailed when the target cannot be read.
    """
    with sessions.snapshot(name) as conn:
        catalog = read_catalog(conn)
        present = tuple(t.name for t in phase.tables if t.name in catalog.tables())
        counts = count_rows(conn, present)
    findings = check_schema(phase, name, catalog, created_by=created_by, adds=adds)
    findings += tuple(check_extras(phase, name, catalog, own))
    if target.data:
        findings += check_row_counts(phase, name, counts, created_by=created_by)
    return findings, describe(phase, catalog, counts)


def describe(phase: Phase, catalog: Catalog, counts: dict[str, int]) -> Held:
    """Describe the phase's objects as a catalogue holds them; absent ones are left out."""
    return Held(
        fingerprint=catalog.fingerprint(),
        tables={
            table.name: HeldTable(owner=catalog.relations[table.name].owner, rows=counts[table.name])
            for table in phase.tables
            if table.name in counts
        },
        enums={
            enum.name: HeldEnum(owner=live.owner, labels=live.labels)
            for enum in phase.enums
            if (live := catalog.enums.get(enum.name))
        },
        indexes={
            index.name: HeldIndex(
                table=found.relation,
                definition=found.definition,
                unique=found.is_unique,
                valid=found.is_valid,
            )
            for index in phase.indexes
            if (found := catalog.indexes.get(index.name))
        },
    )


def by_object(
    findings: Sequence[Finding], facts: Mapping[str, Held] = NOTHING_SEEN
) -> tuple[dict[str, str], ...]:
    """Return one row per object with what is to be said of it at each target, for a table that a person reads.

    Says "as declared", or "absent" where that is allowed, or why it was not judged; else the checks that it fails
    with what was seen. Where the objects are many, an index that is as declared everywhere has no row of its own: its
    table's row counts it.
    """
    targets = tuple(dict.fromkeys(f.target for f in findings))
    seen: dict[str, dict[str, list[Finding]]] = {}
    for finding in findings:
        seen.setdefault(finding.object, {}).setdefault(finding.target, []).append(finding)
    rows = {name: {t: _in_short(found.get(t, ())) for t in targets} for name, found in seen.items()}
    of = {index: held.table for look in facts.values() for index, held in look.indexes.items()}
    well = {name for name in of if name in rows and set(rows[name].values()) == {AS_DECLARED}}
    folded = Counter(of[name] for name in well if of[name] in rows) if len(rows) > MANY_OBJECTS else Counter()
    return tuple(
        {"object": name, **said, **({"indexes as declared": str(folded[name])} if folded else {})}
        for name, said in rows.items()
        if not (name in well and folded[of[name]])
    )


def besides_as_declared(rows: Sequence[dict[str, str]], target: str) -> tuple[dict[str, str], ...]:
    """Return the rows of what is not as declared at a target, and one for everything else: the plan has named it."""
    others = [row for row in rows if row[target] != AS_DECLARED]
    rest = f"{'everything else' if others else 'everything'} that the plan names"
    return (*([{"object": rest, target: AS_DECLARED}] if len(others) < len(rows) else []), *others)


def _in_short(findings: Sequence[Finding]) -> str:
    if failed := [f for f in findings if f.verdict in CLOSING or f.verdict is Verdict.OPEN]:
        return "; ".join(f"{f.verdict} {f.check}: {f.have}" for f in failed)
    if not findings:
        return "-"
    first = findings[0]
    untold = first.verdict is Verdict.SKIP or first.note is Note.ABSENT
    return first.have if untold else AS_DECLARED
