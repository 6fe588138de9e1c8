"""Doors that somebody hostile would try, and no other test does; SECURITY.md names this one and all the others.

Whatever is executed touches three canaries: in HOME, in /tmp and among the runs. All that is tried is tried first by
somebody who can, so that a silent canary says something.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import psycopg
import pytest
from psycopg import sql

from runbooks_lib.archive.seal.verify import verify
from runbooks_lib.errors import ConnectionFailed
from runbooks_lib.lab.lab import Lab, running
from runbooks_lib.phase import load_phase
from runbooks_lib.postgres.catalog.catalog import count_rows, read_catalog
from runbooks_lib.postgres.rows.content import content_hash
from runbooks_lib.postgres.rows.contents import read_contents
from runbooks_lib.postgres.session.connect import Sessions

PHASE = load_phase("PH15-AMAZON-DB-FOUNDATION-01")
RUNBOOKS = Path(sys.executable).with_name("runbooks")
DATABASE = "doors"
OWNER = "kb_backend"  # an ordinary role of the lab


@dataclass(frozen=True)
class Canaries:
    """Three folders that every account may write to, and the command that leaves something in each."""

    home: Path
    tmp: Path
    runs: Path

    @property
    def touch(self) -> str:
        return "touch " + " ".join(f"{folder}/canary" for folder in (self.home, self.tmp, self.runs))

    def sang(self) -> list[Path]:
        return [f for folder in (self.home, self.tmp, self.runs) for f in folder.glob("canary*")]


@pytest.fixture
def canaries() -> Iterator[Canaries]:
    folder = Path(tempfile.mkdtemp(prefix="doors-"))
    places = [folder / "home", folder / "tmp", folder / "runs"]
    for place in (folder, *places):
        place.mkdir(exist_ok=True)
        place.chmod(0o777)
    yield Canaries(*places)
    shutil.rmtree(folder)


# --- what reading a table executes ----------------------------------------------------------------------------------

DEED = """
CREATE FUNCTION public.deed() RETURNS int LANGUAGE plpgsql AS $$
BEGIN COPY (SELECT 1) TO PROGRAM '{touch}'; RETURN 1; EXCEPTION WHEN OTHERS THEN RETURN 0; END $$;
CREATE FUNCTION public.f(int) RETURNS boolean LANGUAGE plpgsql IMMUTABLE AS
$$ BEGIN PERFORM public.deed(); RETURN true; END $$;
CREATE TABLE public.t (a int); INSERT INTO public.t VALUES (1);
"""
TEXT = "LANGUAGE plpgsql AS $$ BEGIN PERFORM public.deed(); RETURN 'x'; END $$"
READ = {
    "cast of rows": f"CREATE FUNCTION c(t) RETURNS text {TEXT}; CREATE CAST (t AS text) WITH FUNCTION c(t) AS IMPLICIT",
    "cast of an enum": f"CREATE TYPE e AS ENUM ('x'); CREATE FUNCTION c(e) RETURNS text {TEXT};"
    " CREATE CAST (e AS text) WITH FUNCTION c(e) AS IMPLICIT; ALTER TABLE t ADD b e DEFAULT 'x'",
    "cast of a composite": f"CREATE TYPE p AS (x int); CREATE FUNCTION c(p) RETURNS text {TEXT};"
    " CREATE CAST (p AS text) WITH FUNCTION c(p) AS IMPLICIT; ALTER TABLE t ADD b p DEFAULT ROW(1)",
    "function of the name of a built-in one": f"CREATE FUNCTION format(text, record) RETURNS text {TEXT};"
    f" CREATE FUNCTION format(text, t) RETURNS text {TEXT}; CREATE FUNCTION count(t) RETURNS text {TEXT}",
    "policy": "ALTER TABLE t ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY; CREATE POLICY p ON t USING (f(a))",
    "check of an heir": "CREATE TABLE h (CHECK (f(1) AND a > f(2)::int)) INHERITS (t); INSERT INTO h VALUES (2)",
    "generated": "ALTER TABLE t ADD b boolean GENERATED ALWAYS AS (f(a)) STORED",
    "trigger and rule": "CREATE FUNCTION r() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM deed(); RETURN NEW;"
    " END $$; CREATE TRIGGER r BEFORE INSERT OR UPDATE ON t FOR EACH ROW EXECUTE FUNCTION r()",
}
PLANNED = {
    "index predicate": "CREATE INDEX i ON t (a) WHERE f(1)",
    "index expression": "CREATE INDEX i ON t ((f(1) AND a > 0))",
    "operator": "CREATE FUNCTION o(int, int) RETURNS boolean LANGUAGE plpgsql IMMUTABLE"
    " AS $$ BEGIN RETURN public.f(1); END $$;"
    " CREATE OPERATOR public.=== (LEFTARG = int, RIGHTARG = int, FUNCTION = o);"
    " CREATE INDEX i ON t (a) WHERE 1 OPERATOR(public.===) 2",
    "statistics": "CREATE STATISTICS s ON (f(1) AND a > 0), a FROM t",
    "partition key": "CREATE TABLE p (a int) PARTITION BY RANGE ((f(1) AND a > 0))",
}


@pytest.fixture
def hostile(lab: Lab, canaries: Canaries) -> Iterator[psycopg.Connection[tuple[object, ...]]]:
    """A session of the superuser, working as the ordinary owner of a database's tables."""
    with lab.admin("postgres") as admin:
        admin.execute(f"CREATE DATABASE {DATABASE} OWNER {OWNER}".encode())
        try:
            with lab.admin(DATABASE) as conn:
                conn.execute(f"SET SESSION AUTHORIZATION {OWNER}; SET search_path = public".encode())
                conn.execute(DEED.format(touch=canaries.touch).encode())
                yield conn
        finally:
            admin.execute(f"DROP DATABASE {DATABASE} WITH (FORCE)".encode())


