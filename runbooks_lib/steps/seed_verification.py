"""Step 5, seed verification: are the declared rows there, as declared, on the leader and on its replica?

Each function answers one question of `05_seed_verification.ipynb`. Rows that stand in the phase file are told one by
one (`seed_rows`), those of a file beside it together (`seed_sets`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from runbooks_lib.errors import RunbookError
from runbooks_lib.findings import Answer, Finding, Verdict, could_not_run, judge
from runbooks_lib.phase import Phase, Seeds
from runbooks_lib.postgres.catalog import count_rows, tables_there
from runbooks_lib.postgres.checks import check_row_counts
from runbooks_lib.postgres.connect import Sessions
from runbooks_lib.steps import seed_sets
from runbooks_lib.steps.declared import or_not_declared
from runbooks_lib.steps.pending import judged_later, pending_at
from runbooks_lib.steps.seed_rows import compare, unexpected_keys

MAX_UNEXPECTED = 20  # named in the finding; the rest is counted

Plan = Mapping[str, Any] | None
Judged = tuple[Finding, dict[str, Any] | None]


def rows(phase: Phase, sessions: Sessions, *, planned: Plan = None) -> Answer:
    """Compare every declared row with the targets that hold data: missing, different, equal.

    Reads the seed tables; writes nothing. `planned` are the facts of a plan that was only rehearsed: a row that is
    missing from a table that it fills is SKIP. Facts: `rows`, per target what stands in the table, with its tenant;
    `sets`, per target and tenant of a file, how many rows of which kind there are.
    """
    findings: list[Finding] = []
    facts: dict[str, list[dict[str, Any]]] = {"rows": [], "sets": []}
    for name, seeds in _places(phase):
        ask, key = (_ask_set, "sets") if seeds.file else (_ask_rows, "rows")
        for finding, fact in ask(phase, sessions, name, seeds, planned):
            findings.append(finding)
            facts[key] += [fact] if fact else []
    table = tuple(
        {"target": f.target, "row": f.object, "have": f.have, "want": f.want, "verdict": f.verdict.value}
        for f in findings
    )
    judged = or_not_declared(phase, findings, "seed_row_is", "seed_rows_are")
    return Answer(findings=judged, facts=facts, rows=table)


def _ask_rows(phase: Phase, sessions: Sessions, name: str, seeds: Seeds, planned: Plan) -> Iterator[Judged]:
    """Yield, for each row that stands in the phase file, its finding and what stands in the table."""
    try:
        pending = pending_at(phase, sessions, name, planned)
        with sessions.snapshot(name) as conn:
            to_come = pending.makes_table(seeds.table) and not tables_there(conn, [seeds.table])
            compared = _missing(seeds) if to_come else compare(conn, seeds, seeds.rows)
    except RunbookError as error:
        yield could_not_run("seed_row_is", name, seeds.table, error), None
        return
    for line in compared:
        finding = _judge_row(name, seeds, line)
        later = line["have"] is None and seeds.table in pending.filled
        tenant = line["want"].get(seeds.tenant) if seeds.tenant else None
        fact = {"target": name, "table": seeds.table, "tenant": tenant, "row": line["have"]}
        yield judged_later(finding) if later else finding, fact


def _ask_set(phase: Phase, sessions: Sessions, name: str, seeds: Seeds, planned: Plan) -> Iterator[Judged]:
    """Yield, for each tenant of a file of rows, one finding and the numbers."""
    try:
        pending = pending_at(phase, sessions, name, planned)
        with sessions.snapshot(name) as conn:
            to_come = pending.makes_table(seeds.table) and not tables_there(conn, [seeds.table])
        tallies = seed_sets.seen_first(phase, sessions, name, seeds, to_come=to_come)
    except RunbookError as error:
        yield could_not_run("seed_rows_are", name, seeds.table, error), None
        return
    for tenant, tally in tallies.items():
        finding = seed_sets.judge_rows(name, seeds, tenant, tally)
        later = set(tally.counts) == {"missing"} and seeds.table in pending.filled
        fact = {"target": name, "table": seeds.table, "tenant": tenant, **tally.facts()}
        yield judged_later(finding) if later else finding, fact


def unexpected(phase: Phase, sessions: Sessions, *, planned: Plan = None) -> Answer:
    """Look for rows of the declared tenants (of the whole table, where no tenant column is declared) that nobody
    declared.

    Reads the seed tables; writes nothing. A table that is `planned` (see `rows`) is SKIP.
    """
    findings = []
    for name, seeds in _places(phase):
        try:
            pending = pending_at(phase, sessions, name, planned)
            with sessions.snapshot(name) as conn:
                if pending.makes_table(seeds.table) and not tables_there(conn, [seeds.table]):
                    findings.append(_not_there(name, seeds.table))
                    continue
                have = "" if seeds.file else _named(unexpected_keys(conn, seeds, seeds.rows))
            if seeds.file:
                have = seed_sets.unexpected_words(phase, sessions, name, seeds)
        except RunbookError as error:
            findings.append(could_not_run("no_unexpected_seed_rows", name, seeds.table, error))
            continue
        findings.append(
            judge(
                "no_unexpected_seed_rows",
                name,
                seeds.table,
                have=have or "none",
                want="none",
                hint="Somebody added rows since the phase was written: declare them, or have them removed.",
            )
        )
    return Answer(findings=or_not_declared(phase, findings, "no_unexpected_seed_rows"))


def row_counts(phase: Phase, sessions: Sessions, *, planned: Plan = None) -> Answer:
    """Count the rows of every declared table on every target that holds data.

    Reads the tables; writes nothing. A table that is `planned` (see `rows`) is SKIP. Facts: per target, table -> rows.
    """
    findings: list[Finding] = []
    facts: dict[str, dict[str, int]] = {}
    for name, target in phase.targets.items():
        if not target.data:
            continue
        try:
            pending = pending_at(phase, sessions, name, planned)
            with sessions.snapshot(name) as conn:
                facts[name] = count_rows(conn, tables_there(conn, [t.name for t in phase.tables]))
        except RunbookError as error:
            findings.append(could_not_run("row_count_is", name, "every table", error))
            continue
        findings.extend(pending.later(check_row_counts(phase, name, facts[name])))
    return Answer(findings=or_not_declared(phase, findings, "row_count_is"), facts={"rows": facts})


def _places(phase: Phase) -> Iterator[tuple[str, Seeds]]:
    for name, target in phase.targets.items():
        if target.data:
            for seeds in phase.seeds:
                yield name, seeds


def _not_there(target: str, table: str) -> Finding:
    absent = judge("no_unexpected_seed_rows", target, table, have="table absent", want="none", hint="")
    return judged_later(absent)


def _missing(seeds: Seeds) -> list[dict[str, Any]]:
    """Return what `compare` would of a table that is not there."""
    return [{"want": dict(row), "have": None, "same": False} for row in seeds.rows]


def _named(keys: list[str]) -> str:
    more = f" and {len(keys) - MAX_UNEXPECTED} more" if len(keys) > MAX_UNEXPECTED else ""
    return ", ".join(f"[{key}]" for key in keys[:MAX_UNEXPECTED]) + more


def _judge_row(target: str, seeds: Seeds, line: Mapping[str, Any]) -> Finding:
    want, have = line["want"], line["have"]
    key = ", ".join(str(want[column]) for column in seeds.key)
    others = [column for column in want if column not in seeds.key]
    differing = [column for column in others if have and have[column] != want[column]]
    shown = others if line["same"] or have is None else differing or others
    return Finding(
        check="seed_row_is",
        target=target,
        object=f"{seeds.table}[{key}]",
        have="missing" if have is None else _values(have, shown),
        want=_values(want, shown),
        verdict=Verdict.PASS if line["same"] else Verdict.FAIL,
        hint=""
        if line["same"]
        else "Compare with the phase file: restore the row, or correct the declaration.",
    )


def _values(row: Mapping[str, Any], columns: list[str]) -> str:
    return ", ".join(f"{column} {row[column]}" for column in columns) or "there"
