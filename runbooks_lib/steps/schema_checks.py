"""Does a catalogue hold what the phase declares? pgTAP's vocabulary, one finding per object and check.

`created_by` names the step that is still to create the objects: until then an object may be absent or equal,
never different.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import replace
from typing import TypeVar

from runbooks_lib.checks import Check
from runbooks_lib.findings import Finding, Note, Verdict, judge
from runbooks_lib.names import qualified, quoted
from runbooks_lib.phase import Column, Enum, Index, Phase, Table
from runbooks_lib.postgres.catalog.catalog import Catalog
from runbooks_lib.postgres.catalog.catalog import Column as LiveColumn
from runbooks_lib.postgres.catalog.catalog import Index as LiveIndex

Added = tuple[str, str]  # a column and its table, or a label and its enum: (table or enum, column or label)


def check_schema(
    phase: Phase,
    target: str,
    catalog: Catalog,
    *,
    created_by: str | None = None,
    adds: Collection[Added] = (),
) -> tuple[Finding, ...]:
    """Compare a target's catalogue with the tables, enums and indexes of the phase.

    Reads nothing but its arguments. `adds` are the columns and labels that are still to be added: where one is
    missing, the rest is compared, and the finding is SKIP. Returns one finding per object and check.
    """
    findings: list[Finding] = []
    for table in phase.tables:
        live = {column.name for column in catalog.columns.get(table.name, ())}
        declared = [column.name for column in table.columns or ()]
        to_come = [name for name in declared if (table.name, name) in adds and name not in live]
        present = replace(
            table, columns=_but(table.columns, [c for c in table.columns or () if c.name in to_come])
        )
        found = check_table(target, present, catalog, created_by=created_by)
        findings.extend(_without(Check.COLUMNS_ARE, finding, to_come) for finding in found)
    for enum in phase.enums:
        there = catalog.enums[enum.name].labels if enum.name in catalog.enums else ()
        to_come = [name for name in enum.labels or () if (enum.name, name) in adds and name not in there]
        known = replace(enum, labels=_but(enum.labels, to_come))
        found = check_enum(target, known, catalog, created_by=created_by)
        findings.extend(_without(Check.ENUM_HAS_LABELS, finding, to_come) for finding in found)
    owners = {table.name: table.owner for table in phase.tables}
    for index in phase.indexes:
        findings.extend(check_index(target, index, owners, catalog, created_by=created_by))
    return tuple(findings)


T = TypeVar("T")


def _but(declared: tuple[T, ...] | None, left: Collection[T]) -> tuple[T, ...] | None:
    return None if declared is None else tuple(each for each in declared if each not in left)


def _without(check: Check, finding: Finding, to_come: list[str]) -> Finding:
    """Return the finding as SKIP where it passes only because something is still to be added."""
    if not to_come or finding.check != check or finding.verdict is not Verdict.PASS:
        return finding
    names = ", ".join(to_come)
    have, want = (
        f"{finding.have}, without {names}",
        f"{finding.want}, without {names} until it is added",
    )
    return replace(finding, have=have, want=want, verdict=Verdict.SKIP)


def check_table(target: str, table: Table, catalog: Catalog, *, created_by: str | None) -> Iterator[Finding]:
    """Check has_table, and as far as declared table_owner_is, columns_are and col_is_pk, for one table."""
    relation = catalog.relations.get(table.name)
    if relation is None or relation.kind not in "rp" or relation.persistence != "p":
        yield _lacks(Check.HAS_TABLE, target, table.name, catalog, created_by)
        return
    yield _holds(Check.HAS_TABLE, target, table.name, created_by)
    if table.owner is not None:
        yield _owner_is(Check.TABLE_OWNER_IS, target, table.name, relation.owner, table.owner, kind="TABLE")
    if table.columns is not None:
        have, want = _columns(catalog.columns.get(table.name, ()), table.columns)
        yield judge(
            Check.COLUMNS_ARE,
            target,
            table.name,
            have=have,
            want=want,
            hint="CREATE TABLE IF NOT EXISTS would hide this: bring the table or the phase file in line first.",
        )
    if table.primary_key is not None:
        yield judge(
            Check.COL_IS_PK,
            target,
            table.name,
            have=", ".join(catalog.primary_key(table.name)) or "no primary key",
            want=", ".join(table.primary_key) or "no primary key",
            hint="A key of other columns lets rows in twice, or keeps rows out: compare it with the migration.",
        )


def check_enum(target: str, enum: Enum, catalog: Catalog, *, created_by: str | None) -> Iterator[Finding]:
    """Check has_enum, and as far as declared enum_owner_is and enum_has_labels (order matters), for one enum type."""
    live = catalog.enums.get(enum.name)
    if live is None:
        yield _lacks(Check.HAS_ENUM, target, enum.name, catalog, created_by)
        return
    yield _holds(Check.HAS_ENUM, target, enum.name, created_by)
    if enum.owner is not None:
        yield _owner_is(Check.ENUM_OWNER_IS, target, enum.name, live.owner, enum.owner, kind="TYPE")
    if enum.labels is not None:
        yield judge(
            Check.ENUM_HAS_LABELS,
            target,
            enum.name,
            have=", ".join(live.labels),
            want=", ".join(enum.labels),
            hint="The order of labels is their sort order. A missing label can be added (ALTER TYPE … ADD VALUE); "
            "a wrong order needs a new type.",
        )


def _owner_is(check: Check, target: str, name: str, have: str, want: str, *, kind: str) -> Finding:
    hint = f"As a superuser or the present owner: ALTER {kind} {quoted(name)} OWNER TO {quoted(qualified(want))};"
    return judge(check, target, name, have=have, want=want, hint=hint)


def check_index(
    target: str, index: Index, owners: Mapping[str, str | None], catalog: Catalog, *, created_by: str | None
) -> Iterator[Finding]:
    """Check has_index, index_is_valid, and as far as declared index_is and index_owner_is, for one index.

    `owners` are the declared owners of tables: an index has its table's.
    """
    live = catalog.indexes.get(index.name)
    if live is None:
        lacking = _lacks(Check.HAS_INDEX, target, index.name, catalog, created_by)
        wrong = lacking.verdict is Verdict.FAIL
        yield replace(lacking, hint=_create_again(index, catalog)) if wrong else lacking
        return
    yield _holds(Check.HAS_INDEX, target, index.name, created_by)
    have, want = _definitions(live, index)
    if want:
        yield judge(
            Check.INDEX_IS,
            target,
            index.name,
            have=have,
            want=want,
            hint="An index of the same name on other columns: drop and create it (CONCURRENTLY on a busy table).",
        )
    owner = owners.get(index.table or live.relation)
    if owner is not None:
        yield judge(
            Check.INDEX_OWNER_IS,
            target,
            index.name,
            have=live.owner,
            want=owner,
            hint="An index has its table's owner: mend the table's owner.",
        )
    yield judge(
        Check.INDEX_IS_VALID,
        target,
        index.name,
        have="valid" if live.is_valid else "INVALID",
        want="valid",
        hint="A CREATE INDEX CONCURRENTLY failed half-way: DROP INDEX and create it again, or REINDEX.",
    )


def _create_again(index: Index, catalog: Catalog) -> str:
    """Return what to do about an index that is gone: its statement, where the phase has it."""
    if index.table is not None and index.table not in catalog.tables():
        return "Its table is not there either: see the finder's matrix, which database holds it?"
    statement = f": {index.definition};" if index.definition else ", as its migration makes it."
    return f"Create it again on the primary{statement} CONCURRENTLY on a busy table. `runbooks explain has_index`"


def _definitions(live: LiveIndex, index: Index) -> tuple[str, str]:
    """Return both sides in words, as far as the index is declared: its definition, or its table and uniqueness."""
    if index.definition is not None:
        return live.definition, index.definition
    sides = [
        (f"on {live.relation}", f"on {index.table}") if index.table is not None else None,
        (_uniqueness(live.is_unique), _uniqueness(index.unique)) if index.unique is not None else None,
    ]
    declared = [each for each in sides if each]
    return ", ".join(have for have, _ in declared), ", ".join(want for _, want in declared)


def _uniqueness(unique: bool) -> str:
    return "unique" if unique else "not unique"


def check_row_counts(
    phase: Phase, target: str, counts: dict[str, int], *, created_by: str | None = None
) -> tuple[Finding, ...]:
    """Check row_count_is for the tables whose number of rows the phase declares."""
    return tuple(
        _not_counted(target, table, created_by)
        if created_by and table.name not in counts
        else judge(
            Check.ROW_COUNT_IS,
            target,
            table.name,
            have=counts.get(table.name, "table absent"),
            want=table.rows,
            hint="Rows were added or removed since the phase was written: find out by whom, then correct one of both."
            if table.name in counts
            else "The table itself is not there: mend that first.",
        )
        for table in phase.tables
        if table.rows is not None
    )


def _not_counted(target: str, table: Table, created_by: str) -> Finding:
    return Finding(
        check=Check.ROW_COUNT_IS,
        target=target,
        object=table.name,
        have="absent",
        want=f"{table.rows} when {created_by} has created it",
        verdict=Verdict.SKIP,
        note=Note.ABSENT,
    )


def _instead(name: str, catalog: Catalog) -> str | None:
    """Say what has the name of an object that is not there, if anything: PostgreSQL would not create it again."""
    if relation := catalog.relations.get(name):
        unlogged = relation.kind in "rp" and relation.persistence != "p"
        what = "an unlogged table" if unlogged else f"a relation of kind {relation.kind}"
        return f"there, but as {what}"
    if name in catalog.indexes:
        return "there, but as an index"
    if name in catalog.enums:
        return "there, but as an enum"
    return "there, but as another type" if ("type", name) in catalog.definitions else None


def _holds(check: Check, target: str, name: str, created_by: str | None) -> Finding:
    return Finding(
        check=check,
        target=target,
        object=name,
        have="there",
        want=_wanted(created_by),
        verdict=Verdict.PASS,
    )


def _lacks(check: Check, target: str, name: str, catalog: Catalog, created_by: str | None) -> Finding:
    instead = _instead(name, catalog)
    allowed = instead is None and created_by is not None
    return Finding(
        check=check,
        target=target,
        object=name,
        have=instead or "absent",
        want=_wanted(created_by),
        verdict=Verdict.PASS if allowed else Verdict.FAIL,
        hint="" if allowed else "See the finder's matrix: which database holds it?",
        note=Note.ABSENT if allowed else Note.NOTHING,
    )


def _wanted(created_by: str | None) -> str:
    return "there" if created_by is None else f"absent or equal: {created_by} creates it"


def _columns(have: tuple[LiveColumn, ...], want: tuple[Column, ...]) -> tuple[str, str]:
    """Return both sides in words: in full when they are equal in number only, else what differs."""
    live = {c.name: _column(_live_type(c), c.not_null, c.default) for c in have}
    declared = {c.name: _column(c.type, c.not_null, c.default) for c in want}
    if live == declared and list(live) == list(declared):
        text = f"{len(declared)} columns as declared"
        return text, text
    if live == declared:
        return "order " + ", ".join(live), "order " + ", ".join(declared)
    names = [n for n in {**declared, **live} if live.get(n) != declared.get(n)]
    return (
        "; ".join(f"{n} {live.get(n, 'absent')}" for n in names),
        "; ".join(f"{n} {declared.get(n, 'absent')}" for n in names),
    )


def _live_type(column: LiveColumn) -> str:
    """Return the type with what the phase has no word of its own for, so that it can't hide."""
    collation = f" COLLATE {column.collation}" if column.collation else ""
    identity = {"a": " GENERATED ALWAYS AS IDENTITY", "d": " GENERATED BY DEFAULT AS IDENTITY"}
    generated = {"s": " GENERATED STORED", "v": " GENERATED VIRTUAL"}
    return column.type + collation + identity.get(column.identity, "") + generated.get(column.generated, "")


def _column(type_: str, not_null: bool, default: str | None) -> str:
    return type_ + (" NOT NULL" if not_null else "") + (f" DEFAULT {default}" if default is not None else "")
