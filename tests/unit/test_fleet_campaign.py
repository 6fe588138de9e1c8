"""Canary, waves, limits and failures of a fleet run, with workers that answer as the test says."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from runbooks_lib.cli.fleet_progress import FleetProgress
from runbooks_lib.errors import PreconditionFailed
from runbooks_lib.execution.fleet import campaign
from runbooks_lib.execution.fleet.campaign import Campaign, Turn, waves
from runbooks_lib.execution.fleet.carriers import CarrierLost
from runbooks_lib.execution.fleet.crew import Crew
from runbooks_lib.execution.fleet.folder import FleetFolder
from runbooks_lib.execution.fleet.record import Member, Pace, Place
from runbooks_lib.execution.fleet.runner import carry_on

from ..benchmarks.fleet_simulation import fleet

DONE = {"state": "done", "verdict": "PASS", "exit_code": 0}
IN_THE_WAY = {"state": "stopped", "verdict": "ERROR", "exit_code": 3, "reason": "Another worker is at work."}
STOPPED = {"state": "stopped", "verdict": "FAIL", "exit_code": 1, "reason": "a gate closed"}
Answer = Callable[[str], dict[str, Any]]


def member(number: int, *, server: str = "s", wave: int = 1) -> Member:
    name = f"db_{number}"
    place = Place(name=name, server=server, wave=wave, labels={}, services={}, databases={})
    return Member(place=place, run="r")


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(campaign, "FIRST_DELAY_S", 0.01)
    monkeypatch.setattr(campaign, "LOOK_S", 0.05)


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(8) as executor:
        yield executor


class Told:
    """An executor that has a function of the test answer for a database."""

    def __init__(self, pool: ThreadPoolExecutor, answer: Answer) -> None:
        self.pool, self.answer = pool, answer

    def submit(self, function: Any, order: dict[str, Any]) -> Future[dict[str, Any]]:
        return self.pool.submit(self.answer, order["name"])


def carried_out(
    pool: ThreadPoolExecutor, answer: Answer, members: list[Member], pace: Pace, *, size: int = 4, **more: Any
) -> Campaign:
    crew = Crew(executor=Told(pool, answer), size=size, has={}, **more)  # type: ignore[arg-type]
    found = Campaign(crew=crew, order=lambda each: {"name": each.name}, pace=pace)
    found.carry_out(waves(members, pace))
    return found


def states(found: Campaign) -> dict[str, str]:
    return {name: ended.state for name, ended in found.ended.items()}


def test_the_canary_is_alone_and_waves_follow_each_other() -> None:
    members = [*(member(n, wave=1) for n in range(3)), *(member(n, wave=2) for n in range(3, 8))]
    sizes = [[each.name for each in wave] for wave in waves(members, Pace(per_server=9, canary=2, wave=3))]
    assert sizes == [["db_0", "db_1"], ["db_2"], ["db_3", "db_4", "db_5"], ["db_6", "db_7"]]
    assert [len(wave) for wave in waves(members, Pace(per_server=9))] == [3, 5]


def test_a_server_bears_no_more_than_its_limit_and_others_pass(pool: ThreadPoolExecutor) -> None:
    members = [*(member(n, server="a") for n in range(6)), *(member(n, server="b") for n in range(6, 9))]
    servers = {each.name: each.place.server for each in members}
    now: Counter[str] = Counter()
    most: Counter[str] = Counter()
    lock = threading.Lock()

    def answer(name: str) -> dict[str, Any]:
        with lock:
            now[servers[name]] += 1
            most[servers[name]] = max(most[servers[name]], now[servers[name]])
        time.sleep(0.02)
        with lock:
            now[servers[name]] -= 1
        return DONE

    found = carried_out(pool, answer, members, Pace(per_server=2), size=8)
    assert set(states(found).values()) == {"done"}
    assert most == {"a": 2, "b": 2}


def test_after_too_many_failures_nothing_more_is_begun(pool: ThreadPoolExecutor) -> None:
    asked: list[str] = []

    def answer(name: str) -> dict[str, Any]:
        asked.append(name)
        return STOPPED if name in ("db_1", "db_3") else DONE

    found = carried_out(
        pool, answer, [member(n) for n in range(9)], Pace(per_server=9, max_failures=2), size=1
    )
    assert asked == ["db_0", "db_1", "db_2", "db_3"]
    assert states(found) == {"db_0": "done", "db_1": "stopped", "db_2": "done", "db_3": "stopped"}
    assert found.stopped_by.startswith("2 failed")


def test_plans_go_on_whatever_fails(pool: ThreadPoolExecutor) -> None:
    found = carried_out(
        pool, lambda name: STOPPED, [member(n) for n in range(5)], Pace(per_server=9, max_failures=0)
    )
    assert list(states(found).values()) == ["stopped"] * 5


def test_a_lost_worker_s_order_is_handed_out_again_and_lost_at_last(pool: ThreadPoolExecutor) -> None:
    asked: Counter[str] = Counter()

    def answer(name: str) -> dict[str, Any]:
        asked[name] += 1
        if name == "db_0" or asked[name] == 1:
            raise CarrierLost("killed")
        return DONE

    found = carried_out(pool, answer, [member(n) for n in range(3)], Pace(per_server=9, max_failures=0))
    assert states(found) == {"db_0": "lost", "db_1": "done", "db_2": "done"}
    assert "CarrierLost: killed" in found.ended["db_0"].reason
    assert found.ended["db_1"].attempts == 2


def test_who_is_in_the_way_is_waited_for_and_named_at_last(
    pool: ThreadPoolExecutor, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: Counter[str] = Counter()

    def answer(name: str) -> dict[str, Any]:
        asked[name] += 1
        return DONE if name == "db_0" and asked[name] > 6 else {"later": IN_THE_WAY, "patience_s": 3.0}

    monkeypatch.setattr(campaign, "LONGEST_DELAY_S", 0.05)
    found = carried_out(pool, answer, [member(0), member(1)], Pace(per_server=9, max_failures=0))
    assert states(found) == {"db_0": "done", "db_1": "stopped"}
    assert "seconds still: Another worker is at work." in found.ended["db_1"].reason
    assert found.ended["db_1"].exit_code == 3
    assert found.ended["db_0"].attempts == 1


def test_when_no_worker_can_be_reached_it_says_so_of_each(pool: ThreadPoolExecutor) -> None:
    asked = threading.Event()
    never = threading.Event()

    def answer(name: str) -> dict[str, Any]:
        asked.set()
        never.wait(5)
        return DONE

    try:
        found = carried_out(
            pool, answer, [member(n) for n in range(3)], Pace(per_server=9), size=2,
            gone=lambda: "the scheduler is gone" if asked.is_set() else "",
        )  # fmt: skip
    finally:
        never.set()
    assert states(found) == {"db_0": "lost", "db_1": "lost"}
    assert found.stopped_by == "the scheduler is gone"
    assert "fleet resume" in found.ended["db_0"].reason


@pytest.mark.parametrize("pace", [Pace(per_server=9, canary=7), Pace(per_server=9, wave=7)])
def test_more_than_there_are_is_all_of_them(pool: ThreadPoolExecutor, pace: Pace) -> None:
    found = carried_out(pool, lambda name: DONE, [member(n) for n in range(3)], pace)
    assert set(states(found).values()) == {"done"}
    assert len(found.ended) == 3


def test_a_fleet_run_whose_workers_are_not_found_alike_leaves_no_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PGSERVICEFILE", str(tmp_path / "none"))
    record = fleet(3, 1)
    folder = FleetFolder.of(tmp_path / "runs", record)
    with pytest.raises(PreconditionFailed, match="no phase"):
        carry_on(folder, record, workers=1, scheduler="")
    assert not folder.path.exists()


def test_what_was_begun_and_not_handed_out_again_is_no_database_that_has_not_begun(
    pool: ThreadPoolExecutor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(campaign, "FIRST_DELAY_S", 60.0)

    def answer(name: str) -> dict[str, Any]:
        if name == "db_0":
            raise CarrierLost("killed")
        return STOPPED

    found = carried_out(
        pool, answer, [member(n) for n in range(3)], Pace(per_server=9, max_failures=1), size=1
    )
    assert states(found) == {"db_0": "lost", "db_1": "stopped"}
    assert "fleet resume" in found.ended["db_0"].reason


def test_patience_is_counted_from_when_somebody_is_in_the_way(
    pool: ThreadPoolExecutor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And not from the beginning of the wave: a long one would have none left for its last databases."""
    asked: Counter[str] = Counter()

    def answer(name: str) -> dict[str, Any]:
        asked[name] += 1
        if name == "db_0":
            time.sleep(0.5)
        first = name == "db_1" and asked[name] == 1
        return {"later": IN_THE_WAY, "patience_s": 0.3} if first else DONE

    found = carried_out(pool, answer, [member(0), member(1)], Pace(per_server=9), size=1)
    assert states(found) == {"db_0": "done", "db_1": "done"}


def test_a_terminal_shows_which_database_is_asked_again_and_why(pool: ThreadPoolExecutor) -> None:
    """And not one that only waits for its turn."""
    crew = Crew(executor=pool, size=1, has={})
    found = Campaign(crew=crew, order=lambda each: {"name": each.name}, pace=Pace(per_server=1))
    found.waiting.extend([Turn(member=member(0), why="It starts."), Turn(member=member(1))])
    progress = FleetProgress(fleet(2, 1))
    progress.show(fleet(2, 1), found)
    with (console := Console(width=80)).capture() as captured:
        console.print(progress._render())
    assert "db_0 again in 0 s: It starts." in captured.get()
    assert "db_1" not in captured.get()
