"""Declared rows compared with a table: against pandas (read_sql and merge), in time and memory.

    python seeds.py ours|pandas ROWS

measures one side in a process of its own; the address of the server comes from libpq's environment.
"""

from __future__ import annotations

import dataclasses
import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg
from measure import Figure, Usage, run

from runbooks_lib.phase import Phase, Role, Seeds, Target, load_phase
from runbooks_lib.postgres.scratch import Scratch, scratch

PHASE = "PH15-AMAZON-DB-FOUNDATION-01"
TABLE = "public.seeds"
SERVICE = "benchmark"
MAKE = (
    "CREATE TABLE public.seeds (id bigint PRIMARY KEY, tenant text NOT NULL, label text NOT NULL, active boolean)",
    "INSERT INTO public.seeds SELECT n, 'tenant ' || mod(n, 7), 'label ' || n, mod(n, 2) = 0 "
    "FROM generate_series(0, {last}) AS n",
    "VACUUM ANALYZE public.seeds",
)


def measure(pairs: int, sizes: tuple[int, ...]) -> list[Figure]:
    """Return a comparison for each number of rows."""
    figures = []
    with scratch() as server, _service(server):
        for rows in sizes:
            name = f"seeds_{rows}"
            server.create_database(name)
            with server.connect(name) as conn:
                for statement in MAKE:
                    conn.execute(statement.format(last=rows - 1).encode())
            os.environ["PGDATABASE"] = name
            figures.append(_compare(rows, pairs))
    return figures


def _compare(rows: int, pairs: int) -> Figure:
    figure = Figure(name=f"seed verification of {rows:,} rows", yardstick="pandas: read_sql and merge")
    used: dict[str, list[Usage]] = {"ours": [], "pandas": []}
    for number in range(pairs):
        for side in ("ours", "pandas")[:: 1 if number % 2 == 0 else -1]:
            used[side].append(run([sys.executable, __file__, side, str(rows)]))
    figure.ours_s = [each.wall_s for each in used["ours"]]
    figure.yardstick_s = [each.wall_s for each in used["pandas"]]
    peaks = {f"{side}_peak_mb": round(max(each.peak_mb for each in used[side])) for side in used}
    figure.more = {"rows": rows, **peaks}
    return figure


@contextmanager
def _service(server: Scratch) -> Iterator[None]:
    """Make the server known to libpq as the service `benchmark`, for the length of the block."""
    address = server.cluster.address()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "services")
        lines = [f"{name}={value}" for name, value in address.items()]
        path.write_text("\n".join([f"[{SERVICE}]", *lines, "user=postgres", "sslmode=disable", ""]))
        before = dict(os.environ)
        os.environ |= {"PGSERVICEFILE": str(path), "PGPASSWORD": server.password}
        try:
            yield
        finally:
            os.environ.clear()
            os.environ.update(before)


def _declared(rows: int) -> tuple[dict[str, object], ...]:
    return tuple(
        {"id": n, "tenant": f"tenant {n % 7}", "label": f"label {n}", "active": n % 2 == 0}
        for n in range(rows)
    )


def _phase(rows: int) -> Phase:
    """The reference phase with one target and one seed table: this one."""
    target = Target(name="leader", service=SERVICE, role=Role.PRIMARY, database=os.environ["PGDATABASE"])
    seeds = Seeds(table=TABLE, key=("id",), tenant="tenant", rows=_declared(rows))
    return dataclasses.replace(load_phase(PHASE), targets={"leader": target}, seeds=(seeds,))


def ours(rows: int) -> None:
    """Ask the question of step 5 and look at its answer."""
    from runbooks_lib.findings import Verdict
    from runbooks_lib.postgres.connect import Sessions
    from runbooks_lib.steps import seed_verification

    phase = _phase(rows)
    with Sessions(phase.targets, application_name="runbooks benchmark") as sessions:
        answer = seed_verification.rows(phase, sessions)
    assert answer.verdict is Verdict.PASS, answer.findings[:3]


def with_pandas(rows: int) -> None:
    """Do the same with pandas: read the table, merge, compare."""
    import pandas as pd
    import sqlalchemy

    conninfo: dict[str, Any] = {"service": SERVICE, "dbname": os.environ["PGDATABASE"]}
    engine = sqlalchemy.create_engine("postgresql+psycopg://", creator=lambda: psycopg.connect(**conninfo))
    want = pd.DataFrame(_declared(rows))
    have = pd.read_sql_table("seeds", engine, schema="public")
    merged = want.merge(have, on="id", how="outer", suffixes=("_want", "_have"), indicator=True)
    assert (merged["_merge"] == "both").all()
    for column in ("tenant", "label", "active"):
        assert (merged[f"{column}_want"] == merged[f"{column}_have"]).all()


if __name__ == "__main__":
    {"ours": ours, "pandas": with_pandas}[sys.argv[1]](int(sys.argv[2]))
