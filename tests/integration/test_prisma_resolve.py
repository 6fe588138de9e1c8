"""Step 4 against the lab and the real Prisma: what is recorded, what is refused, and where Prisma is green and we are
not. A start of Prisma takes a second, so histories are broken one after the other in one lab.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import psycopg
import pytest

from runbooks_lib.errors import GateClosed, PreconditionFailed, PrismaError
from runbooks_lib.facts.writing import Plan
from runbooks_lib.findings import Answer, Finding, Verdict, gate
from runbooks_lib.lab.lab import Lab
from runbooks_lib.phase import Enum, Index, Phase, Table, load_phase
from runbooks_lib.postgres.session.connect import Sessions
from runbooks_lib.prisma.command import Prisma, Written, aim
from runbooks_lib.prisma.history import read_folder, read_rows
from runbooks_lib.prisma.named import find_project
from runbooks_lib.steps import prisma_resolve
from runbooks_lib.typed import plain

from .conftest import confirmed

PHASE = load_phase(str(Path(__file__).parents[1] / "phases" / "PH15-AMAZON-DB-FOUNDATION-01"))
FIRST = "20251210093000_init_amazon_inbound"
NAME = PHASE.prisma.settle[0]
QUESTIONS = ("history", "status", "resolve", "confirm")
OPTIONS: dict[str, dict[str, Any]] = {"resolve": {"apply": True}, "confirm": {"apply": True}}


def ask(name: str, phase: Phase = PHASE, *, prisma: Prisma | None = None, **options: Any) -> Answer:
    """Ask a question as the notebook does; by default of the project that the environment names."""
    question: Callable[..., Answer] = getattr(prisma_resolve, name)
    with Sessions(phase.targets) as sessions:
        prisma = prisma or prisma_resolve.command_line(phase, sessions)
        if name == "resolve":
            assert prisma is not None
            if "plan" not in options:
                options["plan"] = confirmed(phase, sessions, prisma)
        return question(phase, sessions, prisma=prisma, **{**OPTIONS.get(name, {}), **options})


def of(answer: Answer, check: str) -> Finding:
    (found,) = (f for f in answer.findings if f.check == check)
    return found


def bad(answer: Answer) -> list[tuple[str, str, str]]:
    """Return check, object and verdict of what closes the gate, and let the gate agree."""
    closing = [
        (f.check, f.object, f.verdict.value)
        for f in answer.findings
        if f.verdict in (Verdict.FAIL, Verdict.ERROR)
    ]
    if closing or not answer.findings:
        with pytest.raises(GateClosed):
            gate(answer.findings)
    else:
        gate(answer.findings)
    return closing


def aimed_at(service: str, database: str = "keybuzz_backend") -> Phase:
    leader = replace(PHASE.targets["leader"], service=service, database=database)
    return replace(PHASE, targets={**PHASE.targets, "leader": leader})


def recorded() -> list[str]:
    with psycopg.connect("service=keybuzz_readonly") as conn:
        return [row.name for row in read_rows(conn) or ()]


# --- before anything is recorded --------------------------------------------------------------------------------


@pytest.mark.usefixtures("lab")
@pytest.mark.parametrize(
    ("plan", "words"),
    [
        (None, "no plan that this run has confirmed and applied"),
        (Plan(parts={"prisma": "another"}), "the migrations folder has changed since the plan was made"),
    ],
)
def test_without_a_confirmed_plan_prisma_is_not_started(plan: Plan | None, words: str) -> None:
    before = recorded()
    answer = ask("resolve", plan=plan)
    assert bad(answer) == [("plan_is_confirmed", "confirmation", "FAIL")]
    assert words in of(answer, "plan_is_confirmed").have
    assert answer.facts.recorded is False
    assert answer.facts.said is None
    assert recorded() == before
    assert bad(ask("resolve", plan=plan, apply=False)) == []  # a plan only needs none


@pytest.mark.usefixtures("lab")
def test_a_migration_that_is_to_be_settled_otherwise_than_planned_is_not() -> None:
    with Sessions(PHASE.targets) as sessions:
        prisma = prisma_resolve.command_line(PHASE, sessions)
        assert prisma is not None
        planned = confirmed(PHASE, sessions, prisma)
    other = Plan(parts={**planned.parts, "settlement": {NAME: "prisma migrate deploy"}})
    answer = ask("resolve", plan=other)
    assert bad(answer) == [("plan_is_confirmed", "confirmation", "FAIL")]
    assert (
        f"this has changed: {NAME} (prisma migrate resolve --applied)" in of(answer, "plan_is_confirmed").have
    )


@pytest.mark.usefixtures("lab")
def test_before_the_phase_the_history_is_clean_and_one_is_pending() -> None:
    answer = ask("history")
    assert {f.verdict for f in answer.findings} == {Verdict.PASS}
    assert [f.check for f in answer.findings] == [
        "has_table",
        "migration_is_in_folder",
        "no_migration_is_edited",
        "no_migration_has_failed",
        "no_migration_is_extra",
        "no_migration_is_lost",
        "no_other_migration_is_pending",
        "history_is_a_table",
        "history_is_the_only_one",
        "no_migration_is_recorded_twice",
        "no_applied_migration_has_an_error",
        "no_migration_ends_before_it_begins",
        "no_migration_is_both_applied_and_rolled_back",
        "no_migration_is_empty",
        "line_ends_are_as_recorded",
        "no_names_differ_in_case_only",
    ]
    assert [(row["migration"], row["recorded"]) for row in answer.rows] == [(FIRST, "applied"), (NAME, "no")]
    assert answer.facts.history.pending == (NAME,)


@pytest.mark.usefixtures("lab")
def test_prisma_answers_that_one_is_pending() -> None:
    answer = ask("status")
    finding = of(answer, "prisma_answers")
    assert (finding.verdict, finding.have) == (Verdict.PASS, "exit code 1")
    assert answer.facts.version == "7.10.0"
    assert any(NAME in row["Prisma says"] for row in answer.rows)
    json.dumps(plain(answer.facts))


@pytest.mark.usefixtures("lab")
def test_a_plan_records_nothing_and_says_what_it_would_run() -> None:
    answer = ask("resolve", apply=False)
    finding = of(answer, "migration_is_recorded")
    assert finding.verdict is Verdict.SKIP
    assert f"prisma migrate resolve --applied {NAME}" in finding.hint
    assert sum(row["objects"] for row in answer.rows) == len(answer.findings)
    assert {row["check"]: row["as declared"] for row in answer.rows}["has_table"] == 6
    assert bad(answer) == []
    assert answer.facts.recorded is False
    confirmed = ask("confirm", apply=False)
    assert [(f.check, f.verdict) for f in confirmed.findings] == [("prisma_is_up_to_date", Verdict.SKIP)]
    assert recorded() == [FIRST]


@pytest.mark.usefixtures("lab")
def test_confirming_what_was_not_recorded_fails() -> None:
    answer = ask("confirm")
    assert [check for check, _, _ in bad(answer)] == [
        "migration_is_applied",
        "history_is_clean",
        "prisma_is_up_to_date",
    ]
    assert of(answer, "migration_is_applied").have == "no applied row"
    assert of(answer, "history_is_clean").have == f"pending: {NAME}"
    assert answer.facts.row is None


@pytest.mark.usefixtures("lab")
@pytest.mark.parametrize(
    ("change", "check", "object"),
    [
        (
            {"tables": (*PHASE.tables, replace(PHASE.tables[0], name="public.Gone"))},
            "has_table",
            "public.Gone",
        ),
        (
            {"tables": (replace(PHASE.tables[0], columns=PHASE.tables[0].columns[:-1]),)},
            "columns_are",
            PHASE.tables[0].name,
        ),
        ({"tables": (replace(PHASE.tables[0], owner="somebody"),)}, "table_owner_is", PHASE.tables[0].name),
        (
            {"indexes": (*PHASE.indexes, replace(PHASE.indexes[0], name="public.gone_idx"))},
            "has_index",
            "public.gone_idx",
        ),
        (
            {"indexes": (replace(PHASE.indexes[1], definition=PHASE.indexes[0].definition),)},
            "index_is",
            PHASE.indexes[1].name,
        ),
        ({"enums": (replace(PHASE.enums[0], name="public.Gone"),)}, "has_enum", "public.Gone"),
        (
            {"enums": (replace(PHASE.enums[0], labels=PHASE.enums[0].labels[::-1]),)},
            "enum_has_labels",
            PHASE.enums[0].name,
        ),
    ],
)
def test_resolve_is_refused_without_the_objects(
    change: dict[str, tuple[Table | Index | Enum, ...]], check: str, object: str
) -> None:
    phase = replace(PHASE, **{"indexes": (), **change}) if "tables" in change else replace(PHASE, **change)
    answer = ask("resolve", phase)
    assert (check, object, "FAIL") in bad(answer)
    assert (answer.facts.recorded, answer.facts.already, answer.facts.said) == (False, False, None)
    assert recorded() == [FIRST]


@pytest.mark.usefixtures("lab")
def test_a_folder_without_the_phases_migration() -> None:
    phase = replace(PHASE, prisma=replace(PHASE.prisma, settle=("20260101000000_not_there",)))
    answer = ask("history", phase)
    assert bad(answer) == [("migration_is_in_folder", "20260101000000_not_there", "FAIL")]
    other = of(answer, "no_other_migration_is_pending")
    assert (other.verdict, other.have) == (Verdict.OPEN, NAME)


@pytest.mark.usefixtures("lab")
def test_a_database_that_prisma_never_managed() -> None:
    phase = aimed_at("keybuzz_legacy", "keybuzz")
    assert of(ask("history", phase), "has_table").verdict is Verdict.SKIP  # Prisma would make it
    closing = bad(ask("resolve", phase))
    assert ("has_table", "public._prisma_migrations", "FAIL") in closing  # and nothing says that it may
    assert ("has_table", "public.MarketplaceConnection", "FAIL") in closing


# --- what cannot be asked ---------------------------------------------------------------------------------------


@pytest.mark.usefixtures("lab")
@pytest.mark.parametrize(
    ("name", "check"),
    [
        ("history", "history_is_clean"),
        ("status", "prisma_answers"),
        ("resolve", "migration_is_recorded"),
        ("confirm", "prisma_is_up_to_date"),
    ],
)
@pytest.mark.parametrize(
    ("service", "database", "said"),
    [
        ("no_such_service", "keybuzz_backend", "does not answer"),
        ("keybuzz_leader", "no_such_database", "does not answer"),
        ("keybuzz_replica", "keybuzz_backend", "is declared a primary and"),
    ],
)
def test_a_target_that_is_not_there_or_a_standby_is_an_error(
    name: str, check: str, service: str, database: str, said: str
) -> None:
    answer = ask(name, aimed_at(service, database))
    assert [verdict for _, _, verdict in bad(answer)] == ["ERROR"]
    assert of(answer, check).have.count(said) == 1
    assert recorded() == [FIRST]


@pytest.fixture
def stand_in(lab: Lab, tmp_path: Path) -> Callable[[str], Prisma]:
    """A project whose "Prisma" is a script of ours: how a crash, or another's words, look cannot be had else."""

    def make(script: str) -> Prisma:
        path = tmp_path / "prisma.js"
        path.write_text(script)
        with psycopg.connect("service=keybuzz_leader") as conn:
            prisma = Prisma(find_project(), aim(conn))
        prisma.project = replace(prisma.project, command=path)
        return prisma

    return make


