"""What becomes of each migration: hand-made histories, no database."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from runbooks_lib.postgres.catalog.catalog import Key, Value
from runbooks_lib.postgres.rows.done import Done, Judged
from runbooks_lib.postgres.scratch.replayed import Change, Ran, Replayed, StatementRan
from runbooks_lib.postgres.script.data_statements import DataStatement
from runbooks_lib.postgres.script.effects import Unjudged
from runbooks_lib.prisma.history import MigrationFile, MigrationRow, diagnose
from runbooks_lib.prisma.settlement import Action, Settled, Settlement, settle
from runbooks_lib.prisma.state import State
from runbooks_lib.prisma.timeline import Stands

NOW = datetime(2026, 1, 7, tzinfo=UTC)
Described = dict[Key, Value]
Migrations = dict[str, list[Described]]  # per migration and statement: what these objects are after it

T, COLUMNS = ("relation", "public.t"), ("columns", "public.t")
SETTINGS, UNFILLED = ("relation settings", "public.t"), (("not_populated", True),)
TABLE: Value = (("kind", "r"), ("owner", "o"), ("options", ()))


def column(name: str, type_: str = "text") -> Value:
    return (("name", name), ("type", type_))


def index(text: str = "x") -> Value:
    return (("relation", "public.t"), ("definition", text))


INDEX, J, K = ("index", "public.i"), ("index", "public.j"), ("index", "public.k")
MAKES_T: Described = {T: TABLE, COLUMNS: (column("id"),)}


def replayed(migrations: Migrations, start: Described | None = None) -> Replayed:
    """A replay as it would come out of a scratch server: each statement with what it changes."""
    began = dict(start or {})
    now, scripts, inside, stood = dict(began), [], {}, {}
    for number, (name, statements) in enumerate(migrations.items()):
        found = []
        stood[number] = {key: value for key, value in now.items() if value is not None}
        for changed in statements:
            found.append(tuple(Change(key=k, before=now.get(k), after=v) for k, v in changed.items()))
            now |= changed
        words = [f"statement {n}" for n in range(len(statements))]
        texts = [
            " ".join(
                f"{'DROP' if v is None else 'CREATE'} {'TABLE ' * (k == T)}{k[1].split('.')[-1]}"
                for k, v in s.items()
            )
            for s in statements
        ]
        ran = tuple(
            StatementRan(line=n + 1, words=w, tag="CreateStmt" if t else "SelectStmt", text=t)
            for n, (w, t) in enumerate(zip(words, texts, strict=True))
        )
        scripts.append(Ran(name=name, statements=ran))
        inside[number] = tuple(found)
    end = {key: value for key, value in now.items() if value is not None}
    made = Replayed(
        scripts=tuple(scripts),
        start=began,
        end=end,
        server_version="18",
        look=_no,
        look_inside=_no,
        keep=_kept,
    )
    made.inside |= inside
    made.stood |= stood
    return made


def _no(numbers: object) -> dict[int, object]:
    raise AssertionError("a hand-made replay knows all")


def _kept(replayed: Replayed) -> None:
    """Keep nothing."""


def row(name: str, *, finished: bool = True, rolled_back: bool = False) -> MigrationRow:
    return MigrationRow(
        id=name,
        checksum="",
        name=name,
        started_at=NOW,
        finished_at=NOW if finished else None,
        rolled_back_at=NOW if rolled_back else None,
        logs=None,
        applied_steps_count=1,
    )


def state(names: object, rows: list[MigrationRow]) -> State:
    files = tuple(MigrationFile(name=str(name), script="SELECT 1") for name in names)  # type: ignore[attr-defined]
    return State(files=files, rows=tuple(rows), history=diagnose(files, rows, rolled_back_is_pending=True))


def settled(
    migrations: Migrations,
    live: Described,
    recorded: str = "",
    *,
    failed: str = "",
    which: tuple[str, ...] | None = None,
    data: dict[str, tuple[Judged, ...]] | None = None,
    planned: Described | None = None,
    start: Described | None = None,
) -> Settlement:
    rows = [row(name) for name in recorded] + [row(name, finished=False) for name in failed]
    there = {key: value for key, value in live.items() if value is not None}
    return settle(
        state(migrations, rows),
        replayed(migrations, start),
        there,
        which=which,
        data=data or {},
        planned=planned,
    )


def of(found: Settlement, name: str) -> Settled:
    return next(each for each in found.migrations if each.migration == name)


def actions(found: Settlement) -> dict[str, Action]:
    return {each.migration: each.action for each in found.migrations}


def wrong(found: Settlement) -> list[str]:
    return [each.label for each in found.objects if not each.stands]


def judged(done: Done, tag: str = "UpdateStmt") -> Judged:
    statement = DataStatement(
        line=9, tag=tag, words="UPDATE t", text="UPDATE t", table="public.t", at=0, script=""
    )
    return Judged(statement=statement, done=done, why="", rows=None)


# a: makes t; b: two indexes and a column
AB: Migrations = {
    "a": [MAKES_T],
    "b": [{INDEX: index()}, {J: index()}, {COLUMNS: (column("id"), column("n"))}],
}
ALL_OF_AB: Described = {T: TABLE, COLUMNS: (column("id"), column("n")), INDEX: index(), J: index()}


# --- the table of what is done ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("live", "recorded", "failed", "stands", "action"),
    [
        (ALL_OF_AB, "a", "", Stands.ALL, Action.RESOLVE_APPLIED),
        (MAKES_T, "a", "", Stands.NONE, Action.DEPLOY),
        ({**MAKES_T, INDEX: index()}, "a", "", Stands.PART, Action.REFUSE),
        ({**ALL_OF_AB, INDEX: index("y")}, "a", "", Stands.OTHER, Action.REFUSE),
        (ALL_OF_AB, "a", "b", Stands.ALL, Action.RESOLVE_APPLIED),
        (MAKES_T, "a", "b", Stands.NONE, Action.ROLL_BACK_AND_DEPLOY),
        ({**MAKES_T, INDEX: index()}, "a", "b", Stands.PART, Action.REFUSE),
        (ALL_OF_AB, "ab", "", Stands.ALL, Action.NOTHING),
        ({**ALL_OF_AB, J: None}, "ab", "", Stands.NONE, Action.NOTHING),
    ],
)
def test_what_stands_and_what_is_recorded_decide(
    live: Described, recorded: str, failed: str, stands: Stands, action: Action
) -> None:
    found = of(settled(AB, live, recorded, failed=failed), "b")
    assert (found.stands, found.action) == (stands, action)


def test_the_statements_that_stand_are_told() -> None:
    found = of(settled(AB, {**MAKES_T, INDEX: index()}, "a"), "b")
    assert [(each.index, each.stands) for each in found.statements] == [
        (0, Stands.ALL),
        (1, Stands.NONE),
        (2, Stands.NONE),
    ]
    assert (found.standing, found.of) == ((1,), 3)


def test_of_a_recorded_migration_the_statement_is_told_that_made_what_is_missing() -> None:
    found = settled(AB, {**ALL_OF_AB, J: None}, "ab")
    (lost,) = (each for each in found.objects if not each.stands)
    assert (lost.label, lost.recorded, lost.there, lost.wanted) == ("index public.j", True, False, True)
    (origin,) = lost.origins
    assert (origin.migration, origin.statement and origin.statement.line) == ("b", 2)
    assert [(each.index, each.stands) for each in of(found, "b").statements] == [(1, Stands.NONE)]
    assert lost.words()[0] == "missing"


def test_nothing_at_all_is_recorded() -> None:
    assert actions(settled(AB, ALL_OF_AB)) == {"a": Action.RESOLVE_APPLIED, "b": Action.RESOLVE_APPLIED}
    assert actions(settled(AB, MAKES_T)) == {"a": Action.RESOLVE_APPLIED, "b": Action.DEPLOY}
    assert actions(settled(AB, {})) == {"a": Action.DEPLOY, "b": Action.DEPLOY}


# --- later migrations count ---------------------------------------------------------------------------------------

DROPS: Migrations = {"a": [MAKES_T], "b": [{INDEX: index()}], "c": [{INDEX: None}]}


@pytest.mark.parametrize(
    ("live", "recorded", "wanted"),
    [
        (MAKES_T, "a", {"b": Action.DEPLOY, "c": Action.DEPLOY}),  # nothing says that b was run
        (MAKES_T, "ac", {"b": Action.RESOLVE_APPLIED, "c": Action.NOTHING}),  # c was, and so was b
        (MAKES_T, "ab", {"b": Action.NOTHING, "c": Action.RESOLVE_APPLIED}),
        ({**MAKES_T, INDEX: index()}, "a", {"b": Action.RESOLVE_APPLIED, "c": Action.DEPLOY}),
        ({**MAKES_T, INDEX: index()}, "ab", {"b": Action.NOTHING, "c": Action.DEPLOY}),
    ],
)
def test_an_object_that_comes_and_goes(live: Described, recorded: str, wanted: dict[str, Action]) -> None:
    found = settled(DROPS, live, recorded)
    assert wrong(found) == []
    assert {name: actions(found)[name] for name in wanted} == wanted


def test_what_a_recorded_migration_dropped_and_is_there_is_red() -> None:
    found = settled(DROPS, {**MAKES_T, INDEX: index()}, "abc")
    (more,) = (each for each in found.objects if not each.stands)
    assert (more.label, more.wanted, more.origins[0].migration) == ("index public.i", False, "c")


def test_the_rest_of_a_migration_tells_what_its_object_alone_does_not() -> None:
    """b makes i and j, c drops i again: i is not there before b and not there after c."""
    comes: Migrations = {"a": [MAKES_T], "b": [{INDEX: index()}, {J: index()}], "c": [{INDEX: None}]}
    found = settled(comes, {**MAKES_T, J: index()}, "a")
    assert (actions(found)["b"], actions(found)["c"]) == (Action.RESOLVE_APPLIED, Action.RESOLVE_APPLIED)
    found = settled(comes, MAKES_T, "a")
    assert (actions(found)["b"], actions(found)["c"]) == (Action.DEPLOY, Action.DEPLOY)


def test_what_is_made_again_as_it_was_is_told_by_the_rest_and_by_what_came_after() -> None:
    """b changes an index, c makes it again as a made it, and a second one."""
    again: Migrations = {
        "a": [{**MAKES_T, INDEX: index()}],
        "b": [{INDEX: None}, {INDEX: index("y")}],
        "c": [{INDEX: None}, {INDEX: index()}, {J: index()}],
    }
    found = settled(again, {**MAKES_T, INDEX: index(), J: index()})
    assert actions(found) == dict.fromkeys("abc", Action.RESOLVE_APPLIED)
    found = settled(again, {**MAKES_T, INDEX: index()})
    assert actions(found) == {"a": Action.RESOLVE_APPLIED, "b": Action.DEPLOY, "c": Action.DEPLOY}


def test_what_a_later_migration_renames_was_made_by_one_that_was_run() -> None:
    renames: Migrations = {"a": [MAKES_T], "b": [{INDEX: index()}], "c": [{INDEX: None, J: index()}]}
    found = settled(renames, {**MAKES_T, J: index()})
    assert actions(found) == dict.fromkeys("abc", Action.RESOLVE_APPLIED)
    assert actions(settled(renames, MAKES_T)) == {
        "a": Action.RESOLVE_APPLIED, "b": Action.DEPLOY, "c": Action.DEPLOY
    }  # fmt: skip


def test_a_type_that_a_later_migration_changes() -> None:
    changes: Migrations = {
        "a": [{T: TABLE, COLUMNS: (column("n", "int"),)}],
        "b": [{COLUMNS: (column("n", "bigint"),)}],
    }
    for type_, wanted in {
        "int": Action.DEPLOY,
        "bigint": Action.RESOLVE_APPLIED,
        "text": Action.REFUSE,
    }.items():
        found = settled(changes, {T: TABLE, COLUMNS: (column("n", type_),)}, "a")
        assert actions(found)["b"] is wanted
        assert wrong(found) == (["columns public.t"] if type_ == "text" else [])


def test_branches_that_were_merged_late() -> None:
    """b is older than c and was not run; c was. Columns of one table are apart from each other."""
    late: Migrations = {
        "a": [MAKES_T],
        "b": [{COLUMNS: (column("id"), column("b"))}],
        "c": [{COLUMNS: (column("id"), column("b"), column("c"))}],
    }
    found = settled(late, {T: TABLE, COLUMNS: (column("c"), column("id"))}, "ac")
    assert (wrong(found), actions(found)["b"]) == ([], Action.DEPLOY)
    found = settled(late, {T: TABLE, COLUMNS: (column("c"), column("b"), column("id"))}, "ac")
    assert (wrong(found), actions(found)["b"]) == ([], Action.RESOLVE_APPLIED)


# --- what is not the migrations' to decide -------------------------------------------------------------------------


def grants(*said: str) -> Value:
    return (("privileges", tuple((*each.split(), False) for each in said)),)


def table(**options: str) -> Value:
    return (("kind", "r"), ("owner", "o"), ("options", tuple(options.items())))


P, E = ("privileges", "public.t"), ("extension", "citext")


@pytest.mark.parametrize(
    ("made", "live", "stands"),
    [
        ({COLUMNS: (column("a"), column("b"))}, {COLUMNS: (column("b"), column("a"))}, True),
        ({COLUMNS: (column("a"),)}, {COLUMNS: (column("b"), column("a"))}, False),
        ({COLUMNS: (column("a"), column("b"))}, {COLUMNS: (column("a"),)}, False),
        ({E: (("version", "1.5"),)}, {E: (("version", "1.6"),)}, True),
        ({E: (("version", "1.5"),)}, {}, False),
        ({P: grants("app SELECT")}, {P: grants("app INSERT", "app SELECT", "reports SELECT")}, True),
        ({P: grants("app SELECT", "app INSERT")}, {P: grants("app INSERT")}, False),
        ({P: grants("app SELECT")}, {}, False),
        ({T: table()}, {T: table(fillfactor="90")}, True),
        ({T: table(fillfactor="90")}, {T: table()}, False),
        ({T: table(fillfactor="90")}, {T: table(fillfactor="70")}, False),
        ({T: table(fillfactor="90")}, {T: table(fillfactor="90", autovacuum_enabled="off")}, True),
        ({("enum", "public.e"): (("labels", ("A", "B")),)}, {("enum", "public.e"): (("labels", ("B", "A")),)}, False),
    ],
)  # fmt: skip
def test_order_version_further_privileges_and_tuning_are_no_difference(
    made: Described, live: Described, stands: bool
) -> None:
    found = settled({"a": [made]}, live, "a")
    assert [each.stands for each in found.objects] == [stands]


@pytest.mark.parametrize(
    ("made", "live", "stands"),
    [
        ((), (), True),
        (UNFILLED, UNFILLED, True),
        (UNFILLED, (), True),
        ((*UNFILLED, ("x", 1)), (("x", 1),), True),
        ((*UNFILLED, ("x", 1)), (), False),
        ((("x", 1),), (*UNFILLED, ("x", 1)), False),
    ],
)
def test_a_materialized_view_that_migrations_leave_unfilled_may_be_filled(
    made: Value, live: Value, stands: bool
) -> None:
    def view(settings: Value) -> Described:
        return {T: table(), **({SETTINGS: settings} if settings else {})}

    found = settled({"a": [view(made)]}, view(live), "a")
    assert all(each.stands for each in found.objects) is stands


def test_a_privilege_that_was_revoked_must_not_be_there() -> None:
    given: Migrations = {"a": [{P: grants("app SELECT", "app INSERT")}], "b": [{P: grants("app SELECT")}]}
    assert wrong(settled(given, {P: grants("app SELECT", "other INSERT")}, "ab")) == []
    assert wrong(settled(given, {P: grants("app SELECT", "app INSERT")}, "ab")) == []  # no script says REVOKE
    revoked = replayed(given)
    object.__setattr__(revoked.scripts[1].statements[0], "text", "REVOKE INSERT ON t FROM app")
    found = settle(
        state("ab", [row("a"), row("b")]),
        revoked,
        {P: grants("app SELECT", "app INSERT")},
        which=None,
        data={},
    )
    assert wrong(found) == ["privileges public.t"]


def test_an_older_server_names_no_not_null() -> None:
    key = ("column settings", "public.t.id")
    found = settle(
        state("a", [row("a")]),
        replayed({"a": [{**MAKES_T, key: (("not_null", "t_id_not_null"),)}]}),
        MAKES_T,
        which=None,
        data={},
        server_major=15,
    )
    assert wrong(found) == []


# --- statements that change rows -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("live", "dones", "whole", "action"),
    [
        (ALL_OF_AB, [Done.ALL], Stands.ALL, Action.RESOLVE_APPLIED),
        (ALL_OF_AB, [Done.NOT_JUDGED], Stands.ALL, Action.RESOLVE_APPLIED),
        (ALL_OF_AB, [Done.NONE], Stands.PART, Action.REFUSE),
        (ALL_OF_AB, [Done.ALL, Done.PART], Stands.PART, Action.REFUSE),
        (MAKES_T, [Done.NONE], Stands.NONE, Action.DEPLOY),
        (MAKES_T, [Done.ALL], Stands.NONE, Action.DEPLOY),  # there was nothing to update
    ],
)
def test_a_migration_with_rows_left_undone_is_never_all(
    live: Described, dones: list[Done], whole: Stands, action: Action
) -> None:
    found = of(settled(AB, live, "a", data={"b": tuple(map(judged, dones))}), "b")
    assert (found.whole, found.action) == (whole, action)


def test_rows_that_are_inserted_already_are_a_part() -> None:
    data = {"b": (judged(Done.ALL, "InsertStmt"),)}
    assert of(settled(AB, MAKES_T, "a", data=data), "b").action is Action.REFUSE


@pytest.mark.parametrize(
    ("dones", "action"),
    [
        ([Done.ALL, Done.ALL], Action.RESOLVE_APPLIED),
        ([Done.NONE, Done.NOT_JUDGED], Action.DEPLOY),
        ([Done.ALL, Done.NONE], Action.REFUSE),
        ([Done.PART], Action.REFUSE),
        ([Done.NOTHING], Action.RESOLVE_APPLIED),
        ([Done.NOT_JUDGED], Action.REFUSE),
        ([Done.NOTHING, Done.NOT_JUDGED], Action.REFUSE),
    ],
)
def test_a_migration_of_rows_alone(dones: list[Done], action: Action) -> None:
    rows: Migrations = {"a": [MAKES_T], "b": [{}]}
    assert of(settled(rows, MAKES_T, "a", data={"b": tuple(map(judged, dones))}), "b").action is action


def test_what_says_nothing_itself_is_told_by_its_neighbours_or_not_at_all() -> None:
    rows: Migrations = {"a": [MAKES_T], "b": [{INDEX: index()}], "c": [{}]}
    unknown = {"c": (judged(Done.NOT_JUDGED),)}
    made = {**MAKES_T, INDEX: index()}
    assert actions(settled(rows, MAKES_T, "a", data=unknown))["c"] is Action.DEPLOY
    assert actions(settled(rows, made, "a", data=unknown))["c"] is Action.REFUSE, (
        "the last one, and nothing speaks"
    )
    assert actions(settled(rows, made, "ab", failed="c", data=unknown))["c"] is Action.REFUSE
    before: Migrations = {"a": [MAKES_T], "c": [{}], "b": [{INDEX: index()}]}
    assert actions(settled(before, made, "a", data=unknown))["c"] is Action.RESOLVE_APPLIED, (
        "b was run after it"
    )
    assert actions(settled(before, made, "ab", data=unknown))["c"] is Action.RESOLVE_APPLIED
    assert actions(settled(before, MAKES_T, "a", data=unknown))["c"] is Action.REFUSE, "b is still to be run"


@pytest.mark.parametrize(
    ("within", "dones", "action"),
    [
        ({INDEX: index()}, [], Action.DEPLOY),  # to make and drop an index once more changes nothing
        ({INDEX: index()}, [Done.NONE], Action.DEPLOY),
        ({INDEX: index()}, [Done.ALL], Action.RESOLVE_APPLIED),
        ({INDEX: index()}, [Done.NOTHING], Action.RESOLVE_APPLIED),
        ({INDEX: index()}, [Done.NOT_JUDGED], Action.REFUSE),
        ({COLUMNS: ()}, [], Action.REFUSE),  # the column's rows go with it
        ({T: None, COLUMNS: None}, [], Action.REFUSE),
    ],
)
def test_a_migration_that_leaves_the_catalogue_as_it_was_is_told_by_its_rows_or_not_at_all(
    within: Described, dones: list[Done], action: Action
) -> None:
    back = {key: MAKES_T.get(key) for key in within}
    same: Migrations = {"a": [MAKES_T], "b": [within, back]}
    data = {"b": tuple(map(judged, dones))}
    assert of(settled(same, MAKES_T, "a", data=data), "b").action is action
    later: Migrations = {**same, "c": [{J: index()}]}
    run = settled(later, {**MAKES_T, J: index()}, "ac", data=data)
    assert of(run, "b").action is (Action.REFUSE if dones == [Done.NONE] else Action.RESOLVE_APPLIED)


def with_kind(migrations: Migrations, tag: str, unjudged: Unjudged | None, text: str = "") -> Replayed:
    """A replay whose migration c is one statement of this kind and text."""
    made = replayed(migrations)
    (last,) = (ran for ran in made.scripts if ran.name == "c")
    ran = replace(last, statements=(replace(last.statements[0], tag=tag, unjudged=unjudged, text=text),))
    made.scripts = tuple(ran if each is last else each for each in made.scripts)
    return made


@pytest.mark.parametrize(
    "tag", ["DoStmt", "CreateTableAsStmt", "AlterTableStmt", "AlterSeqStmt", "AlterExtensionStmt"]
)
def test_what_a_statement_leaves_that_changes_rows_too_speaks_for_it(tag: str) -> None:
    rows = Unjudged(line=1, what="statement", why="rows")
    makes: Migrations = {"a": [MAKES_T], "c": [{INDEX: index()}]}
    live, data = {**MAKES_T, INDEX: index()}, {"c": (judged(Done.NOT_JUDGED),)}
    found = settle(state(makes, [row("a")]), with_kind(makes, tag, rows), live, which=None, data=data)
    assert (of(found, "c").stands, of(found, "c").action) == (Stands.ALL, Action.RESOLVE_APPLIED)
    found = settle(state(makes, [row("a")]), with_kind(makes, tag, rows), MAKES_T, which=None, data=data)
    assert (of(found, "c").stands, of(found, "c").action) == (Stands.NONE, Action.DEPLOY)


def test_what_is_set_back_by_no_word_of_dropping_is_missed_too() -> None:
    full = {("relation settings", T[1]): (("replica_identity", "f"),)}
    back: Migrations = {"a": [MAKES_T], "b": [full], "c": [dict.fromkeys(full)]}
    replay = with_kind(back, "AlterTableStmt", None, f"ALTER TABLE {T[1]} REPLICA IDENTITY DEFAULT")
    rows = [row(name) for name in "abc"]
    for live, stands in ((MAKES_T, Stands.ALL), ({**MAKES_T, **full}, Stands.NONE)):
        assert of(settle(state(back, rows), replay, live, which=None, data={}), "c").stands is stands


def test_what_stood_before_it_was_dropped_does_not_prove_that_it_was_made_again() -> None:
    made, gone = {**MAKES_T, INDEX: index()}, {T: None, COLUMNS: None, INDEX: None}
    again: Migrations = {"a": [made], "b": [gone], "c": [made]}
    assert Action.REFUSE in actions(settled(again, made)).values()
    more: Migrations = {**again, "d": [{J: index("z")}]}
    assert actions(settled(more, {**made, J: index("z")})) == dict.fromkeys("abcd", Action.RESOLVE_APPLIED)


@pytest.mark.parametrize(
    ("text", "action"),
    [
        ("ALTER TABLE t DROP COLUMN n, ADD COLUMN n int", Action.REFUSE),
        ("ALTER TABLE t DROP COLUMN IF EXISTS m, ADD COLUMN IF NOT EXISTS n int", Action.RESOLVE_APPLIED),
    ],
)
def test_a_column_that_is_dropped_and_made_again_as_it_was_is_not_taken_for_done(
    text: str, action: Action
) -> None:
    same: Migrations = {"a": [MAKES_T], "c": [{}]}
    replay = with_kind(same, "AlterTableStmt", None, text)
    found = settle(state(same, [row("a")]), replay, MAKES_T, which=None, data={})
    assert of(found, "c").action is action


def test_what_only_the_server_shows_is_not_recorded_unless_something_speaks_for_it() -> None:
    role = Unjudged(line=1, what="CREATE ROLE r", why="a role of the server")
    after: Migrations = {"a": [MAKES_T], "c": [{}]}
    for tag, action in (("CreateRoleStmt", Action.REFUSE), ("VariableSetStmt", Action.RESOLVE_APPLIED)):
        found = settle(state(after, [row("a")]), with_kind(after, tag, role), MAKES_T, which=None, data={})
        assert of(found, "c").action is action
    before: Migrations = {**after, "b": [{INDEX: index()}]}
    live = {**MAKES_T, INDEX: index()}
    rows = [row("a"), row("b")]
    found = settle(state(before, rows), with_kind(before, "CreateRoleStmt", role), live, which=None, data={})
    assert of(found, "c").action is Action.RESOLVE_APPLIED


# --- no more is run again than has to be ---------------------------------------------------------------------------

L, M = ("index", "public.l"), ("index", "public.m")
FIVE: Migrations = {**AB, "c": [{L: index()}], "d": [{}], "e": [{M: index()}]}
ALL_OF_FIVE = {**ALL_OF_AB, L: index(), M: index()}


def known_inside(*numbers: int) -> Replayed:
    made = replayed(FIVE)
    made.inside = {number: made.inside[number] for number in numbers}
    return made


def test_a_database_as_at_the_end_is_settled_without_a_look_into_any_script() -> None:
    found = settle(state(FIVE, []), known_inside(), ALL_OF_FIVE, which=None, data={})
    assert set(actions(found).values()) == {Action.RESOLVE_APPLIED}
    assert [each.stands for each in found.migrations] == [Stands.ALL] * 3 + [Stands.NOTHING, Stands.ALL]


def test_many_migrations_that_show_nothing_are_looked_at_in_few_replays() -> None:
    many: Migrations = {"a": [MAKES_T], **{f"n{number:03}": [{}] for number in range(100)}}
    made, looks = replayed(many), []
    stood, made.stood = made.stood, {0: made.start, len(many): made.end}

    def look(numbers: Collection[int]) -> dict[int, Described]:
        looks.append(numbers)
        return {number: stood[number] for number in numbers}

    made.look = look
    found = settle(state(many, []), made, MAKES_T, which=None, data={})
    assert actions(found)["a"] is Action.RESOLVE_APPLIED
    assert 0 < len(looks) <= 6


def test_what_is_to_be_deployed_needs_a_look_into_what_is_not_recorded() -> None:
    rows = [row("a"), row("b")]
    found = settle(state(FIVE, rows), known_inside(2, 3, 4), ALL_OF_AB, which=None, data={})
    assert actions(found) == {
        **dict.fromkeys("ab", Action.NOTHING),
        **dict.fromkeys("cde", Action.DEPLOY),
    }
    assert wrong(found) == []


def test_what_no_migration_of_these_has_left_so_is_looked_for_in_all_scripts() -> None:
    rows, live = [row("a"), row("b")], {**MAKES_T, COLUMNS: (column("id", "int"),)}
    with pytest.raises(AssertionError, match="knows all"):
        settle(state(FIVE, rows), known_inside(2, 3, 4), live, which=None, data={})
    assert wrong(settle(state(FIVE, rows), replayed(FIVE), live, which=None, data={})) != []


# --- some are named, others not ------------------------------------------------------------------------------------


def test_a_deploy_that_would_run_another_one_is_refused() -> None:
    three: Migrations = {**AB, "c": [{K: index()}]}
    found = settled(three, MAKES_T, "a", which=("b",))
    assert (actions(found)["b"], of(found, "b").hindered) == (Action.REFUSE, ("c",))
    assert actions(found)["c"] is Action.LEFT
    assert wrong(found) == []


def test_two_phases_are_no_deadlock() -> None:
    three: Migrations = {**AB, "c": [{COLUMNS: (column("id"), column("n"), column("c"))}]}
    live = {**ALL_OF_AB, COLUMNS: (column("id"), column("n"), column("c"))}
    for named, other in (("b", "c"), ("c", "b")):
        found = settled(three, live, "a", which=(named,))
        assert (actions(found)[named], actions(found)[other]) == (Action.RESOLVE_APPLIED, Action.LEFT)
        assert wrong(found) == []


# --- what a baseline completes -------------------------------------------------------------------------------------


def test_what_the_baseline_makes_completes_a_migration() -> None:
    planned: Described = {J: index(), COLUMNS: (column("id"), column("n"))}
    found = settled(AB, {**MAKES_T, INDEX: index()}, "a", planned=planned)
    b = of(found, "b")
    assert (b.stands, b.whole, b.completed, b.action) == (
        Stands.PART,
        Stands.ALL,
        True,
        Action.RESOLVE_APPLIED,
    )
    assert {each.label for each in found.objects if each.planned} == {"index public.j", "columns public.t"}
    half = of(settled(AB, {**MAKES_T, INDEX: index()}, "a", planned={J: index()}), "b")
    assert half.action is Action.REFUSE
    other = of(settled(AB, {**MAKES_T, INDEX: index()}, "a", planned={**planned, J: index("y")}), "b")
    assert other.action is Action.REFUSE


def test_a_recorded_migrations_objects_are_planned_too_and_stay_red() -> None:
    found = settled(AB, {**ALL_OF_AB, J: None}, "ab", planned={J: index()})
    (lost,) = (each for each in found.objects if not each.stands)
    assert (lost.planned, lost.recorded) == (True, True)


# --- what else is there --------------------------------------------------------------------------------------------


def test_more_than_the_migrations_make() -> None:
    live = {
        **ALL_OF_AB,
        K: index(),
        ("relation", "public.more"): TABLE,
        ("columns", "public.more"): (column("id"),),
        ("constraint", "public.more.more_pkey"): (("definition", "PRIMARY KEY (id)"),),
        ("index", "public.more_pkey"): (("relation", "public.more"), ("definition", "x")),
        ("relation", "public._prisma_migrations"): TABLE,
        ("index", "public._prisma_migrations_pkey"): (("relation", "public._prisma_migrations"),),
        ("constraint", "public._prisma_migrations._prisma_migrations_pkey"): (("definition", "x"),),
        ("function", "public.of_ext()"): (("definition", "x"),),
        ("extension member", "function.public.of_ext()"): (("extension", "x"),),
        ("constraint", "public.t.c"): (("definition", "CHECK"),),
        ("privileges", "public.t"): grants("app SELECT"),
    }
    found = settled(AB, live, "ab")
    assert found.extras == (("constraint", "public.t.c"), K, ("relation", "public.more"))
    assert wrong(found) == []
    assert settled(AB, ALL_OF_AB, "ab").extras == ()
