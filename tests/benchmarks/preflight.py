"""The preflight of a lab whose databases hold many tables: against its own queries, sent again."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest.mock import patch

import psycopg
from catalogue import make_tables
from measure import Figure, clocked, in_pairs
from psycopg.rows import tuple_row

from runbooks_lib.findings import CLOSING
from runbooks_lib.lab.lab import running
from runbooks_lib.phase import Phase, load_phase
from runbooks_lib.postgres.session.connect import Sessions, connect
from runbooks_lib.steps import preflight

PHASE = "PH15-AMAZON-DB-FOUNDATION-01"
Sent = tuple[int, str, Any, Any]  # port, database, query, parameters


def measure(pairs: int, sizes: tuple[int, ...]) -> list[Figure]:
    """Return the comparison for each number of tables in the leader's database, and so in the replica's."""
    figures: list[Figure] = []
    with running() as lab:
        os.environ.update(lab.env())
        phase = load_phase(PHASE)
        made = 0
        for tables in sizes:
            with psycopg.connect(service="keybuzz_admin", dbname="keybuzz_backend", autocommit=True) as conn:
                make_tables(conn, range(made, tables))
                conn.execute("GRANT SELECT ON ALL TABLES IN SCHEMA public TO keybuzz_operator")
            made = tables
            _ask(phase)  # waits until the replica has replayed
            sent = _noted(lambda: _ask(phase))
            figure = in_pairs(
                f"preflight of {tables:,} tables",
                "its queries alone",
                clocked(lambda: _ask(phase)),
                clocked(lambda sent=sent: _send(phase, sent)),  # type: ignore[misc]
                pairs,
            )
            slower = round(1 / (figure.ratio or 1), 2)
            figure.more = {"preflight_tables": tables, "queries": len(sent), "times_the_yardstick": slower}
            figures.append(figure)
    return figures


def _ask(phase: Phase) -> None:
    """Ask every question of the preflight, as its notebook does."""
    with Sessions(phase.targets, application_name="benchmark") as sessions:
        answers = [
            preflight.targets(phase, sessions),
            preflight.find_objects(phase, sessions),
            preflight.schema(phase, sessions),
            preflight.replication(phase, sessions),
            preflight.privileges(phase, sessions),
            preflight.readiness(phase, sessions, folder=Path(tempfile.gettempdir())),
        ]
    closing = [f for answer in answers for f in answer.findings if f.verdict in CLOSING]
    assert not closing, closing[:3]


def _noted(work: Callable[[], None]) -> list[Sent]:
    """Do the work; return every query that it sent."""
    sent: list[Sent] = []
    execute = psycopg.Cursor.execute

    def noting(cursor: Any, query: Any, params: Any = None, **options: Any) -> Any:
        sent.append((cursor.connection.info.port, cursor.connection.info.dbname, query, params))
        return execute(cursor, query, params, **options)

    with patch.object(psycopg.Cursor, "execute", noting):
        work()
    return sent


def _send(phase: Phase, sent: list[Sent]) -> None:
    """Send the queries again in their order, over as many connections as there are databases, and fetch the rows."""
    targets = {}
    for target in phase.targets.values():
        with connect(target, application_name="benchmark") as conn:
            targets[conn.info.port] = target
    open_ones: dict[tuple[int, str], psycopg.Connection[Any]] = {}
    try:
        for port, database, query, params in sent:
            if (port, database) not in open_ones:
                target = targets[port]
                open_ones[port, database] = connect(target, application_name="benchmark", database=database)
            cursor = open_ones[port, database].cursor(row_factory=tuple_row).execute(query, params)
            if cursor.description:
                cursor.fetchall()
    finally:
        for conn in open_ones.values():
            conn.close()
