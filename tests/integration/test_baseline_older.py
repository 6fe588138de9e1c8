"""A baseline for a server that is older than the scratch: what only newer ones know is no difference."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from runbooks_lib.postgres.catalog.catalog import read_catalog
from runbooks_lib.postgres.catalog.differences import describe
from runbooks_lib.postgres.dump.clients import choose, find_clients
from runbooks_lib.postgres.scratch import baseline_effects, replay
from runbooks_lib.postgres.scratch.baseline_effects import IN_COPY, IN_EMPTY, Source, made_by
from runbooks_lib.postgres.scratch.programs import find_servers
from runbooks_lib.postgres.scratch.scratch import SUPERUSER, Scratch, scratch
from runbooks_lib.postgres.scratch.surroundings import read_surroundings
from runbooks_lib.postgres.script.script import parse_script
from runbooks_lib.steps.baseline_plan import Planned, State, plan_statements

ALL = {programs.major: programs for programs in find_servers([])}
OLDER, NEWER = min(ALL), max(ALL)
pytestmark = pytest.mark.skipif(not OLDER < 18 <= NEWER, reason="no older server here")

OWNER = "shop"
ALONE = (
    "CREATE TABLE IF NOT EXISTS public.a (x int CONSTRAINT odd NOT NULL, y int PRIMARY KEY);\n"
    "CREATE TABLE IF NOT EXISTS public.p (x int NOT NULL, y int) PARTITION BY LIST (x);\n"
    "CREATE TABLE IF NOT EXISTS public.p1 PARTITION OF public.p FOR VALUES IN (1);\n"
)
BESIDE = (
    "CREATE TABLE IF NOT EXISTS public.b (base int REFERENCES public.base, x int CONSTRAINT odd NOT NULL);\n"
)


@pytest.fixture(scope="module")
def target() -> Iterator[Scratch]:
    with scratch(ALL[OLDER]) as server:
        yield server


def planned(
    target: Scratch, name: str, script: str, stands: str, folder: Path
) -> tuple[str, list[Planned], set[str]]:
    """Return where it was seen what a script makes, its plan for a database where `stands` was executed, and the kinds
    of what is otherwise there.
    """
    target.create_database(name, roles=(OWNER,))
    with target.connect(name) as conn:
        conn.execute("GRANT ALL ON SCHEMA public TO shop; SET ROLE shop")
        conn.execute(f"CREATE TABLE public.base (id int PRIMARY KEY); {stands}".encode())
    with target.connect(name) as conn:
        catalog, like = read_catalog(conn), read_surroundings(conn)
    address, dump = target.cluster.address(), folder / "dump.sql"
    subprocess.run(
        [
            str(choose(find_clients(), OLDER).pg_dump),
            "--schema-only",
            f"--file={dump}",
            "-U",
            SUPERUSER,
            name,
        ],
        env={
            **os.environ,
            "PGPASSWORD": target.password,
            "PGHOST": address["host"],
            "PGPORT": address["port"],
        },
        check=True,
    )
    print_of = catalog.fingerprint()
    statements = parse_script(script)
    made = made_by(
        ("baseline.sql", script, statements),
        owner=OWNER,
        server_major=OLDER,
        source=Source(dump=dump, fingerprint=print_of, dumped=print_of, like=like),
    )
    assert made.server_version.startswith(f"{NEWER}.")
    live = describe(catalog)
    other = {key[0] for key, value in made.objects.items() if live.get(key) != value}
    return made.where, list(plan_statements(statements, made.objects, catalog)), other


@pytest.fixture(autouse=True)
def only_the_newer(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (replay, baseline_effects):
        monkeypatch.setattr(module, "find_server_for", lambda major, **_: ALL[NEWER])


@pytest.mark.parametrize(("script", "where"), [(ALONE, IN_EMPTY), (BESIDE, IN_COPY)])
def test_what_stands_in_an_older_server_is_the_same(
    target: Scratch, tmp_path: Path, script: str, where: str
) -> None:
    seen, plan, other = planned(target, f"same_{where is IN_COPY}".lower(), script, script, tmp_path)
    assert seen == where
    assert [(each.state, each.difference) for each in plan] == [(State.SAME, "")] * len(plan)
    assert other == set()


@pytest.mark.parametrize(("script", "where"), [(ALONE, IN_EMPTY), (BESIDE, IN_COPY)])
def test_a_column_that_may_be_null_there_is_different(
    target: Scratch, tmp_path: Path, script: str, where: str
) -> None:
    stands = script.replace("x int CONSTRAINT odd NOT NULL", "x int")
    seen, plan, other = planned(target, f"other_{where is IN_COPY}".lower(), script, stands, tmp_path)
    assert seen == where
    assert plan[0].state is State.DIFFERENT
    assert {each.state for each in plan[1:]} <= {State.SAME}
    assert other == {"columns"}
