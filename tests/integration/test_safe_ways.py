"""What the doors' pages call safe is followed by hand in the very state: afterwards Prisma and `diagnose` are content.

A way takes half a dozen starts of Prisma; a few run in CI, all of them by `make projects`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from runbooks_lib.drafting.diagnosis import Condition
from runbooks_lib.lab.lab import Lab

from . import test_doors as doors
from .test_doors import COLUMN, FIRST, ORDERS, SECOND, THIRD, State

EARLIER = "20260102120000_earlier"  # before the third, and after what is recorded
INDEX = 'CREATE INDEX "Shop_city_idx" ON "Shop" ("city")'
Step = Callable[[State], None]


@pytest.fixture(scope="module")
def deployed(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Iterator[State]:
    with doors.deployed_state(lab, tmp_path_factory) as state:
        yield state


def recorded(*names: str) -> Step:
    def step(s: State) -> None:
        for name in names:
            assert s.prisma("resolve", "--applied", name).exit_code == 0, s.output

    return step


def again(s: State) -> None:
    assert s.prisma("resolve", "--rolled-back", THIRD).exit_code == 0, s.output
    assert s.prisma("deploy").exit_code == 0, s.output


def deploy(s: State) -> None:
    assert s.prisma("deploy").exit_code == 0, s.output


def sql(*statements: str) -> Step:
    return lambda s: s.execute(*statements)


def written(name: str, script: str) -> Step:
    return lambda s: s.write(name, script)


def provider_restored(s: State) -> None:
    (s.migrations / "migration_lock.toml").write_text('provider = "postgresql"\n')


# By page, and which of its ways: the state, and what is done there.
WAYS: dict[str, tuple[Step, tuple[Step, ...]]] = {
    "P1002: ended, then deployed": (doors.lock_is_held, (deploy,)),
    "P1014: made by an earlier migration": (
        doors.no_such_table,
        (written(EARLIER, 'CREATE TABLE "Nowhere" ("id" INTEGER);\n'), again),
    ),
    "P3005: recorded in their order": (doors.no_history, (recorded(FIRST, SECOND),)),
    "P3006: made by an earlier migration": (
        doors.does_not_replay,
        (written(EARLIER, 'CREATE TABLE "ByHand" ("id" INTEGER);\n'), recorded(EARLIER), deploy),
    ),
    "P3008: nothing": (doors.recorded_already, ()),
    "P3009: completed": (
        doors.there_already,
        (sql('CREATE TABLE "Before" ("id" INTEGER)'), recorded(THIRD)),
    ),
    "P3009: undone": (doors.there_already, (sql('DROP TABLE "More"'), again)),
    "P3011: by its whole name": (doors.resolved_wrongly, (deploy,)),
    "P3015: restored": (doors.script_is_lost, (written(SECOND, ORDERS),)),
    "P3019: restored": (doors.other_provider, (provider_restored,)),
    "42P07: recorded": (doors.done_by_hand, (recorded(THIRD),)),
    "42P07: completed": (doors.done_by_hand_in_part, (sql(INDEX), recorded(THIRD))),
    "42703: corrected": (doors.no_such_column, (written(THIRD, COLUMN), again)),
    "23505: mended by an earlier migration": (
        doors.duplicates,
        (written(EARLIER, """UPDATE "Shop" SET "name" = 'b' WHERE "id" = 2;\n"""), again),
    ),
    "55P03: again": (doors.table_is_in_use, (again,)),
    "40P01: again": (doors.crossed, (again,)),
    "drift: written as a migration": (
        doors.changed_by_hand,
        (written(THIRD, 'ALTER TABLE "Shop" ADD COLUMN "extra" TEXT;\n'), recorded(THIRD)),
    ),
    "drift: undone": (doors.changed_by_hand, (sql('ALTER TABLE "Shop" DROP COLUMN "extra"'),)),
    "edited: restored": (doors.file_is_edited, (written(SECOND, ORDERS),)),
    "extra: merged": (doors.folder_is_behind, (written(SECOND, ORDERS),)),
}


@pytest.mark.family(3)
@pytest.mark.parametrize("name", WAYS)
def test_the_safe_way_ends_well(name: str, deployed: State, lab: Lab, tmp_path: Path) -> None:
    make, way = WAYS[name]
    with doors.new_state(lab, tmp_path, like=deployed) as state:
        make(state)
        for step in way:
            step(state)
        last = state.prisma("deploy")
        assert last.exit_code == 0, state.output
        assert "No pending migrations to apply" in last.output
        state.diagnose()
        assert state.found is not None
        assert (state.found.condition, state.found.next) == (Condition.FINE, ""), state.found.says