@pytest.mark.parametrize(
    ("script", "words"),
    [
        ("process.exit(1)", "Prisma said nothing."),
        ("throw new TypeError('oh no')", "TypeError: oh no"),
        ("console.log('2 migrations found in prisma/migrations'); process.exit(130)", "2 migrations found"),
        ("console.log('hello')", "hello"),
    ],
)
def test_a_prisma_that_crashes_has_not_answered(
    stand_in: Callable[[str], Prisma], script: str, words: str
) -> None:
    finding = of(ask("status", prisma=stand_in(script)), "prisma_answers")
    assert finding.verdict is Verdict.ERROR
    assert words.split()[0] in finding.hint


def test_a_prisma_that_does_not_end_is_an_error(stand_in: Callable[[str], Prisma]) -> None:
    prisma = stand_in("setInterval(() => {}, 1000)")
    prisma.timeout_s = 0.5
    finding = of(ask("status", prisma=prisma), "prisma_answers")
    assert finding.verdict is Verdict.ERROR
    assert "did not end within" in finding.have


@pytest.mark.usefixtures("lab")
def test_a_project_that_is_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RUNBOOKS_PRISMA_PROJECT", str(tmp_path / "none"))
    with pytest.raises(PreconditionFailed, match="There is no folder"), Sessions(PHASE.targets) as sessions:
        prisma_resolve.command_line(PHASE, sessions)


