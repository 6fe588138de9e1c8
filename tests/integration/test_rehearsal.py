"""A deploy in a copy restored from a backup: its locks, what it writes anew, where it fails, what is left out."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from runbooks_lib.errors import BackupError
from runbooks_lib.lab.lab import Lab
from runbooks_lib.postgres.dump.clients import choose, find_clients
from runbooks_lib.postgres.scratch.rehearsal import Rehearsal, Rehearsed, rehearse_scripts
from runbooks_lib.postgres.scratch.surroundings import Surroundings

DATABASE, OWNER = "rehearsal_test", "kb_backend"
LIKE = Surroundings(database=DATABASE, roles=(OWNER, "keybuzz_operator"))
SHOP = """
CREATE TABLE "User" (id int PRIMARY KEY, email text NOT NULL, nick varchar(10), age int);
CREATE TABLE post (id int PRIMARY KEY, author int REFERENCES "User" (id));
CREATE VIEW nicks AS SELECT nick FROM "User" WHERE false;
INSERT INTO "User" VALUES (1, 'secret@example.org', 'a', 1), (2, 'secret@example.org', NULL, 2);
INSERT INTO post VALUES (1, 1);
"""
EXCLUSIVE, SHARE, SHARE_UPDATE = "AccessExclusiveLock", "ShareLock", "ShareUpdateExclusiveLock"

Rehearse = Callable[..., Rehearsal]


@pytest.fixture(scope="module")
def backup(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, Path]]:
    """A dump of a schema, and one of all rows."""
    folder = tmp_path_factory.mktemp("backup")
    pg_dump = choose(find_clients(), 18).pg_dump
    with lab.admin("postgres") as admin:
        admin.execute(f"CREATE DATABASE {DATABASE} OWNER {OWNER}")
        try:
            with lab.admin(DATABASE) as conn:
                conn.execute(
                    f"SET ROLE {OWNER}; GRANT SELECT ON ALL TABLES IN SCHEMA public TO keybuzz_operator"
                )
                conn.execute(SHOP)
            source = f"service=keybuzz_admin dbname={DATABASE}"
            for options in (
                ["--schema-only", f"--file={folder}/schema.sql"],
                ["-Fd", f"--file={folder}/rows"],
            ):
                command = [str(pg_dump), *options, f"--dbname={source}"]
                subprocess.run(command, check=True, env={**os.environ, **lab.env()})
            yield folder / "schema.sql", folder / "rows"
        finally:
            admin.execute(f"DROP DATABASE {DATABASE} WITH (FORCE)")


@pytest.fixture
def rehearse(backup: tuple[Path, Path]) -> Rehearse:
    def _rehearse(*scripts: str, rows: bool = False, allowed: tuple[str, ...] = ()) -> Rehearsal:
        return rehearse_scripts(
            [(f"m{number}", script) for number, script in enumerate(scripts)],
            dump=backup[0],
            data=backup[1] if rows else None,
            owner=OWNER,
            like=LIKE,
            server_major=18,
            allowed=allowed,
        )

    return _rehearse


def of(ran: Rehearsed, relation: str = "public.User") -> set[str]:
    return {mode for name, mode in ran.locks if name == relation}


def test_locks_and_what_is_written_anew(rehearse: Rehearse) -> None:
    done = rehearse(
        'CREATE INDEX i ON "User" (email)',
        'ALTER TABLE "User" ADD COLUMN added int',
        'ALTER TABLE "User" ALTER age TYPE bigint; UPDATE post SET author = 1; CREATE TABLE fresh (a int)',
        'CREATE INDEX CONCURRENTLY j ON "User" (age)',
        'BEGIN; ALTER TABLE "User" ADD COLUMN more int; COMMIT; BEGIN; CREATE INDEX k ON post (author); COMMIT',
        "DROP VIEW nicks",
        "ALTER TABLE post ADD FOREIGN KEY (id) REFERENCES \"User\" (id)",
        "CREATE INDEX l ON post (author); BEGIN; CREATE SCHEMA far; SET search_path = far, public; COMMIT;"
        'CREATE TABLE kept (x int); ALTER TABLE "User" ADD z int',
        "CREATE TABLE never (x int); BEGIN; ROLLBACK; ALTER TABLE post ADD z int",
    )  # fmt: skip
    assert [ran.error for ran in done.scripts] == [None] * 9
    index, column, rewriting, concurrently, own, view, foreign, beside, back = done.scripts
    assert of(index) == {SHARE}
    assert not index.rewritten
    assert EXCLUSIVE in of(column)
    assert not column.rewritten
    assert EXCLUSIVE in of(rewriting)
    assert of(rewriting, "public.post") == {"RowExclusiveLock"}
    assert rewriting.rewritten == ("public.User",)
    assert not {name for name, _ in rewriting.locks} & {"public.fresh", "public.i"}
    assert of(concurrently) == {SHARE_UPDATE}
    assert EXCLUSIVE in of(own)
    assert SHARE in of(own, "public.post")
    assert of(view, "public.nicks") == {EXCLUSIVE}
    assert "ShareRowExclusiveLock" in of(foreign)
    assert SHARE in of(beside, "public.post")
    assert EXCLUSIVE in of(beside)
    assert EXCLUSIVE in of(back, "public.post")
    assert ("relation", "public.never") not in done.after
    assert ("relation", "far.kept") in done.after
    assert all(ran.duration_ms > 0 for ran in done.scripts)
    assert not done.with_rows
    # what stands afterwards is what the scripts make, and owners are the target's
    assert ("index", "public.j") in done.after
    assert ("index", "public.j") not in done.before
    assert ("relation", "public.nicks") not in done.after
    with_rows = rehearse("SELECT 1", rows=True)
    assert with_rows.before == with_rows.after == done.before


def test_what_only_rows_refuse_is_found_with_them_and_no_value_is_told(rehearse: Rehearse) -> None:
    script = (
        '-- first\nCREATE TABLE log (a int);\n\nALTER TABLE "User" ALTER nick SET NOT NULL;\nDROP TABLE post'
    )
    assert rehearse(script).scripts[0].error is None
    done = rehearse("CREATE TABLE one ()", script, "CREATE TABLE never_reached ()", rows=True)
    assert done.with_rows
    assert [ran.name for ran in done.scripts] == ["m0", "m1"]
    error = done.scripts[1].error
    assert error is not None
    assert error.startswith('line 4 ALTER TABLE User: column "nick"')
    assert "23502" in error
    # as one query: nothing of it is left, and what ran before it is
    assert ("relation", "public.log") not in done.after
    assert ("relation", "public.one") in done.after
    for hiding in (
        'ALTER TABLE "User" ALTER email TYPE int USING email::int',
        'CREATE UNIQUE INDEX u ON "User" (email)',
    ):
        (failed,) = rehearse(hiding, rows=True).scripts
        assert failed.error is not None
        assert failed.error.startswith("line 1 ")
        assert "secret" not in failed.error


def test_rows_are_there_or_are_not(rehearse: Rehearse) -> None:
    counts = "DO $$ BEGIN IF (SELECT count(*) FROM post) <> 1 THEN RAISE 'none is there'; END IF; END $$"
    without = rehearse(counts).scripts[0].error
    assert without is not None
    assert without.startswith("line 1 DO block: none is there (SQLSTATE P0001)")
    assert rehearse(counts, rows=True).scripts[0].error is None


def test_what_prisma_cannot_send_as_one_query_fails_here_too(rehearse: Rehearse) -> None:
    (ran,) = rehearse('CREATE TABLE a (x int); CREATE INDEX CONCURRENTLY i ON "User" (age)').scripts
    assert ran.error is not None
    assert ran.error.startswith("line 1 CREATE INDEX on User: CREATE INDEX CONCURRENTLY cannot")


def test_a_script_that_is_no_sql_fails_with_the_server_s_words(rehearse: Rehearse) -> None:
    (ran,) = rehearse("CREAT TABLE a ()").scripts
    assert ran.error is not None
    assert "42601" in ran.error


def test_what_needs_a_superuser_is_left_out_and_named_or_made_where_it_is_allowed(rehearse: Rehearse) -> None:
    script = (
        "CREATE TABLE made (x int);\n"
        "CREATE FUNCTION low() RETURNS int LANGUAGE c AS '$libdir/plpgsql', 'plpgsql_call_handler';\n"
        'CREATE ROLE someone; ALTER TABLE "User" ADD w int'
    )
    (made,) = rehearse(script, allowed=("public.low",)).scripts
    assert (made.error, made.left_out) == (None, ())
    assert EXCLUSIVE in of(made)
    (ran,) = rehearse(script).scripts
    assert EXCLUSIVE in of(ran)
    assert ran.error is None
    (words,) = ran.left_out
    assert words.startswith("line 2 CREATE FUNCTION")
    assert words.endswith("(it needs a superuser's rights, and was not run)")


def test_what_needs_a_superuser_is_left_out_of_a_transaction_of_the_script_s_own(rehearse: Rehearse) -> None:
    c = "CREATE FUNCTION low() RETURNS int LANGUAGE c AS '$libdir/plpgsql', 'plpgsql_call_handler'"
    done = rehearse(
        f"BEGIN; CREATE TABLE made (x int); {c}; COMMIT",
        "BEGIN; CREATE EXTENSION pg_stat_statements; CREATE ROLE someone; CREATE TABLE more (x int); COMMIT",
    )
    assert [ran.error for ran in done.scripts] == [None, None]
    assert [len(ran.left_out) for ran in done.scripts] == [1, 0]
    assert {("relation", "public.made"), ("relation", "public.more")} <= set(done.after)


def test_a_dump_that_does_not_restore_is_an_error(backup: tuple[Path, Path], tmp_path: Path) -> None:
    (tmp_path / "schema.sql").write_text("CREATE TABLE a (x nothing);")
    with pytest.raises(BackupError):
        rehearse_scripts([], dump=tmp_path / "schema.sql", data=None, owner=OWNER, like=LIKE, server_major=18)
