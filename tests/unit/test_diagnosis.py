"""From what was seen of a database to its state, one sentence and the next command: values only."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from runbooks_lib.doors import doors
from runbooks_lib.drafting.conclusion import Seen, conclude
from runbooks_lib.drafting.diagnosis import Condition
from runbooks_lib.errors import MigrationError, PrismaError
from runbooks_lib.postgres.rows.done import Done, Judged
from runbooks_lib.postgres.script.data_statements import data_statements
from runbooks_lib.postgres.session.locks import Holder
from runbooks_lib.prisma.history import MigrationFile, MigrationRow, diagnose
from runbooks_lib.prisma.settlement import Action, Settled, Settlement
from runbooks_lib.prisma.state import State
from runbooks_lib.prisma.timeline import Stands

NAMES = ("1_shop", "2_orders")
FILES = tuple(MigrationFile(name=name, script=f"-- {name}\n") for name in NAMES)
PROJECT = Path("/srv/my shop")
NOW = datetime(2026, 11, 26, tzinfo=UTC)


def row(name: str, *, finished: bool = True) -> MigrationRow:
    checksum = next((file.checksum for file in FILES if file.name == name), None)
    return MigrationRow(
        id=name, checksum=checksum or "a" * 64, name=name, started_at=NOW, finished_at=NOW if finished else None,
        rolled_back_at=None, logs=None, applied_steps_count=1,
    )  # fmt: skip


def seen(*rows: MigrationRow, stands: dict[str, Stands] | None = None, **changes: Any) -> Seen:
    """A database with a project, its history and how each migration stands: by default all of them."""
    state = State(
        files=FILES, rows=rows or None, history=diagnose(FILES, rows or None, rolled_back_is_pending=True)
    )
    settled = [
        Settled(
            migration=name,
            recorded=state.recorded(name),
            stands=(stands or {}).get(name, Stands.ALL),
            whole=(stands or {}).get(name, Stands.ALL),
            action=Action.NOTHING,
        )
        for name in NAMES
    ]
    usual: dict[str, Any] = {
        "service": "shop",
        "out": Path("phase-shop-2"),
        "project": PROJECT,
        "migrations": PROJECT / "prisma" / "migrations",
        "state": state,
        "relations": 2,
        "rows": rows or None,
        "settlement": Settlement(migrations=tuple(settled)),
    }
    return Seen(**usual | changes)


ALL = (row("1_shop"), row("2_orders"))


def test_a_healthy_database_needs_nothing() -> None:
    assert conclude(seen(*ALL)) == (
        Condition.FINE,
        "Every migration is recorded and stands (2): nothing to do.",
        "",
    )


def test_what_can_t_be_judged_is_said_beside_it() -> None:
    (statement,) = data_statements('UPDATE "Shop" SET "city" = 1;\n')
    judged = Judged(statement=statement, done=Done.NOT_JUDGED, why="", rows=None)
    found = seen(*ALL)
    assert found.settlement is not None
    first, second = found.settlement.migrations
    settlement = Settlement(migrations=(replace(first, data=(judged,)), second))
    condition, says, _ = conclude(replace(found, settlement=settlement))
    assert (condition, says.endswith("Rows: 1 statement can't be judged.")) == (Condition.FINE, True)
    undone = replace(judged, done=Done.NONE)
    settlement = Settlement(migrations=(replace(first, data=(undone,)), second))
    assert conclude(replace(found, settlement=settlement))[0] is Condition.ROWS


def test_no_history_says_how_many_stand_and_whether_any_does() -> None:
    condition, says, command = conclude(seen(stands={"2_orders": Stands.PART}))
    assert condition is Condition.NO_HISTORY
    assert "2 tables and no history" in says
    assert "Of 2 migrations 1 stands as a whole, 1 in part." in says
    assert "'/srv/my shop'" in command
    nothing = dict.fromkeys(NAMES, Stands.NONE)
    assert conclude(seen(stands=nothing))[1:] == (
        "The database has 2 tables and no history of migrations, so that `prisma migrate deploy` ends in P3005. Of 2 "
        "migrations nothing stands: is it the right database?",
        'psql "service=shop" -l',
    )
    assert conclude(seen(stands=nothing, relations=0))[0] is Condition.PENDING  # a new database


def test_nobody_is_told_to_deploy_what_may_have_been_run() -> None:
    found = seen(row("1_shop"), stands={"2_orders": Stands.NOTHING})
    assert "`prisma migrate deploy` runs what is pending" in conclude(found)[1]
    assert found.settlement is not None
    first, second = found.settlement.migrations
    refused = replace(second, action=Action.REFUSE, untold=True)
    condition, says, _ = conclude(replace(found, settlement=Settlement(migrations=(first, refused))))
    assert (condition, "deploy" in says) == (Condition.PENDING, False)
    assert "Nothing tells whether 2_orders was run" in says


@pytest.mark.parametrize(
    ("idle", "ends"),
    [(NOW, 'psql "service=shop" -c "SELECT pg_terminate_backend(7)"'), (None, "runbooks diagnose ")],
)
def test_only_who_does_nothing_is_ended(idle: datetime | None, ends: str) -> None:
    holder = Holder(
        pid=7, role_name="app", application="prisma", address=None, since=NOW, idle_since=idle, asked_at=NOW
    )
    condition, says, command = conclude(seen(*ALL, holder=holder))
    assert (condition, "app (prisma, pid 7)" in says, command.startswith(ends)) == (
        Condition.LOCKED,
        True,
        True,
    )


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        (None, "2 tables and no history of migrations."),
        (ALL, "2 recorded migrations."),
        (
            (row("1_shop"), row("2_orders", finished=False)),
            "1 recorded migration, and 2_orders has failed (P3009).",
        ),
    ],
)
def test_without_a_project_it_says_what_the_database_itself_says(rows: Any, words: str) -> None:
    found = conclude(Seen(service="shop", out=Path("phase-shop"), relations=2, rows=rows))
    assert found[0] is Condition.NO_PROJECT
    assert words in found[1]
    assert found[2] == "runbooks diagnose --service shop --prisma-project DIR"


def test_the_standby_leads_to_a_service_of_its_primary_or_asks_for_it() -> None:
    assert conclude(seen(*ALL, in_recovery=True, upstream="leader"))[2].startswith(
        "runbooks diagnose --service leader "
    )
    assert "pg_stat_wal_receiver" in conclude(seen(*ALL, in_recovery=True))[2]


def test_a_history_that_the_role_may_not_read_is_not_taken_for_none() -> None:
    hidden = PrismaError(
        "The table public._prisma_migrations cannot be read: permission denied.", "Grant SELECT."
    )
    for found in (
        seen(unreadable=hidden, state=None),
        Seen(service="shop", out=Path("phase-shop"), relations=2, unreadable=hidden),
    ):
        condition, says, _ = conclude(found)
        assert condition is Condition.NOT_ALLOWED
        assert "no history" not in says
        assert "Grant SELECT." in says


def test_an_extension_that_no_migration_makes_is_named_with_its_command() -> None:
    refused = MigrationError(
        '1_shop does not run: type "geometry" does not exist (line 3: CREATE TABLE s)', "Install it."
    )
    for can_be_made, then in (
        (True, """psql service=shop -c 'CREATE EXTENSION IF NOT EXISTS "postgis"'"""),
        (False, f"runbooks diagnose --service shop --prisma-project '{PROJECT}'"),
    ):
        found = conclude(seen(settlement=None, refused=refused, lacks="postgis", can_be_made=can_be_made))
        assert (found[0], found[2]) == (Condition.NOT_REPLAYED, then)
        assert "line 3" in found[1]
        assert ("Install it." in found[1]) is not can_be_made
    assert "git" in conclude(seen(settlement=None, refused=refused))[2]


def test_what_stops_everything_comes_before_what_is_behind_it() -> None:
    broken = seen(row("1_shop"), row("2_orders", finished=False), row("3_elsewhere"), provider="mysql")
    refused = MigrationError("2_orders does not run here.")
    order = []
    for change in (
        {"in_recovery": True, "read_only": True},
        {"read_only": True, "provider": "mysql"},
        {"provider": "mysql", "refused": refused},
        {"provider": "postgresql", "refused": refused},
    ):
        order.append(conclude(replace(broken, **change))[0])
    assert order == [
        Condition.STANDBY,
        Condition.READ_ONLY,
        Condition.OTHER_PROVIDER,
        Condition.UNKNOWN_MIGRATIONS,
    ]


def test_a_condition_s_door_is_there() -> None:
    assert {condition.door for condition in Condition} - {None} <= {door.id for door in doors()}