@pytest.mark.usefixtures("lab")
def test_a_role_that_may_not_write_fails_and_records_nothing() -> None:
    answer = ask("resolve", aimed_at("keybuzz_readonly"))
    assert bad(answer) == [("migration_is_recorded", NAME, "FAIL")]
    assert "permission denied for table _prisma_migrations" in of(answer, "migration_is_recorded").have
    assert answer.facts.recorded is False
    assert recorded() == [FIRST]


# --- recorded, and then broken ----------------------------------------------------------------------------------


@pytest.fixture
def admin(fresh_lab: Lab) -> Iterator[psycopg.Connection[Any]]:
    with fresh_lab.admin("keybuzz_backend") as conn:
        yield conn


class Raced(Prisma):
    """Prisma in a race: somebody else records the migration just before it does."""

    admin: psycopg.Connection[Any]

    def resolve(self, *names: Any, **options: Any) -> Written:
        script = next(f for f in read_folder(self.project.folder) if f.name == NAME)
        insert(self.admin, NAME, checksum=script.checksum or "")
        return super().resolve(*names, **options)


def insert(
    admin: psycopg.Connection[Any], name: str, *, checksum: str = "a" * 64, finished: bool = True
) -> None:
    admin.execute(
        "INSERT INTO _prisma_migrations (id, checksum, migration_name, finished_at)"
        " VALUES (gen_random_uuid(), %s, %s, CASE WHEN %s THEN now() END)",
        (checksum, name, finished),
    )


