"""Which objects count as standing, and which scripts are replayed: the rules, without a database."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from runbooks_lib.errors import PrismaError
from runbooks_lib.findings import Verdict
from runbooks_lib.postgres.catalog.catalog import Value
from runbooks_lib.postgres.catalog.differences import both_in_words
from runbooks_lib.postgres.scratch.replayed import Ran, StatementRan
from runbooks_lib.postgres.script.effects import Unjudged
from runbooks_lib.prisma.history import CLEAN, MigrationFile, MigrationRow, diagnose
from runbooks_lib.prisma.proof import ObjectState, Proof, scripts_that_count
from runbooks_lib.prisma.state import State
from runbooks_lib.steps.prisma_findings import judge_statements, not_judged

NOW = datetime(2026, 1, 7, tzinfo=UTC)
CHECKSUM = MigrationFile(name="", script="SELECT 1").checksum or ""


def relation(**fields: Value) -> Value:
    plain = {"kind": "r", "owner": "kb_backend", "persistence": "p", "options": (), "partition": ""}
    return tuple({**plain, **fields}.items())


def column(name: str, type_: str, default: str | None = None) -> Value:
    return (("name", name), ("type", type_), ("not_null", False), ("default", default))


def grants(*said: str, grantable: bool = False) -> Value:
    triples = ((*each.rsplit(" ", 1), grantable) for each in said)
    return (("privileges", tuple(sorted(triples))),)


PLAIN, ID, B = relation(), column("id", "text"), column("b", "integer")


def made(kind: str, have: Value, want: Value, before: Value = None) -> ObjectState:
    return ObjectState(kind=kind, name="public.orders", have=have, want=want, before=before)


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


@pytest.mark.parametrize(
    ("kind", "have", "want"),
    [
        ("relation", PLAIN, PLAIN),
        ("relation", relation(options=(("fillfactor", "90"),)), PLAIN),
        ("relation", relation(options=(("autovacuum_enabled", "off"), ("fillfactor", "90"))), PLAIN),
        ("relation", relation(options=(("fillfactor", "90"),), partition="LIST (id)"), relation(partition="LIST (id)")),
        ("columns", (ID, B), (B, ID)),
        ("extension", (("version", "1.5"),), (("version", "1.6"),)),
        ("privileges", grants("app INSERT", "app SELECT", "reports SELECT"), grants("app SELECT")),
        ("view", None, None),
    ],
)  # fmt: skip
def test_what_stands(kind: str, have: Value, want: Value) -> None:
    found = made(kind, have, want)
    assert found.stands
    assert not found.untouched
    assert found.words()[0] == found.words()[1]


@pytest.mark.parametrize(
    ("kind", "have", "want", "words"),
    [
        ("relation", None, PLAIN, ("missing", "kind r owner kb_backend persistence p")),
        ("relation", PLAIN, None, ("kind r owner kb_backend persistence p", "absent")),
        ("relation", relation(owner="postgres"), PLAIN, None),
        ("relation", PLAIN, relation(options=(("fillfactor", "90"),)), None),
        ("relation", relation(options=(("fillfactor", "70"),)), relation(options=(("fillfactor", "90"),)), None),
        ("relation", relation(options=(("fillfactor", "90"),), partition="RANGE (id)"), PLAIN, None),
        ("columns", (ID, B), (ID, column("b", "bigint")), ("b integer", "b bigint")),
        ("columns", (ID, B), (ID,), ("b integer", "nothing else")),
        ("columns", (ID,), (ID, B), ("nothing else", "b integer")),
        ("enum", (("labels", ("A", "B")),), (("labels", ("B", "A")),), ("A, B", "B, A")),
        ("extension", None, (("version", "1.6"),), ("missing", "version 1.6")),
        ("privileges", grants("app INSERT"), grants("app INSERT", "app SELECT"), None),
        ("privileges", grants("app SELECT"), grants("app SELECT", grantable=True), None),
        ("privileges", None, grants("app SELECT"), ("missing", "app SELECT")),
        ("index", (("definition", "x"), ("is_unique", True)), (("definition", "x"), ("is_valid", True)),
         ("x is_unique", "x is_valid")),
        # What a text that is split at its commas takes for equal.
        ("columns", (column("a", "text[]", "ARRAY['DE', 'FR']"),), (column("a", "text[]", "ARRAY['FR', 'DE']"),), None),
        ("columns", (column("a", "text", "'x'"), column("b", "text", "'y'")),
         (column("a", "text", "'y'"), column("b", "text", "'x'")), None),
        ("columns", (column("a, b", "text"),), (column("a", "text"), column("b", "text")), None),
        ("columns", (column("a", "text", "'p, q text'"),), (column("a", "text", "'p"), column("q", "text")), None),
        ("enum", (("labels", ("A, B",)),), (("labels", ("A", "B")),), None),
        ("privileges", grants("app SELECT, app INSERT"), grants("app SELECT", "app INSERT"), None),
    ],
)  # fmt: skip
def test_what_does_not_stand(kind: str, have: Value, want: Value, words: tuple[str, str] | None) -> None:
    found = made(kind, have, want)
    assert not found.stands
    assert found.words() == (words or both_in_words(kind, have, want))
    assert found.label == f"{kind} public.orders"


@pytest.mark.parametrize(
    ("have", "want", "before", "untouched"),
    [
        (None, "x", None, True),
        ("x", "x", None, False),
        ("y", "x", None, False),
        ("y", "x", "y", True),
        (None, "x", "y", False),
        ("y", None, "y", True),
        (None, None, "y", False),
    ],
)
def test_an_object_is_as_before_as_after_or_neither(
    have: str | None, want: str | None, before: str | None, untouched: bool
) -> None:
    described = [None if text is None else (("definition", text),) for text in (have, want, before)]
    assert made("index", *described).untouched is untouched


@pytest.mark.parametrize(
    ("rows", "names"),
    [
        ((), ["3"]),
        ((row("1"), row("2")), ["1", "2", "3"]),
        ((row("2"), row("1")), ["1", "2", "3"]),
        ((row("1"), row("3")), ["1", "3"]),
        ((row("1"), row("2", finished=False)), ["1", "3"]),
        ((row("1"), row("2", rolled_back=True)), ["1", "3"]),
        ((row("1"), row("2", finished=False, rolled_back=True), row("2")), ["1", "2", "3"]),
        ((row("1"), row("elsewhere", finished=False)), ["1", "3"]),
    ],
)
def test_applied_ones_and_the_phases_own_count_in_the_folders_order(
    rows: tuple[MigrationRow, ...], names: list[str]
) -> None:
    assert [name for name, _ in scripts_that_count(state(*rows), "3")] == names


def test_a_script_that_counts_and_is_not_there_is_an_error() -> None:
    with pytest.raises(PrismaError, match=r"no migration.sql of 1, elsewhere:"):
        scripts_that_count(state(row("1"), row("elsewhere"), lost="1"), "3")
    with pytest.raises(PrismaError, match=r"no migration.sql of nowhere:"):
        scripts_that_count(state(row("1")), "nowhere")
    assert scripts_that_count(state(row("1"), lost="2"), "3")  # not applied, so not needed


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


def proof(**changes: Any) -> Proof:
    nothing: dict[str, Any] = {
        "ran": {"1": Ran(name="1", statements=(statement(1), statement(2)))},
        "borrowed": (),
        "lacking": (),
        "own": (),
        "others": (),
    }
    return Proof(migrations=("1",), server_version="18.6", **{**nothing, **changes})


def test_what_runs_as_a_whole_and_is_compared_as_a_whole_needs_no_finding() -> None:
    assert judge_statements("leader", proof(), ["1"]) == ()


def test_what_is_borrowed_is_open_and_what_cannot_be_had_is_said() -> None:
    found = judge_statements(
        "leader", proof(borrowed=(("relation", "auth.users"),), lacking=("the locale UTF8, icu fr",)), ["1"]
    )
    assert [(f.object, f.verdict, f.have) for f in found] == [
        ("what the migrations need", Verdict.OPEN, "from a copy of the target: relation auth.users"),
        ("scratch database", Verdict.SKIP, "without the locale UTF8, icu fr"),
    ]


def test_a_long_list_is_cut_for_people_and_whole_in_the_facts() -> None:
    unjudged = tuple(
        statement(n, Unjudged(line=n, what="INSERT a", why="rows") if n < 31 else None) for n in range(1, 41)
    )
    told = proof(ran={"1": Ran(name="1", statements=unjudged)})
    (finding,) = judge_statements("leader", told, ["1"])
    assert finding.have.startswith("10 of 40 statements judged; not judged: line 1 INSERT a (rows), ")
    assert finding.have.endswith("line 12 INSERT a (rows) and 18 more")
    assert len(not_judged(told)["1"]) == 30