def read(service: str) -> int:
    """Read everything of the database as the product reads it; return the rows of public.t."""
    leader = replace(PHASE.targets["leader"], service=service, database=DATABASE)
    with Sessions({"leader": leader}) as sessions, sessions.snapshot("leader") as conn:
        read_catalog(conn)
        read_contents(conn)
        conn.execute("SELECT a FROM public.t WHERE a = 1")
        rows, _digest = content_hash(conn, "public.t")
        assert count_rows(conn, ("public.t",)) == {"public.t": rows}
    return rows


def test_what_the_canaries_see(hostile: psycopg.Connection[tuple[object, ...]], canaries: Canaries) -> None:
    hostile.execute("SELECT deed()")
    assert canaries.sang() == []
    hostile.execute("SET SESSION AUTHORIZATION DEFAULT")
    hostile.execute("SELECT public.deed()")
    assert len(canaries.sang()) == 3


@pytest.mark.parametrize("door", READ)
def test_reading_as_a_superuser_executes_nothing_of_an_owner(
    hostile: psycopg.Connection[tuple[object, ...]], canaries: Canaries, door: str
) -> None:
    hostile.execute(READ[door].encode())
    assert read("keybuzz_admin") == (2 if door == "check of an heir" else 1)
    assert canaries.sang() == []


@pytest.mark.parametrize("door", PLANNED)
def test_what_planning_would_execute_is_refused_to_a_superuser(
    hostile: psycopg.Connection[tuple[object, ...]], canaries: Canaries, door: str
) -> None:
    hostile.execute(PLANNED[door].encode())
    with pytest.raises(ConnectionFailed, match="of role kb_backend with a superuser's rights"):
        read("keybuzz_admin")
    assert canaries.sang() == []


def test_an_ordinary_role_reads_all_the_same_and_trusted_functions_do_no_harm(
    hostile: psycopg.Connection[tuple[object, ...]], canaries: Canaries
) -> None:
    hostile.execute(
        f"{PLANNED['index predicate']}; GRANT SELECT ON ALL TABLES IN SCHEMA public TO PUBLIC".encode()
    )
    assert read("keybuzz_leader") == 1
    assert canaries.sang() == []
    hostile.execute("SET SESSION AUTHORIZATION DEFAULT")
    hostile.execute(
        "CREATE OR REPLACE FUNCTION public.f(int) RETURNS boolean LANGUAGE sql IMMUTABLE AS 'SELECT true'"
    )
    hostile.execute("ALTER FUNCTION public.f(int) OWNER TO CURRENT_USER")
    assert read("keybuzz_admin") == 1


def test_postgresql_itself_would_have_executed_it(
    hostile: psycopg.Connection[tuple[object, ...]], canaries: Canaries, lab: Lab
) -> None:
    hostile.execute(PLANNED["index predicate"].encode())
    with lab.admin(DATABASE) as conn:
        conn.execute("SET default_transaction_read_only = on")
        conn.execute("SELECT count(*) FROM public.t")
    assert len(canaries.sang()) == 3


