"""Real histories in disorder, brought in line by a phase of a dozen lines, or refused with the statement's name."""

from __future__ import annotations

import os

import pytest

from .conftest import Make, Project, Told

ALL = 220
pytestmark = pytest.mark.skipif(
    not os.environ.get("RUNBOOKS_TEST_PROJECTS"),
    reason="takes minutes: RUNBOOKS_TEST_PROJECTS=1, or make projects",
)


def green(project: Project) -> None:
    """Carry the phase out: both runs end with exit code 0, and everything is recorded and stands."""
    plan = project.plan()
    assert plan.code == 0, plan.closing
    applied = project.apply(plan)
    assert applied.code == 0, applied.closing


def recorded(project: Project) -> int:
    ((count,),) = project.ask(
        "SELECT count(DISTINCT migration_name) FROM _prisma_migrations"
        " WHERE finished_at IS NOT NULL AND rolled_back_at IS NULL"
    )
    return int(count)


def refused(project: Project, *words: str) -> Told:
    """Plan; what closes it names all of these."""
    plan = project.plan()
    assert plan.code == 1, plan.closing
    for word in words:
        assert word in plan.closing, (word, plan.result["closing"])
    return plan


def test_the_phase_is_short(project: Make) -> None:
    made = project()
    assert len(made.phase.read_text().splitlines()) <= 25
    assert len(made.migrations) == ALL


def test_what_is_in_line_stays_so(project: Make) -> None:
    made = project()
    green(made)
    assert recorded(made) == ALL


def test_no_history_table(project: Make) -> None:
    made = project()
    made.execute("DROP TABLE _prisma_migrations")
    green(made)
    assert recorded(made) == ALL


def test_an_emptied_history(project: Make) -> None:
    made = project()
    made.execute("DELETE FROM _prisma_migrations")
    green(made)
    assert recorded(made) == ALL


@pytest.mark.parametrize("missing", [1, 3, 20])
def test_the_last_rows_of_the_history_are_missing(project: Make, missing: int) -> None:
    made = project()
    for migration in made.migrations[-missing:]:
        made.execute(f"DELETE FROM _prisma_migrations WHERE migration_name = '{migration.name}'")
    green(made)
    assert recorded(made) == ALL


@pytest.mark.parametrize("pending", [1, 20])
def test_the_last_migrations_were_never_run(project: Make, pending: int) -> None:
    made = project(pending=pending)
    green(made)
    assert recorded(made) == ALL
