"""Step 5, seed verification: are the declared rows there, as declared, on the leader and on its replica?

Each function answers one question of `05_seed_verification.ipynb`. Rows that stand in the phase file are told one by
one (`seed_rows`), those of a file beside it together (`seed_sets`).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from runbooks_lib.checks import Check
from runbooks_lib.errors import RunbookError
from runbooks_lib.facts.contents import RowCounts, SeedFact, SeedFacts
from runbooks_lib.facts.writing import Plan
from runbooks_lib.findings import Answer, Finding, Verdict, could_not_run, judge
from runbooks_lib.phase import Phase, Seeds
from runbooks_lib.phase.seed_values import as_text
from runbooks_lib.postgres.catalog.catalog import count_rows, tables_there
from runbooks_lib.postgres.session.connect import Sessions
from runbooks_lib.steps import seed_declared, seed_files
from runbooks_lib.steps.declared import or_not_declared
from runbooks_lib.steps.pending import judged_later, pending_at
from runbooks_lib.steps.schema_checks import check_row_counts
from runbooks_lib.steps.seed_columns import real_names, renamed
from runbooks_lib.steps.seed_declared import Compared, compare_declared, judge_row
from runbooks_lib.steps.standby_reads import read_again

MAX_UNEXPECTED = 20  # named in the finding; the rest is counted


@read_again
def rows(phase: Phase, sessions: Sessions, *, planned: Plan | None = None) -> Answer:
    """Compare every declared row with the targets that hold data: missing, different, equal.

    Reads the seed tables; writes nothing. `planned` is a plan that was only rehearsed: a row that is
    missing from a table that it fills is SKIP. Facts: `rows`, per target what stands in the table, with its tenant;
    `sets`, per target and tenant of a file, how many rows of which kind there are; `others`, which nobody declared.
    """
    findings: list[Finding] = []
    single: list[SeedFact] = []
    sets: list[dict[str, Any]] = []
    others: dict[str, dict[str, str]] = {}
    for name, seeds in _places(phase):
        if seeds.file:
            findings += _ask_set(phase, sessions, name, seeds, planned, sets, others)
        else:
            findings += _ask_rows(phase, sessions, name, seeds, planned, single)
    table = tuple(
        {"target": f.target, "row": f.object, "have": f.have, "want": f.want, "verdict": f.verdict.value}
        for f in findings
    )
    judged = or_not_declared(phase, findings, Check.SEED_ROW_IS, Check.SEED_ROWS_ARE)
    return Answer(
        findings=judged, facts=SeedFacts(rows=tuple(single), sets=tuple(sets), others=others), rows=table
    )


def _ask_rows(
    phase: Phase, sessions: Sessions, name: str, seeds: Seeds, planned: Plan | None, facts: list[SeedFact]
) -> Iterator[Finding]:
    """Yield the finding of each row that stands in the phase file; add what stands in the table to `facts`."""
    try:
        pending = pending_at(phase, sessions, name, planned)
        with sessions.snapshot(name) as conn:
            to_come = pending.makes_table(seeds.table) and not tables_there(conn, [seeds.table])
            names = real_names(conn, seeds)
            seeds = replace(seeds, rows=tuple(renamed(row, names) for row in seeds.rows))
            compared = [Compared(row=row) for row in seeds.rows] if to_come else compare_declared(conn, seeds)
    except RunbookError as error:
        yield could_not_run(Check.SEED_ROW_IS, name, seeds.table, error)
        return
    for each in compared:
        finding = judge_row(name, seeds, each)
        later = not each.stands and seeds.table in pending.filled
        tenant = as_text(each.row[seeds.tenant]) if seeds.tenant else None
        declared = {real: name for name, real in names.items()}
        found = None if each.found is None else renamed(each.found, declared)
        facts.append(SeedFact(target=name, table=seeds.table, tenant=tenant, row=found))
        yield judged_later(finding) if later else finding


def _ask_set(
    phase: Phase,
    sessions: Sessions,
    name: str,
    seeds: Seeds,
    planned: Plan | None,
    facts: list[dict[str, Any]],
    others: dict[str, dict[str, str]],
) -> Iterator[Finding]:
    """Yield one finding for each tenant of a file of rows; add the numbers to `facts`, and to `others` who is left."""
    try:
        pending = pending_at(phase, sessions, name, planned)
        with sessions.snapshot(name) as conn:
            to_come = pending.makes_table(seeds.table) and not tables_there(conn, [seeds.table])
        tallies = (
            seed_files.all_missing(phase, seeds) if to_come else seed_files.look(phase, sessions, name, seeds)
        )
    except RunbookError as error:
        yield could_not_run(Check.SEED_ROWS_ARE, name, seeds.table, error)
        return
    others.setdefault(name, {})[seeds.table] = seed_files.undeclared(tallies)
    for tenant, tally in tallies.items():
        finding = seed_files.judge_rows(name, seeds, tenant, tally)
        later = set(tally.counts) == {"missing"} and seeds.table in pending.filled
        facts.append({"target": name, "table": seeds.table, "tenant": tenant, **tally.facts()})
        yield judged_later(finding) if later else finding


@read_again
def unexpected(
    phase: Phase, sessions: Sessions, *, planned: Plan | None = None, seen: SeedFacts | None = None
) -> Answer:
    """Look for rows that nobody declared, of the declared tenants or, without a tenant column, of the whole table.

    Seeds that allow other rows are SKIP. Reads the seed tables; writes nothing. A table that is `planned` (see `rows`)
    is SKIP. What the facts of `rows` say of a file's table (`seen`) is told again: one pass answers both.
    """
    findings = []
    for name, seeds in _places(phase):
        if seeds.allows_others:
            findings.append(_others_are_allowed(name, seeds.table))
            continue
        try:
            pending = pending_at(phase, sessions, name, planned)
            with sessions.snapshot(name) as conn:
                if pending.makes_table(seeds.table) and not tables_there(conn, [seeds.table]):
                    findings.append(_not_there(name, seeds.table))
                    continue
                have = "" if seeds.file else seed_declared.unexpected(conn, seeds, most=MAX_UNEXPECTED)
            if seeds.file:
                told = seen.others.get(name, {}).get(seeds.table) if seen else None
                have = (
                    seed_files.undeclared(seed_files.look(phase, sessions, name, seeds))
                    if told is None
                    else told
                )
        except RunbookError as error:
            findings.append(could_not_run(Check.NO_UNEXPECTED_SEED_ROWS, name, seeds.table, error))
            continue
        findings.append(
            judge(
                Check.NO_UNEXPECTED_SEED_ROWS,
                name,
                seeds.table,
                have=have or "none",
                want="none",
                hint="Somebody added rows since the phase was written: declare them, or have them removed.",
            )
        )
    return Answer(findings=or_not_declared(phase, findings, Check.NO_UNEXPECTED_SEED_ROWS))


@read_again
def row_counts(phase: Phase, sessions: Sessions, *, planned: Plan | None = None) -> Answer:
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
            findings.append(could_not_run(Check.ROW_COUNT_IS, name, "every table", error))
            continue
        findings.extend(pending.later(check_row_counts(phase, name, facts[name])))
    return Answer(findings=or_not_declared(phase, findings, Check.ROW_COUNT_IS), facts=RowCounts(rows=facts))


def _places(phase: Phase) -> Iterator[tuple[str, Seeds]]:
    for name, target in phase.targets.items():
        if target.data:
            for seeds in phase.seeds:
                yield name, seeds


def _not_there(target: str, table: str) -> Finding:
    absent = judge(Check.NO_UNEXPECTED_SEED_ROWS, target, table, have="table absent", want="none", hint="")
    return judged_later(absent)


def _others_are_allowed(target: str, table: str) -> Finding:
    return Finding(
        check=Check.NO_UNEXPECTED_SEED_ROWS,
        target=target,
        object=table,
        have="not asked: the phase allows other rows there (exact = false)",
        want="asked where exact",
        verdict=Verdict.SKIP,
    )