# --- a whole plan, where everything is hostile ----------------------------------------------------------------------


@pytest.fixture(scope="module")
def taken() -> Iterator[Lab]:
    """A lab of which somebody hostile is superuser: psql's commands stand in the texts of its objects."""
    with running() as lab:
        yield lab


def cwd_of(canaries: Canaries) -> Path:
    """Make a working directory with an older library that lets everything pass, and startup files; return it."""
    folder = canaries.home / "work"
    startup = canaries.home / ".ipython" / "profile_default" / "startup"
    startup.mkdir(parents=True)
    (folder / "runbooks_lib").mkdir(parents=True)
    deed = f"import os; os.system({canaries.touch!r})\n"
    passes = "def gate(*a, **k): pass\nCLOSING = frozenset()\n"
    for name in ("runbooks_lib/__init__", "sitecustomize", "usercustomize", "json", "psycopg", "papermill"):
        (folder / f"{name}.py").write_text(deed)
    (folder / "runbooks_lib" / "findings.py").write_text(deed + passes)
    (startup / "00.py").write_text(deed + "import runbooks_lib.findings as f; f.CLOSING = frozenset()\n")
    (canaries.home / "startup.py").write_text(deed)
    (canaries.home / ".psqlrc").write_text(f"\\! {canaries.touch}\n")
    return folder


@pytest.mark.parametrize("door", ["baseline", "migration"])
def test_a_hostile_plan_is_inert_and_what_fails_stays_failed(
    taken: Lab, canaries: Canaries, door: str
) -> None:
    folder = cwd_of(canaries)
    phase = canaries.home / PHASE.id
    shutil.copytree(PHASE.folder, phase)
    project = canaries.home / "project"
    shutil.copytree(taken.env()["RUNBOOKS_PRISMA_PROJECT"], project, symlinks=True)
    (migration,) = project.glob(f"prisma/migrations/{PHASE.prisma.settle[0]}/migration.sql")
    script = {"baseline": phase / PHASE.baseline.file, "migration": migration}[door]
    meta = f"x\n\\! {canaries.touch}\n\\copy pg_class to program '{canaries.touch}'\n"
    with script.open("a") as stream:
        stream.write(f"\nCOPY (SELECT 1) TO PROGRAM '{canaries.touch}';\n")
        stream.write(f"SELECT lo_export(lo_from_bytea(0, 'x'), '{canaries.tmp}/canary');\n")
    for database in {target.database for target in PHASE.targets.values()}:
        with taken.admin(database) as conn:
            conn.execute(sql.SQL("COMMENT ON SCHEMA public IS {}").format(meta))
            view = sql.Identifier(meta[:60])
            conn.execute(sql.SQL("CREATE OR REPLACE VIEW {} AS SELECT 1 AS a").format(view))
    env = os.environ | taken.env() | {"HOME": str(canaries.home), "RUNBOOKS_PRISMA_PROJECT": str(project)}
    env |= {"PYTHONSTARTUP": str(canaries.home / "startup.py"), "IPYTHONDIR": str(canaries.home / ".ipython")}
    done = subprocess.run(
        [str(RUNBOOKS), "run", str(phase), "--runs", str(canaries.runs), "--json"],
        cwd=folder, env=env, capture_output=True, text=True, timeout=240, check=False,
    )  # fmt: skip
    assert canaries.sang() == []
    assert "Traceback" not in done.stderr
    told = json.loads(done.stdout)
    steps = {step["step"]: step["verdict"] for step in told["steps"]}
    if door == "baseline":
        assert (done.returncode, steps["baseline_migration"]) == (1, told["verdict"])
        assert told["closing"]
    else:  # it is not applied by us: what was not judged of it is OPEN, and named
        assert steps["prisma_resolve"] == "OPEN"
        record = json.loads((Path(told["folder"]) / "04_prisma_resolve.json").read_text("utf-8"))
        findings = record["answers"]["live_schema"]["findings"]
        left = [
            f["have"]
            for f in findings
            if f["verdict"] == "OPEN" and f["object"].startswith(migration.parent.name)
        ]
        assert [words.split()[0].strip(":") for words in left] == ["COPY", "SELECT"]
        assert all("not judged" in words for words in left)
    assert verify(Path(told["folder"])).problems == ()
