"""Replays kept in the cache: found again without a server, of the same scripts alone, and never when damaged."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from runbooks_lib.postgres.scratch import replay as replaying
from runbooks_lib.postgres.scratch.programs import find_server
from runbooks_lib.postgres.scratch.replayed import Replayed
from runbooks_lib.postgres.scratch.surroundings import Surroundings
from runbooks_lib.prisma.settlement import compare

MAJOR = find_server().major
SECRET = "hunter2hunter2"
SCRIPTS = (
    "\ufeffCREATE TABLE a (x int DEFAULT 1, y text[]);\n-- CREATE INDEX i ON a (x)\nCREATE INDEX i ON a (x);",
    f"CREATE ROLE reader PASSWORD '{SECRET}'; GRANT SELECT ON a TO reader; COMMENT ON TABLE a IS 'été';",
    "BEGIN; CREATE TABLE b (); COMMIT; VACUUM a; INSERT INTO a VALUES (2);",
    "CREATE EXTENSION pg_stat_statements; DROP INDEX i;",
)
NAMES = tuple("1234")


@pytest.fixture
def starts(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[str]:
    """What was started, in a cache of the test's own."""
    started: list[str] = []
    staged = replaying.staged

    def noting(asked: Any, place: Any) -> Any:
        started.append(asked.owner)
        return staged(asked, place)

    templates = tmp_path / "cache" / "templates"
    monkeypatch.setattr(replaying, "staged", noting)
    monkeypatch.setattr(
        "runbooks_lib.postgres.scratch.kept_replay.cache_directory", lambda: tmp_path / "cache"
    )
    templates.mkdir(parents=True, mode=0o700)
    return started


def replayed(
    *scripts: str, owner: str = "shop_owner", database: str = "shop", dump: Path | None = None
) -> Replayed:
    replaying._replay.cache_clear()
    named = [(str(number), script) for number, script in enumerate(scripts or SCRIPTS, start=1)]
    like = Surroundings(database=database, roles=("reader",))
    return replaying.replay(named, owner=owner, server_major=MAJOR, like=like, dump=dump)


def all_of(found: Replayed) -> tuple[Any, ...]:
    found.look_into(NAMES)
    inside = [found.statements(name) for name in NAMES]
    whole = [found.changes(name) for name in NAMES]
    return found.scripts, found.start, found.end, inside, whole, found.history(found.end), found.lacking


def files(tmp_path: Path) -> list[Path]:
    return list((tmp_path / "cache" / "replays").iterdir())


def test_what_is_kept_is_what_was_found(starts: list[str], tmp_path: Path) -> None:
    first = replayed()
    found = all_of(first)
    assert (first.kept, len(starts)) == (False, 3)
    again = replayed()
    assert again.kept
    assert all_of(again) == found
    assert len(starts) == 3
    (file,) = files(tmp_path)
    assert file.stat().st_mode & 0o777 == 0o600
    assert SECRET not in file.read_text()


def test_other_scripts_are_run_and_what_stood_before_them_is_known(starts: list[str]) -> None:
    found = all_of(replayed())
    longer = replayed(*SCRIPTS, "CREATE TABLE later ()")
    assert (longer.kept, len(starts)) == (False, 4)
    longer.look_into(NAMES)
    assert ([longer.statements(name) for name in NAMES], len(starts)) == (found[3], 4)
    assert [len(made) for _, made in longer.statements("5")] == [1]
    edited = replayed(*SCRIPTS[:2], "CREATE TABLE other ()", SCRIPTS[3])
    assert not edited.kept
    before = len(starts)
    assert ([edited.statements(name) for name in "12"], len(starts)) == (found[3][:2], before)
    assert ("relation", "public.other") in edited.after("3")
    assert not replayed(*SCRIPTS[:3]).kept


def test_another_owner_is_another_replay(starts: list[str]) -> None:
    replayed()
    assert not replayed(owner="somebody").kept
    assert replayed(owner="somebody").kept


def test_other_scripts_in_the_same_surroundings_take_no_place_away(starts: list[str]) -> None:
    migrations, baseline = ("CREATE TABLE a ()", "CREATE TABLE b ()"), "CREATE TABLE other ()"
    for scripts in (migrations, (baseline,)):
        assert not replayed(*scripts).kept
    assert [replayed(*scripts).kept for scripts in (migrations, (baseline,), migrations)] == [True] * 3


