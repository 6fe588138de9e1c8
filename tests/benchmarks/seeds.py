"""Rows of a file compared with a table: against pandas (read_csv, read_sql and merge), in time and memory.

    python seeds.py ours|pandas FILE

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
from measure import Figure, Usage, peak_mb, run

from runbooks_lib.phase import Column, Phase, Role, Seeds, Table, Target, load_phase
from runbooks_lib.postgres.scratch.scratch import SUPERUSER, Scratch, scratch

PHASE = "PH15-AMAZON-DB-FOUNDATION-01"
TABLE = "public.seeds"
SERVICE = "benchmark"
COLUMNS = {"id": "bigint", "tenant": "text", "label": "text", "active": "boolean"}
DECLARE = "COPY (SELECT * FROM public.seeds ORDER BY id) TO STDOUT (FORMAT csv, HEADER)"
MAKE = (
    "CREATE TABLE public.seeds (id bigint PRIMARY KEY, tenant text NOT NULL, label text NOT NULL, active boolean)",
    "INSERT INTO public.seeds SELECT n, 'tenant ' || mod(n, 7), 'label ' || n, mod(n, 2) = 0 "
    "FROM generate_series(0, {last}) AS n",
    "VACUUM ANALYZE public.seeds",
)


def measure(pairs: int, sizes: tuple[int, ...], alone: tuple[int, ...] = ()) -> list[Figure]:
    """Return a comparison for each number of rows; of the `alone` ours is measured once, without the yardstick."""
    figures = []
    with scratch() as server, _service(server), tempfile.TemporaryDirectory() as folder:
        for rows in (*sizes, *alone):
            name = f"seeds_{rows}"
            server.create_database(name)
            file = Path(folder, "seeds.csv")
            with server.connect(name) as conn:
                for statement in MAKE:
                    conn.execute(statement.format(last=rows - 1).encode())
                with conn.cursor() as cursor, cursor.copy(DECLARE) as copy, file.open("wb") as out:
                    out.writelines(copy)
            os.environ["PGDATABASE"] = name
            figures.append(_compare(rows, file, pairs if rows in sizes else 1, rows in sizes))
            with server.connect("postgres") as conn:
                conn.execute(f"DROP DATABASE {name} WITH (FORCE)".encode())
    return figures


def _compare(rows: int, file: Path, pairs: int, with_yardstick: bool) -> Figure:
    figure = Figure(
        name=f"seed verification of {rows:,} rows", yardstick="pandas: read_csv, read_sql and merge"
    )
    used: dict[str, list[Usage]] = {"ours": [], "pandas": []}
    sides = ("ours", "pandas") if with_yardstick else ("ours",)
    for number in range(pairs):
        for side in sides[:: 1 if number % 2 == 0 else -1]:
            used[side].append(run([sys.executable, __file__, side, str(file)]))
    figure.ours_s = [each.wall_s for each in used["ours"]]
    figure.yardstick_s = [each.wall_s for each in used["pandas"]]
    peaks = {f"{side}_peak_mb": round(max(float(each.printed) for each in used[side])) for side in sides}
    figure.more = {"rows": rows, **peaks}
    return figure


@contextmanager
def _service(server: Scratch) -> Iterator[None]:
    """Make the server known to libpq as the service `benchmark`, for the length of the block."""
    address = server.cluster.address()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "services")
        lines = [f"{name}={value}" for name, value in address.items()]
        path.write_text("\n".join([f"[{SERVICE}]", *lines, f"user={SUPERUSER}", "sslmode=disable", ""]))
        before = dict(os.environ)
        os.environ |= {"PGSERVICEFILE": str(path), "PGPASSWORD": server.password}
        try:
            yield
        finally:
            os.environ.clear()
            os.environ.update(before)


def _phase(file: Path) -> Phase:
    """The reference phase with one target and one seed table: this one."""
    target = Target(name="leader", service=SERVICE, role=Role.PRIMARY, database=os.environ["PGDATABASE"])
    table = Table(
        name=TABLE,
        owner=SUPERUSER,
        primary_key=("id",),
        columns=tuple(Column(name=name, type=type_) for name, type_ in COLUMNS.items()),
    )
    seeds = Seeds(table=TABLE, key=("id",), tenant="tenant", file=file.name)
    reference = load_phase(PHASE)
    return dataclasses.replace(
        reference, folder=file.parent, targets={"leader": target}, tables=(table,), seeds=(seeds,)
    )


def ours(file: Path) -> None:
    """Ask both questions of step 5 about the rows, and look at the answers."""
    from runbooks_lib.findings import Verdict
    from runbooks_lib.postgres.session.connect import Sessions
    from runbooks_lib.steps import seed_verification

    phase = _phase(file)
    with Sessions(phase.targets, application_name="runbooks benchmark") as sessions:
        rows = seed_verification.rows(phase, sessions)
        others = seed_verification.unexpected(phase, sessions, seen=rows.facts)
        for answer in (rows, others):
            assert answer.verdict is Verdict.PASS, answer.findings[:3]


def with_pandas(file: Path) -> None:
    """Do the same with pandas: read both, merge, compare."""
    import pandas as pd
    import sqlalchemy

    conninfo: dict[str, Any] = {"service": SERVICE, "dbname": os.environ["PGDATABASE"]}
    engine = sqlalchemy.create_engine("postgresql+psycopg://", creator=lambda: psycopg.connect(**conninfo))
    want = pd.read_csv(file, true_values=["t"], false_values=["f"])
    have = pd.read_sql_table("seeds", engine, schema="public")
    merged = want.merge(have, on="id", how="outer", suffixes=("_want", "_have"), indicator=True)
    assert (merged["_merge"] == "both").all()
    for column in ("tenant", "label", "active"):
        assert (merged[f"{column}_want"] == merged[f"{column}_have"]).all()


if __name__ == "__main__":
    {"ours": ours, "pandas": with_pandas}[sys.argv[1]](Path(sys.argv[2]))
    print(peak_mb())
