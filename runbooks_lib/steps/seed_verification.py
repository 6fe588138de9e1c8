"""Step 5, seed verification: are the declared rows there, as declared, on the leader and on its replica?

Each function answers one question of `05_seed_verification.ipynb`. The rows are compared in the server, which knows
the types: the declared rows travel there as one JSON document and become rows of the table's own type.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from psycopg import sql
from psycopg.types.json import Jsonb

from runbooks_lib.errors import RunbookError
from runbooks_lib.findings import Answer, Finding, Verdict, could_not_run, judge
from runbooks_lib.phase import Phase, Seeds
from runbooks_lib.postgres.catalog import count_rows, identifier, read_catalog
from runbooks_lib.postgres.checks import check_row_counts
from runbooks_lib.postgres.connect import Connection, Sessions
from runbooks_lib.postgres.readiness import quoted
from runbooks_lib.steps.pending import judged_later, pending_at

MAX_UNEXPECTED = 20  # named in the finding; the rest is counted


def rows(phase: Phase, sessions: Sessions, *, planned: Mapping[str, Any] | None = None) -> Answer:
    """Compare every declared row with the targets that hold data: missing, different, equal.

    Reads the seed tables; writes nothing. `planned` are the facts of a plan that was only rehearsed: a row that is
    missing from a table that it fills is SKIP. Facts: `rows`, per target what stands in the table, with its tenant.
    """
    findings: list[Finding] = []
    facts: list[dict[str, Any]] = []
    for name, seeds in _places(phase):
        try:
            pending = pending_at(phase, sessions, name, planned)
            with sessions.snapshot(name) as conn:
                to_come = pending.makes_table(seeds.table) and not _exists(conn, seeds.table)
                compared = _missing(seeds) if to_come else _compare(conn, seeds)
        except RunbookError as error:
            findings.append(could_not_run("seed_row_is", name, seeds.table, error))
            continue
        for line in compared:
            finding = _judge_row(name, seeds, line)
            later = line["have"] is None and seeds.table in pending.filled
            findings.append(judged_later(finding) if later else finding)
            facts.append(
                {
                    "target": name,
                    "table": seeds.table,
                    "tenant": line["want"].get(seeds.tenant) if seeds.tenant else None,
                    "row": line["have"],
                }
            )
    table = tuple(
        {"target": f.target, "row": f.object, "have": f.have, "want": f.want, "verdict": f.verdict.value}
        for f in findings
    )
    return Answer(findings=tuple(findings), facts={"rows": facts}, rows=table)


def unexpected(phase: Phase, sessions: Sessions, *, planned: Mapping[str, Any] | None = None) -> Answer:
    """Look for rows of the declared tenants (of the whole table, where no tenant column is declared) that nobody
    declared.

    Reads the seed tables; writes nothing. A table that is `planned` (see `rows`) is SKIP.
    """
    findings = []
    for name, seeds in _places(phase):
        try:
            pending = pending_at(phase, sessions, name, planned)
            with sessions.snapshot(name) as conn:
                if pending.makes_table(seeds.table) and not _exists(conn, seeds.table):
                    findings.append(_not_there(name, seeds.table))
                    continue
                keys = _unexpected(conn, seeds)
        except RunbookError as error:
            findings.append(could_not_run("no_unexpected_seed_rows", name, seeds.table, error))
            continue
        named = ", ".join(f"[{key}]" for key in keys[:MAX_UNEXPECTED])
        more = f" and {len(keys) - MAX_UNEXPECTED} more" if len(keys) > MAX_UNEXPECTED else ""
        findings.append(
            judge(
                "no_unexpected_seed_rows",
                name,
                seeds.table,
                have=f"{named}{more}" or "none",
                want="none",
                hint="Somebody added rows since the phase was written: declare them, or have them removed.",
            )
        )
    return Answer(findings=tuple(findings))


def row_counts(phase: Phase, sessions: Sessions, *, planned: Mapping[str, Any] | None = None) -> Answer:
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
                there = set(read_catalog(conn).tables())
                facts[name] = count_rows(conn, tuple(t.name for t in phase.tables if t.name in there))
        except RunbookError as error:
            findings.append(could_not_run("row_count_is", name, "every table", error))
            continue
        findings.extend(pending.later(check_row_counts(phase, name, facts[name])))
    return Answer(findings=tuple(findings), facts={"rows": facts})


def _places(phase: Phase) -> Iterator[tuple[str, Seeds]]:
    for name, target in phase.targets.items():
        if target.data:
            for seeds in phase.seeds:
                yield name, seeds


def _exists(conn: Connection, table: str) -> bool:
    row = conn.execute("SELECT to_regclass(%s) IS NOT NULL AS there", (quoted(table),)).fetchone()
    return bool(row and row["there"])


def _not_there(target: str, table: str) -> Finding:
    check = "no_unexpected_seed_rows"
    return judged_later(judge(check, target, table, have="table absent", want="none", hint=""))


def _missing(seeds: Seeds) -> list[dict[str, Any]]:
    """Return what `_compare` would of a table that is not there."""
    return [{"want": dict(row), "have": None, "same": False} for row in seeds.rows]


def _compare(conn: Connection, seeds: Seeds) -> list[dict[str, Any]]:
    """Return, per declared row, what is declared (`want`), what the table holds (`have`) and whether it is the `same`.

    `want` and `have` are JSON objects of the columns that the row declares, made by the server from rows of the
    table's own type; `have` is None when the row is missing.
    """
    return [
        pair
        for columns, rows in _by_columns(seeds).items()
        for pair in conn.execute(_pairs(seeds, columns), (_document(rows),)).fetchall()
    ]


def _by_columns(seeds: Seeds) -> dict[frozenset[str], list[Mapping[str, object]]]:
    """Group the rows by the columns that they declare: a column that a row leaves out is not judged."""
    groups: dict[frozenset[str], list[Mapping[str, object]]] = {}
    for row in seeds.rows:
        groups.setdefault(frozenset(row), []).append(row)
    return groups


def _pairs(seeds: Seeds, columns: Iterable[str]) -> sql.Composed:
    return sql.SQL(
        "SELECT want, have, coalesce(want = have, false) AS same FROM ("
        "SELECT {want} AS want, CASE WHEN have.{first} IS NOT NULL THEN {have} END AS have "
        "FROM jsonb_populate_recordset(NULL::{table}, %s) AS want LEFT JOIN {table} AS have ON {on}"
        ") AS pairs"
    ).format(
        want=_object("want", columns),
        have=_object("have", columns),
        first=sql.Identifier(seeds.key[0]),
        table=identifier(seeds.table),
        on=_same_key(seeds),
    )


def _unexpected(conn: Connection, seeds: Seeds) -> list[str]:
    """Return the keys, as text, of rows that are not declared, within the declared tenants where there are any."""
    scope = (
        sql.SQL("have.{0} IN (SELECT DISTINCT {0} FROM declared)").format(sql.Identifier(seeds.tenant))
        if seeds.tenant
        else sql.SQL("true")
    )
    statement = sql.SQL(
        "WITH declared AS MATERIALIZED (SELECT * FROM jsonb_populate_recordset(NULL::{table}, %s)) "
        "SELECT concat_ws(', ', {key}) AS key FROM {table} AS have "
        "WHERE {scope} AND NOT EXISTS (SELECT FROM declared AS want WHERE {on}) ORDER BY 1"
    ).format(
        table=identifier(seeds.table),
        key=sql.SQL(", ").join(sql.Identifier("have", column) for column in seeds.key),
        scope=scope,
        on=_same_key(seeds),
    )
    return [row["key"] for row in conn.execute(statement, (_document(seeds.rows),)).fetchall()]


def _object(alias: str, columns: Iterable[str]) -> sql.Composable:
    pairs = (sql.SQL("{}, {}").format(sql.Literal(c), sql.Identifier(alias, c)) for c in columns)
    return sql.SQL("jsonb_build_object({})").format(sql.SQL(", ").join(pairs))


def _same_key(seeds: Seeds) -> sql.Composable:
    equal = (sql.SQL("have.{0} = want.{0}").format(sql.Identifier(column)) for column in seeds.key)
    return sql.SQL(" AND ").join(equal)


def _document(rows: Iterable[Mapping[str, object]]) -> Jsonb:
    return Jsonb([dict(row) for row in rows], dumps=lambda rows: json.dumps(rows, default=str))


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