def test_a_cache_that_takes_nothing_stops_nobody(starts: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("runbooks_lib.postgres.scratch.kept_replay.write_private", full)
    found = replayed("CREATE TABLE a (x int)")
    assert [bool(changes) for _, changes in found.statements("1")] == [True]
    assert not replayed("CREATE TABLE a (x int)").kept


@pytest.mark.parametrize("harm", ["cut", "changed", "others may write", "a link", "not json"])
def test_a_file_that_is_damaged_or_not_ours_is_not_used(starts: list[str], tmp_path: Path, harm: str) -> None:
    replayed()
    (file,) = files(tmp_path)
    content = file.read_text()
    match harm:
        case "cut":
            file.write_text(content[:-1])
        case "changed":
            file.write_text(content.replace("public.a", "public.z"))
        case "others may write":
            file.chmod(0o666)
        case "a link":
            file.rename(tmp_path / "elsewhere")
            file.symlink_to(tmp_path / "elsewhere")
        case _:
            file.write_text("x")
    found = replayed()
    assert not found.kept
    assert ("relation", "public.a") in found.end


def test_what_nobody_uses_is_removed(
    starts: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    replayed("CREATE TABLE a ()", owner="a")
    (first,) = files(tmp_path)
    monkeypatch.setattr(
        "runbooks_lib.postgres.scratch.kept_replay.MOST_BYTES", 2 * first.stat().st_size + 100
    )
    for owner in ("b", "c"):
        replayed("CREATE TABLE a ()", owner=owner)
    assert len(files(tmp_path)) == 2
    assert [replayed("CREATE TABLE a ()", owner=owner).kept for owner in ("c", "b", "a")] == [
        True,
        True,
        False,
    ]
    for file in files(tmp_path):
        os.utime(file, (0, 0))
    (tmp_path / "cache" / "replays" / ".a.json.left").touch()  # by a process that was killed while it wrote
    os.utime(tmp_path / "cache" / "replays" / ".a.json.left", (0, 0))
    replayed("CREATE TABLE a ()", owner="d")
    assert len(files(tmp_path)) == 1


def test_what_another_process_removes_meanwhile_is_no_error(
    starts: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    iterdir = Path.iterdir

    def gone(folder: Path) -> Iterator[Path]:
        yield from iterdir(folder)
        if folder.name == "replays":
            yield folder / "gone.json"

    monkeypatch.setattr(Path, "iterdir", gone)
    assert not replayed("CREATE TABLE a ()").kept
    assert replayed("CREATE TABLE a ()").kept


def test_fifty_databases_share_one_replay(starts: list[str]) -> None:
    ends = [replayed("CREATE TABLE a (x int);", database=f"tenant_{number}").end for number in range(50)]
    assert starts == ["shop_owner"]
    assert ends.count(ends[0]) == 50


@pytest.mark.parametrize(
    "script",
    [
        "CREATE TABLE a (x text DEFAULT Current_Database());",
        "DO $$ BEGIN EXECUTE 'COMMENT ON ' || 'DATA' || 'BASE ' || 'shop' || ' IS NULL'; END $$;",
        "CREATE VIEW v AS SELECT catalog_name FROM information_schema.schemata;",
        "CREATE TABLE a (x text DEFAULT CURRENT_CATALOG);",
    ],
)
def test_a_script_that_may_ask_for_its_database_is_run_in_each(starts: list[str], script: str) -> None:
    replayed(script)
    replayed(script, database="tenant_1")
    assert len(starts) == 2


def test_scripts_in_copies_of_targets_share_nothing_a_function_there_may_ask_for_its_database(
    starts: list[str], tmp_path: Path
) -> None:
    dump = tmp_path / "dump.sql"
    dump.write_text(
        "CREATE FUNCTION public.here() RETURNS text LANGUAGE sql AS 'SELECT current_database()';\n"
    )
    script = "DO $$ BEGIN IF public.here() = 'shop' THEN CREATE TABLE a (); ELSE CREATE TABLE b (); END IF; END $$;"
    shop = replayed(script, dump=dump)
    other = replayed(script, database="tenant_1", dump=dump)
    assert ("relation", "public.a") in shop.end
    assert ("relation", "public.b") in other.end


def test_what_scripts_drop_without_its_name_is_not_right_where_it_still_stands(
    starts: list[str], tmp_path: Path
) -> None:
    dump = tmp_path / "dump.sql"
    dump.write_text("CREATE SEQUENCE public.tmp_1; CREATE TABLE public.kept ();\n")
    script = (
        "ALTER TABLE kept ADD COLUMN x int; DO $$ DECLARE found record; BEGIN FOR found IN SELECT sequencename AS own "
        "FROM pg_sequences WHERE sequencename ~ '^tmp' LOOP EXECUTE format('DROP SEQUENCE %I', found.own); END LOOP; "
        "END $$;"
    )
    made = replayed(script, owner="postgres", dump=dump)
    options: Any = {"schema": "public", "server_major": MAJOR, "owned": False, "planned": {}}
    gone = made.start.keys() - made.end.keys()  # the sequence, and who may use it
    still = {**made.end, **{key: made.start[key] for key in gone}}
    wrong = {(each.kind, each.name) for each in compare(made, still, **options).objects if not each.stands}
    assert wrong == gone
    assert all(each.stands for each in compare(made, made.end, **options).objects)


def test_who_asks_the_same_at_the_same_time_waits_and_finds_it(starts: list[str], tmp_path: Path) -> None:
    """In processes of their own, as those of a fleet: one of them works it out."""
    program = (
        "import sys; from runbooks_lib.postgres.scratch import replay as r; "
        "from runbooks_lib.postgres.scratch.surroundings import Surroundings as S; "
        "print(r.replay([('1', 'CREATE TABLE a (x int);')], owner='o', server_major=int(sys.argv[1]), "
        "like=S(database=sys.argv[2])).kept)"
    )
    env = {**os.environ, "RUNBOOKS_CACHE": str(tmp_path / "shared")}
    asking = [
        subprocess.Popen([sys.executable, "-c", program, str(MAJOR), name], env=env, stdout=subprocess.PIPE)
        for name in ("tenant_1", "tenant_2")
    ]
    said = sorted(process.communicate(timeout=120)[0].decode().strip() for process in asking)
    assert said == ["False", "True"]
