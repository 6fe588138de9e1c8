"""What is replayed, what of that is not judged, and how a settlement is told: the rules, without a database."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from runbooks_lib.errors import PrismaError
from runbooks_lib.findings import Verdict
from runbooks_lib.phase import AcceptedMigration, Prisma, load_phase
from runbooks_lib.postgres.rows.done import Done, Judged
from runbooks_lib.postgres.scratch.replayed import Ran, Replayed, StatementRan
from runbooks_lib.postgres.script.data_statements import DataStatement
from runbooks_lib.postgres.script.effects import Unjudged
from runbooks_lib.prisma.effects import Origin
from runbooks_lib.prisma.history import CLEAN, MigrationFile, MigrationRow, diagnose
from runbooks_lib.prisma.settlement import Action, Settled, Settlement, StatementStands
from runbooks_lib.prisma.state import State
from runbooks_lib.prisma.timeline import Stands
from runbooks_lib.steps.prisma_findings import judge_replay, not_judged
from runbooks_lib.steps.prisma_look import Looked, Proved, scripts_to_run
from runbooks_lib.steps.settlement_findings import judge_data, judge_migrations, shown, what_stands

NOW = datetime(2026, 1, 7, tzinfo=UTC)
CHECKSUM = MigrationFile(name="", script="SELECT 1").checksum or ""


def row(
    name: str, *, finished: bool = True, rolled_back: bool = False, checksum: str = CHECKSUM
) -> MigrationRow:
    return MigrationRow(
        id=name,
        checksum=checksum,
        name=name,
        started_at=NOW,
        finished_at=NOW if finished else None,
        rolled_back_at=NOW if rolled_back else None,
        logs=None,
        applied_steps_count=1,
    )


def state(*rows: MigrationRow, files: tuple[str, ...] = ("1", "2", "3"), lost: str = "") -> State:
    folder = tuple(MigrationFile(name=n, script=None if n == lost else "SELECT 1") for n in files)
    return State(files=folder, rows=rows, history=diagnose(folder, rows, rolled_back_is_pending=True))


PHASE = load_phase("PH15-AMAZON-DB-FOUNDATION-01")


def run(found: State, *accepted: str) -> list[str]:
    """Return the names of the scripts that are replayed for a phase that accepts these."""
    section = Prisma(target="leader", accept=tuple(AcceptedMigration(migration=a, why="") for a in accepted))
    return [name for name, _ in scripts_to_run(replace(PHASE, prisma=section), found)]


def test_every_script_of_the_folder_is_replayed_whatever_is_recorded() -> None:
    assert run(state(row("2"), row("1", finished=False))) == ["1", "2", "3"]
    assert run(state(row("1"), lost="2")) == ["1", "3"]  # not applied, so not needed
    assert run(state(row("elsewhere", finished=False))) == ["1", "2", "3"]


def test_a_script_that_was_applied_and_is_not_there_is_an_error_unless_it_is_accepted() -> None:
    with pytest.raises(PrismaError, match=r"no migration.sql of 1, elsewhere:"):
        run(state(row("1"), row("elsewhere"), lost="1"))
    assert run(state(row("1"), row("elsewhere")), "elsewhere") == ["1", "2", "3"]


def test_how_a_migration_is_recorded() -> None:
    found = state(row("1"), row("2", finished=False), row("3", rolled_back=True), files=("1", "2", "3", "4"))
    assert [found.recorded(name) for name in "1234"] == ["applied", "failed", "rolled back", "no"]
    assert [found.failed(name) for name in "1234"] == [False, True, False, False]
    assert found.history.summary == "pending: 3, 4; failed: 2; rolled back: 3"
    again = state(row("1"), row("2", finished=False), row("2"))
    assert not again.failed("2")
    assert state(*map(row, "123")).history.summary == CLEAN


def test_whether_it_is_applied_as_this_very_file() -> None:
    found = state(row("1"), row("2", checksum="b" * 64), row("3"), lost="3", files=("1", "2", "3", "4"))
    assert [found.applied_as(name) for name in "1234"] == [
        "applied, checksum of this file",
        f"applied, checksum of another file ({'b' * 16})",
        "applied, but its migration.sql is lost",
        "no applied row",
    ]


def statement(line: int, unjudged: Unjudged | None = None) -> StatementRan:
    return StatementRan(line=line, words="INSERT a", tag="InsertStmt", unjudged=unjudged)


def judged_as(done: Done, *, at: int = 0) -> Judged:
    one = DataStatement(line=9, tag="DoStmt", words="DO block", text="", table=None, at=at, script="")
    return Judged(statement=one, done=done, why="", rows=None)


def proved(*unjudged: Unjudged, judged: tuple[int, ...] = (), **changes: Any) -> Proved:
    """What a replay of one script found; `judged` are the places of statements that are asked for their rows."""
    lines = [StatementRan(line=one.line, words=one.what, tag="", unjudged=one) for one in unjudged]
    plain = [StatementRan(line=100 + n, words="CREATE TABLE", tag="CreateStmt") for n in range(10)]
    replayed = Replayed(
        scripts=(Ran(name="1", statements=(*lines, *plain)),),
        start={},
        end={},
        server_version="18.6",
        look=lambda _: {},
        look_inside=lambda _: {},
        keep=lambda _: None,
        **changes,
    )
    data = tuple(judged_as(Done.ALL, at=at) for at in judged)
    looked = Looked(state=state(), catalog=None, like=None, data={"1": data})  # type: ignore[arg-type]
    return Proved(looked=looked, replayed=replayed, settlement=Settlement(migrations=()))


def test_what_runs_as_a_whole_and_is_compared_as_a_whole_needs_no_finding() -> None:
    assert list(judge_replay("leader", proved())) == []
    rows = Unjudged(line=3, what="INSERT a", why="rows")
    assert list(judge_replay("leader", proved(rows, judged=(0,)))) == []  # it is judged by its rows
    assert len(list(judge_replay("leader", proved(rows)))) == 1
    beside = Unjudged(line=3, what="CREATE ROLE a", why="a role")
    (told,) = judge_replay("leader", proved(rows, beside, judged=(0,)))
    assert told.have == "11 of 12 statements judged; not judged: line 3 CREATE ROLE a (a role)"


def test_what_is_borrowed_is_open_and_what_cannot_be_had_is_said() -> None:
    found = judge_replay(
        "leader", proved(borrowed=(("relation", "auth.users"),), lacking=("the locale UTF8, icu fr",))
    )
    assert [(f.object, f.verdict, f.have) for f in found] == [
        ("what the migrations need", Verdict.OPEN, "from a copy of the target: relation auth.users"),
        ("scratch database", Verdict.SKIP, "without the locale UTF8, icu fr"),
    ]


def test_a_long_list_is_cut_for_people_and_whole_in_the_facts() -> None:
    told = proved(*(Unjudged(line=n, what="CREATE ROLE a", why="a role") for n in range(1, 31)))
    (finding,) = judge_replay("leader", told)
    assert finding.have.startswith("10 of 40 statements judged; not judged: line 1 CREATE ROLE a (a role), ")
    assert finding.have.endswith("line 12 CREATE ROLE a (a role) and 18 more")
    assert len(not_judged(told)["1"]) == 30


# --- in words ------------------------------------------------------------------------------------------------------


def settled(**changes: Any) -> Settled:
    given: dict[str, Any] = {"migration": "1", "recorded": "no", "stands": Stands.PART, "whole": Stands.PART}
    return Settled(**{**given, "action": Action.REFUSE, "of": 7, **changes})


def statements(**stand: Stands) -> tuple[StatementStands, ...]:
    return tuple(
        StatementStands(index=n, line=n + 1, words=words, stands=stands)
        for n, (words, stands) in enumerate(stand.items())
    )


def test_what_stands_of_a_migration_is_said_statement_by_statement() -> None:
    a, n, p, o = Stands.ALL, Stands.NONE, Stands.PART, Stands.OTHER
    assert what_stands(settled(statements=statements(a=a, b=a, c=a, d=n, e=a, f=p, g=o))) == (
        "statements 1-3, 5 of 7 stand; not: line 4 d, line 6 f (a part of it), line 7 g (something else stands there)"
    )
    assert (
        what_stands(settled(statements=statements(a=a, b=n), of=2)) == "statement 1 of 2 stand; not: line 2 b"
    )
    assert what_stands(settled(statements=statements(a=p), of=1)).startswith(
        "of 1 statements none stands as a whole"
    )
    assert (
        what_stands(settled(stands=a, completed=True))
        == "all that it makes stands; the baseline makes the rest"
    )


@pytest.mark.parametrize(
    ("done", "action", "filled", "verdict"),
    [
        (Done.NONE, Action.DEPLOY, (), Verdict.SKIP),
        (Done.NOT_JUDGED, Action.DEPLOY, (), Verdict.OPEN),  # it may have been run by hand
        (Done.NONE, Action.REFUSE, (), Verdict.FAIL),
        (Done.NOT_JUDGED, Action.REFUSE, (), Verdict.OPEN),
        (Done.NONE, Action.RESOLVE_APPLIED, (0,), Verdict.SKIP),
        (Done.NONE, Action.NOTHING, (), Verdict.OPEN),
        (Done.ALL, Action.RESOLVE_APPLIED, (), Verdict.PASS),
    ],
)
def test_each_statement_that_changes_rows_is_told_by_what_becomes_of_it(
    done: Done, action: Action, filled: tuple[int, ...], verdict: Verdict
) -> None:
    (told,) = judge_data("t", [settled(action=action, data=(judged_as(done),), filled=frozenset(filled))])
    assert (told.object, told.verdict) == ("1/migration.sql:9", verdict)


def test_statements_of_one_line_are_told_apart() -> None:
    both = settled(action=Action.RESOLVE_APPLIED, data=(judged_as(Done.ALL), judged_as(Done.PART, at=2)))
    places = [f.object for f in judge_data("t", [both])]
    assert places == ["1/migration.sql:9, statement 1", "1/migration.sql:9, statement 3"]


def test_what_a_deploy_would_run_besides_is_named() -> None:
    (finding,) = judge_migrations("t", Settlement(migrations=(settled(hindered=("2", "3")),)))
    assert (finding.verdict, "runs all that is pending, 2, 3 too" in finding.hint) == (Verdict.FAIL, True)


@pytest.mark.parametrize(
    ("text", "is_shown"),
    [
        ("CREATE INDEX a ON b (c)", True),
        ("alter table a add b int", True),
        ("CREATE USER MAPPING FOR a SERVER b OPTIONS (password 'x')", False),
        ("ALTER ROLE a PASSWORD 'x'", False),
        ("INSERT INTO a VALUES ('secret')", False),
        ("CREATE TABLE a (\n" + "x int,\n" * 30 + "y int)", True),
    ],
)
def test_a_statement_that_may_hold_a_secret_is_not_shown(text: str, is_shown: bool) -> None:
    origin = Origin(migration="1", statement=StatementRan(line=1, words="", tag="", text=text))
    assert bool(shown(origin)) is is_shown
    assert len(shown(origin).splitlines()) <= 12
