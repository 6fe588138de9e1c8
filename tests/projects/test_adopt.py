"""A real history in each disorder, adopted: brought in line, or refused with the name of what stands in the way.

One state is told in every run of the tests; all of them where RUNBOOKS_TEST_PROJECTS is set: `make projects`.
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path

import pytest

from runbooks_lib.lab.disorder import DISORDERS, Disorder, Place
from runbooks_lib.prisma.history import MigrationFile

from .conftest import Project

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "adopt.md").read_text("utf-8")
ALL = 220
LONGEST = 25  # lines of a drafted phase, without what it says to a person
FILLS = "20260817000000_shadow_eval_multi_key"  # adds a column, fills it, demands it, and makes an index
ON_PAGE = "rows-missing"
RECORDED = (
    "SELECT count(DISTINCT migration_name) FROM _prisma_migrations"
    " WHERE finished_at IS NOT NULL AND rolled_back_at IS NULL"
)
thorough = pytest.mark.skipif(
    not os.environ.get("RUNBOOKS_TEST_PROJECTS"),
    reason="takes minutes: RUNBOOKS_TEST_PROJECTS=1, or make projects",
)
STATES = {
    **DISORDERS,
    **{
        f"last-{number}-unrecorded": Disorder(
            says="",
            make=lambda place, number=number: place.forget(
                [each.name for each in place.migrations[-number:]]
            ),
        )
        for number in (1, 20)
    },
}
# What ends in a refusal, and words of it; everything else ends green.
REFUSED = {
    "index-dropped": (
        "LiteLLM_TelemetryReport_created_at_idx",
        "migration.sql:14",
        "CREATE INDEX",
        "--repair WHY",
        "first: say why in ",
    ),
    "column-dropped": ("classified_at", "LiteLLM_LensTraceSignal", "migration.sql:7"),
    "edited": ("20250326162113_baseline was modified after it was applied",),
    "another-branch": ("20200101000000_another_branch", "--accept WHY"),
    "script-lost": ("20261015000000_managed_object_end_user_id has no migration.sql (P3015)",),
    "other-provider": ("migration_lock.toml names mysql", "P3019"),
    "lock-held": ("advisory lock 72707369 is held by", "pg_terminate_backend"),
}


def test_the_page_tells_of_every_state() -> None:
    told = dict(re.findall(r"^\| `([\w-]+)` \| .* \| (green|refused)", PAGE, re.MULTILINE))
    assert told == {state: "refused" if state in REFUSED else "green" for state in DISORDERS}


@pytest.mark.parametrize(
    "state", [pytest.param(each, marks=() if each == ON_PAGE else thorough) for each in STATES]
)
def test_it_ends_green_or_names_what_stands_in_the_way(project: Project, state: str) -> None:
    project.breaks(STATES[state])
    before = project.ask("SELECT * FROM _prisma_migrations ORDER BY id") if state != "no-history" else []
    adopted = project.adopt()
    phase = project.folder / "phase-lab_leader" / "phase.toml"
    if phase.exists():
        lines = phase.read_text("utf-8").splitlines()
        assert len([line for line in lines if line.strip() and line.strip()[0] != "#"]) <= LONGEST
    if words := REFUSED.get(state):
        assert adopted.code == 1, adopted
        assert all(word in adopted.out + adopted.err for word in words), adopted
        assert project.ask("SELECT * FROM _prisma_migrations ORDER BY id") == before
        return
    assert adopted.code == 0, adopted
    if state == ON_PAGE:
        assert seen(adopted.out) == seen(re.search(r"```\n(lab_leader: .*?)```", PAGE, re.DOTALL)[1])  # type: ignore[index]
    if "--apply" in adopted.out:  # what was made by hand is left to a person
        applied = project.apply(adopted)
        assert applied.code == 0, applied
    assert project.ask(RECORDED) == [(ALL,)]


def seen(text: str) -> str:
    """What was said before the plan, without what differs between machines."""
    said = text[: text.index("\nstep ")]
    said = re.sub(r"127\.0\.0\.1:\d+", "127.0.0.1:5432", said)
    said = re.sub(r"\b(PostgreSQL|Prisma) \d[\d.]*\d", r"\1 1", said)
    return re.sub(r"[\d.]+ (?:bytes?|[KM]iB) behind|in /\S+", "", said)


@thorough
def test_what_is_in_line_needs_no_plan(project: Project) -> None:
    project.breaks(Disorder(says="", make=lambda place: None))
    adopted = project.adopt()
    assert (adopted.code, "nothing to do" in adopted.out) == (0, True), adopted


@thorough
def test_migrations_of_another_branch_are_passed_over_with_a_reason(project: Project) -> None:
    project.breaks("another-branch")
    adopted = project.adopt("--accept", "deployed from the branch of May")
    assert adopted.code == 0, adopted
    assert 'why = "deployed from the branch of May"' in (
        project.folder / "phase-lab_leader" / "phase.toml"
    ).read_text("utf-8")


@thorough
def test_a_column_that_was_taken_away_comes_back_with_a_reason(project: Project) -> None:
    project.breaks("column-dropped")
    adopted = project.adopt("--repair", "dropped by hand in May")
    assert adopted.code == 0, adopted
    applied = project.apply(adopted)
    assert applied.code == 0, applied
    again = project.run("diagnose", "--service", "lab_leader")
    assert again.code == 0, again


@thorough
def test_rows_that_nobody_filled_are_named(project: Project) -> None:
    def half_way(place: Place) -> None:
        place.run(FILLS, 1)
        place.fail(FILLS)

    def from_there_on(migrations: Sequence[MigrationFile]) -> int:
        return len(migrations) - [each.name for each in migrations].index(FILLS)

    project.breaks(Disorder(says="", make=half_way, pending=from_there_on))
    adopted = project.adopt()
    told = adopted.out + adopted.err
    assert (adopted.code, FILLS in told, "statement 1 of 4" in told) == (1, True, True), adopted


@thorough
def test_a_drafted_phase_is_planned_again_when_that_is_said(project: Project) -> None:
    project.breaks("no-history")
    assert project.adopt().code == 0
    again = project.adopt()
    assert (again.code, "--yes is missing" in again.err) == (3, True), again
    assert project.adopt("--yes").code == 0
