"""Real histories in disorder, brought in line by a phase of a dozen lines, or refused with the statement's name.

One of them is told in every run of the tests; all of them where RUNBOOKS_TEST_PROJECTS is set: `make projects`.
"""

from __future__ import annotations

import os

import pytest

from .conftest import Make, Project

ALL = 220
INDEX = "LiteLLM_VerificationToken_user_id_team_id_idx"
FILLS = "20260817000000_shadow_eval_multi_key"  # adds a column, fills it, demands it, and makes an index
thorough = pytest.mark.skipif(
    not os.environ.get("RUNBOOKS_TEST_PROJECTS"),
    reason="takes minutes: RUNBOOKS_TEST_PROJECTS=1, or make projects",
)


def green(project: Project) -> None:
    """Carry the phase out: both runs end with exit code 0, and each migration is recorded as applied."""
    plan = project.plan()
    assert plan.code == 0, plan.closing
    applied = project.apply(plan)
    assert applied.code == 0, applied.closing
    ((recorded,),) = project.ask(
        "SELECT count(DISTINCT migration_name) FROM _prisma_migrations"
        " WHERE finished_at IS NOT NULL AND rolled_back_at IS NULL"
    )
    assert recorded == ALL


def refused(project: Project, *words: str) -> None:
    """Plan; the run fails, and what closes it has all of these words."""
    before = project.ask("SELECT * FROM _prisma_migrations ORDER BY id")
    plan = project.plan()
    assert plan.code == 1, plan.closing
    for word in words:
        assert word in plan.closing
    assert project.ask("SELECT * FROM _prisma_migrations ORDER BY id") == before


def forget(project: Project, names: tuple[str, ...]) -> None:
    for name in names:
        project.execute(f"DELETE FROM _prisma_migrations WHERE migration_name = '{name}'")


def fail(project: Project, name: str) -> None:
    """Have a migration's row say that it failed, as a deployment leaves it."""
    forget(project, (name,))
    checksum = next(each.checksum for each in project.migrations if each.name == name)
    project.execute(
        "INSERT INTO _prisma_migrations (id, checksum, migration_name, logs)"
        f" VALUES (gen_random_uuid(), '{checksum}', '{name}', 'it failed')"
    )


def pending_from(project: Project, name: str) -> int:
    """Return how many migrations there are from this one on."""
    names = [each.name for each in project.migrations]
    return len(names) - names.index(name)


@pytest.mark.parametrize("missing", [pytest.param(1, marks=thorough), 3, pytest.param(20, marks=thorough)])
def test_the_last_rows_of_the_history_are_missing(project: Make, missing: int) -> None:
    made = project()
    assert len(made.phase.read_text().splitlines()) <= 25
    assert len(made.migrations) == ALL
    forget(made, tuple(each.name for each in made.migrations[-missing:]))
    green(made)


@thorough
def test_what_is_in_line_stays_so(project: Make) -> None:
    green(project())


@thorough
@pytest.mark.parametrize("lost", ["DROP TABLE _prisma_migrations", "DELETE FROM _prisma_migrations"])
def test_no_history(project: Make, lost: str) -> None:
    made = project()
    made.execute(lost)
    green(made)


@thorough
@pytest.mark.parametrize("pending", [1, 20])
def test_the_last_migrations_were_never_run(project: Make, pending: int) -> None:
    green(project(pending=pending))


@thorough
@pytest.mark.parametrize("stands", [True, False], ids=["all of it stands", "none of it stands"])
def test_the_last_migration_failed(project: Make, stands: bool) -> None:
    made = project(pending=0 if stands else 1)
    fail(made, made.migrations[-1].name)
    green(made)


@thorough
def test_a_migration_failed_half_way(project: Make) -> None:
    made = project(pending=pending_from(project(), FILLS))
    fail(made, FILLS)
    made.execute('ALTER TABLE "LiteLLM_ShadowEvalJob" ADD COLUMN "group_id" TEXT')
    refused(made, FILLS, "statement 1 of 4 stand", "line 7 CREATE INDEX on LiteLLM_ShadowEvalJob")


@thorough
def test_an_index_was_dropped(project: Make) -> None:
    made = project()
    made.execute(f'DROP INDEX "{INDEX}"')
    refused(
        made, f"index public.{INDEX}", "20260209085821_add_verificationtoken_indexes/migration.sql:2", "CREATE INDEX"
    )  # fmt: skip


@thorough
def test_a_column_was_dropped(project: Make) -> None:
    made = project()
    made.execute('ALTER TABLE "LiteLLM_ShadowEvalJob" DROP COLUMN "stopped_by"')
    refused(made, "stopped_by", "20260818224500_add_shadow_eval_stopped_by/migration.sql:2")


@thorough
def test_a_file_was_edited(project: Make) -> None:
    made = project()
    edited = made.migrations[5].name
    script = made.script(edited)
    script.write_text(script.read_text("utf-8") + "\nCREATE TABLE edited (a int);\n", "utf-8")
    refused(made, edited, "edited")