def test_recorded_by_prisma_and_confirmed_then_every_way_it_can_go_wrong(
    admin: psycopg.Connection[Any],
) -> None:
    project = find_project()
    with psycopg.connect("service=keybuzz_leader") as conn:
        raced = Raced(project, aim(conn))
    raced.admin = admin
    answer = ask("resolve", prisma=raced)
    assert bad(answer) == []
    assert answer.facts.recorded is False
    assert answer.facts.said.code == "P3008"
    admin.execute("DELETE FROM _prisma_migrations WHERE migration_name = %s", (NAME,))

    answer = ask("resolve")
    assert bad(answer) == []
    assert of(answer, "migration_is_recorded").verdict is Verdict.PASS
    assert (answer.facts.recorded, answer.facts.already) == (True, False)
    assert recorded() == [FIRST, NAME]
    answer = ask("confirm")
    assert {f.verdict for f in answer.findings} == {Verdict.PASS}
    assert of(answer, "prisma_is_up_to_date").have == "Database schema is up to date!"
    assert len(answer.facts.row.checksum) == 64

    for apply in (True, False):  # again: nothing is written, nothing is started
        answer = ask("resolve", apply=apply)
        assert bad(answer) == []
        assert of(answer, "migration_is_applied").have == "applied, checksum of this file"
        assert (answer.facts.recorded, answer.facts.already) == (False, True)
    assert recorded() == [FIRST, NAME]

    script = project / "prisma" / "migrations" / NAME / "migration.sql"
    original = script.read_text()
    script.write_text(original + "-- edited\n")
    assert bad(ask("history")) == [("no_migration_is_edited", "migrations", "FAIL")]
    assert bad(ask("resolve")) == [("migration_is_applied", NAME, "FAIL")]
    answer = ask("confirm", apply=False)
    assert [check for check, _, _ in bad(answer)] == ["migration_is_applied", "history_is_clean"]
    assert of(answer, "prisma_is_up_to_date").verdict is Verdict.PASS  # by Prisma all is well
    assert of(answer, "history_is_clean").have == f"edited: {NAME}"

    script.unlink()
    assert bad(ask("history")) == [("no_migration_is_lost", "migrations", "FAIL")]
    assert f"no migration.sql of {NAME}" in of(ask("resolve"), "migration_is_recorded").have
    script.write_text(original)
    assert bad(ask("history")) == []

    insert(admin, "20260101000000_elsewhere")
    assert bad(ask("history")) == [("no_migration_is_extra", "migrations", "FAIL")]
    assert of(ask("history"), "no_migration_is_extra").have == "20260101000000_elsewhere"
    admin.execute("DELETE FROM _prisma_migrations WHERE migration_name LIKE '%_elsewhere'")

    admin.execute("UPDATE _prisma_migrations SET finished_at = NULL WHERE migration_name = %s", (NAME,))
    answer = ask("history")
    assert bad(answer) == []  # the phase's own: what becomes of it is settled by `resolve`
    assert of(answer, "no_migration_has_failed").verdict is Verdict.OPEN
    assert answer.rows[1]["recorded"] == "failed"
    admin.execute("UPDATE _prisma_migrations SET finished_at = NULL")
    assert bad(ask("history")) == [("no_migration_has_failed", "migrations", "FAIL")]
    admin.execute("UPDATE _prisma_migrations SET finished_at = now(), rolled_back_at = now()")
    answer = ask("history")
    assert bad(answer) == []
    assert of(answer, "no_other_migration_is_pending").have == FIRST
    assert [row["recorded"] for row in answer.rows] == ["rolled back", "rolled back"]
    admin.execute("UPDATE _prisma_migrations SET rolled_back_at = NULL")

    admin.execute("DROP INDEX oauth_states_state_idx")
    answer = ask("resolve")
    assert set(bad(answer)) == {
        ("has_index", "public.oauth_states_state_idx", "FAIL"),
        ("migration_objects_stand", "index public.oauth_states_state_idx", "FAIL"),
    }
    admin.execute('DROP TABLE "OAuthState"')
    answer = ask("resolve")
    assert ("has_table", "public.OAuthState", "FAIL") in bad(answer)
    assert of(ask("confirm"), "prisma_is_up_to_date").verdict is Verdict.PASS  # by Prisma all is well

    admin.execute("REVOKE SELECT ON _prisma_migrations FROM keybuzz_operator")
    for name in ("history", "resolve", "confirm"):
        answer = ask(name)
        assert [verdict for _, _, verdict in bad(answer)] == ["ERROR"]
        assert "permission denied" in answer.findings[0].have


def test_recorded_with_another_checksum(admin: psycopg.Connection[Any]) -> None:
    insert(admin, NAME)
    answer = ask("resolve")
    assert bad(answer) == [("migration_is_applied", NAME, "FAIL")]
    assert of(answer, "migration_is_applied").have == f"applied, checksum of another file ({'a' * 16})"
    assert bad(ask("history")) == [("no_migration_is_edited", "migrations", "FAIL")]


@pytest.mark.usefixtures("lab")
def test_a_prisma_that_aims_elsewhere_is_an_error_finding() -> None:
    class Elsewhere(Prisma):
        def resolve(self, *names: Any, **options: Any) -> Written:
            raise PrismaError("Prisma talks to another database.", "Mend its configuration.")

    with psycopg.connect("service=keybuzz_leader") as conn:
        prisma = Elsewhere(find_project(), aim(conn))
    answer = ask("resolve", prisma=prisma)
    assert bad(answer) == [("migration_is_recorded", "migrations", "ERROR")]
