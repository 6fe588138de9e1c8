"""What stood before and after each script and statement of a replay, against reading the catalogue after each."""

from __future__ import annotations

import pytest

from runbooks_lib.postgres.catalog.catalog import read_catalog
from runbooks_lib.postgres.catalog.differences import describe
from runbooks_lib.postgres.catalog.watched import Watched
from runbooks_lib.postgres.scratch import replay as replaying
from runbooks_lib.postgres.scratch.kept_replay import Shelf
from runbooks_lib.postgres.scratch.programs import find_server
from runbooks_lib.postgres.scratch.replay import replay
from runbooks_lib.postgres.scratch.replayed import Change, Replayed
from runbooks_lib.postgres.scratch.surroundings import Surroundings

from .test_watched import MORE

MAJOR = find_server().major
LIKE = Surroundings(database="shop", roles=("app",))
TABLE, COLUMNS, INDEX = ("relation", "public.a"), ("columns", "public.a"), ("index", "public.i")


def replayed(*scripts: str) -> Replayed:
    named = [(str(number), script) for number, script in enumerate(scripts, start=1)]
    return replay(named, owner="shop_owner", server_major=MAJOR, like=LIKE)


def keys(changes: tuple[Change, ...]) -> set[tuple[str, str]]:
    return {change.key for change in changes}


def test_each_statement_has_what_it_changes() -> None:
    found = replayed(
        "CREATE TABLE a (x int);\nCREATE INDEX i ON a (x);", "DROP INDEX i; INSERT INTO a VALUES (1)"
    )
    (table, made), (index, indexed) = found.statements("1")
    assert (table.line, table.words, table.tag, table.text) == (
        1,
        "CREATE TABLE a",
        "CreateStmt",
        "CREATE TABLE a (x int)",
    )
    assert (keys(made), keys(indexed), index.line) == ({TABLE, COLUMNS}, {INDEX}, 2)
    (_, dropped), (insert, nothing) = found.statements("2")
    assert (keys(dropped), nothing, insert.unjudged is not None) == ({INDEX}, (), True)
    assert (dropped[0].before is None, dropped[0].after) == (False, None)
    assert found.before("2") == found.after("1")
    assert keys(found.changes("1")) == {TABLE, COLUMNS, INDEX}


def test_the_history_of_an_object_has_every_statement_that_changed_it() -> None:
    found = replayed(
        "CREATE TABLE a (x int); CREATE INDEX i ON a (x)",
        "SELECT 1; DROP INDEX i; CREATE INDEX i ON a (x)",  # the same at both ends
        "ALTER INDEX i RENAME TO j",
    )
    steps = found.history([INDEX])[INDEX]
    assert [(step.script, step.statement, step.value is not None) for step in steps] == [
        (None, None, False),
        ("1", 1, True),
        ("2", 1, False),
        ("2", 2, True),
        ("3", 0, False),
    ]


def test_only_scripts_that_name_an_object_or_change_it_are_looked_into_for_its_history() -> None:
    found = replayed(
        "CREATE TABLE apples (x int); CREATE INDEX ripe ON apples (x)",
        "CREATE TABLE other (x int)",
        "DO $$ BEGIN EXECUTE 'DROP INDEX ri' || 'pe'; END $$; SELECT 1",
        "ALTER TABLE other ADD COLUMN y int",
        "CREATE INDEX RIPE ON Apples (x)",
        "DROP TABLE other",
        "ALTER TABLE apples ADD COLUMN y int; DROP TABLE apples",  # names the table alone
        "CREATE TABLE apples (z int)",
    )
    key = ("index", "public.ripe")
    assert [(step.script, step.statement) for step in found.history([key])[key]] == [
        (None, None), ("1", 1), ("3", 0), ("5", 0), ("7", 1)
    ]  # fmt: skip
    assert sorted(found.inside) == [0, 1, 2, 3, 4, 5, 6, 7]
    again = replayed("CREATE TABLE apples (x int)", "CREATE TABLE other (x int)", "DROP TABLE other")
    key = ("relation", "public.apples")
    assert len(again.history([key])[key]) == 2
    assert sorted(again.inside) == [0]


def test_what_only_runs_together_is_told_as_a_whole() -> None:
    found = replayed(
        "CREATE TABLE a (x int)",
        "CREATE TEMP TABLE t (x) ON COMMIT DROP AS SELECT 1; INSERT INTO t VALUES (2); CREATE INDEX i ON a (x)",
        "BEGIN; CREATE TABLE b (); COMMIT;",
    )
    assert found.statements("2") == ()
    assert keys(found.changes("2")) == {INDEX}
    assert [(step.script, step.statement) for step in found.history([INDEX])[INDEX]] == [
        (None, None),
        ("2", None),
    ]
    assert [bool(changed) for _, changed in found.statements("3")] == [False, True, False]


def test_many_scripts_run_in_one_session() -> None:
    found = replayed("CREATE TABLE a (n int)", *["INSERT INTO a VALUES (1); -- again and again"] * 40)
    assert len(found.scripts) == 41


def test_what_a_superuser_made_beforehand_counts_from_its_statement_on() -> None:
    view = ("relation", "stats.pg_stat_statements")
    found = replayed(
        "CREATE TABLE a (x int)",
        "CREATE SCHEMA stats; SELECT 1; CREATE EXTENSION pg_stat_statements SCHEMA stats; CREATE TABLE b ()",
    )
    assert view in found.end
    assert not {("schema", "stats"), view} & set(found.after("1"))
    steps = found.history([("schema", "stats"), ("extension", "pg_stat_statements"), view])
    assert [[(step.script, step.statement) for step in steps[key]][1:] for key in sorted(steps)] == [
        [("2", 2)],
        [("2", 2)],
        [("2", 0)],
    ]


def test_a_script_with_transactions_of_its_own_is_one_query_all_the_same() -> None:
    found = replayed(
        "CREATE TABLE a (x int); BEGIN; CREATE TABLE b (); ROLLBACK; CREATE TABLE c ()",  # begun before BEGIN
        "BEGIN; CREATE TABLE d (); COMMIT; CREATE EVENT TRIGGER e ON sql_drop EXECUTE FUNCTION f(); CREATE TABLE e ();",
    )
    assert {name for kind, name in found.end if kind == "relation"} == {"public.c", "public.d", "public.e"}
    assert found.statements("1") == ()
    assert [one.line for one in found.scripts[1].unjudged] == [1]
    assert [len(made) for _, made in found.statements("2")] == [0, 1, 0, 0, 1]


def test_what_is_read_quickly_is_what_is_read_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    """Renames, drops, what comes back as it was, blocks, enums, views, triggers, policies, grants, partitions."""
    scripts = [f"{script};" for script in MORE.strip().removesuffix(";").split(";\n")]
    quick = replayed(*scripts)
    names = [ran.name for ran in quick.scripts]
    quick.look_into(names)
    monkeypatch.setattr(Watched, "read", lambda self: describe(read_catalog(self._conn)))
    replaying._replay.cache_clear()
    monkeypatch.setattr(Shelf, "read", lambda self: None)
    slow = replayed(*scripts)
    slow.look_into(names)
    assert slow is not quick
    assert (slow.end, slow.stood, slow.inside) == (quick.end, quick.stood, quick.inside)
    keys = {*quick.end, *(change.key for name in names for change in quick.changes(name))}
    assert slow.history(keys) == quick.history(keys)
    assert sum(bool(inside) for inside in quick.inside.values()) > 9
