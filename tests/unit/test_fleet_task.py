"""What a worker does before it believes a run that is there, and what it tells of one."""

from __future__ import annotations

from concurrent.futures import Future
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from runbooks_lib.archive.run import Run, now
from runbooks_lib.errors import ConnectionFailed
from runbooks_lib.execution.fleet import crew, hello, runner, task
from runbooks_lib.execution.fleet.folder import FleetFolder
from runbooks_lib.execution.fleet.record import Ended, Member
from runbooks_lib.execution.fleet.task import Order
from runbooks_lib.execution.fleet.verify import _run_problems
from runbooks_lib.findings import Verdict
from runbooks_lib.phase import load_phase

from ..benchmarks.fleet_simulation import fleet

PHASE = "PH15-AMAZON-DB-FOUNDATION-01"


def order(runs: Path, run: str, digest: str) -> Order:
    return Order(
        phase=PHASE, runs=str(runs), run=run, services={}, databases={}, apply=False, check=False, confirm="",
        asked={}, has={"phase": digest},
    )  # fmt: skip


def test_a_run_whose_worker_died_before_the_seal_is_sealed(tmp_path: Path) -> None:
    phase = load_phase(PHASE)
    run = Run.create(tmp_path, phase)
    run.update(finished_at=now(), stopped_at=now(), verdict=Verdict.PASS, exit_code=0)
    assert task.told(run).state == "stopped"
    assert task._run(order(tmp_path, run.id, phase.digest)).sealed
    assert task.told(run).manifest is not None


def test_a_phase_that_changed_in_the_middle_is_not_begun(tmp_path: Path) -> None:
    with pytest.raises(task.PreconditionFailed, match="has changed since"):
        task._run(order(tmp_path, "20260107T174759Z-3f9c2a", "0" * 64))
    assert not list(tmp_path.iterdir())


def test_a_check_that_is_taken_up_says_nothing_of_today_by_what_it_saw_long_ago(tmp_path: Path) -> None:
    checked = fleet(4, 1)
    checked = replace(checked, phase=replace(checked.phase, id=PHASE))
    ended = [Ended(state="done"), Ended(state="done"), Ended(state="done"), Ended(state="stopped")]
    members = [replace(each, ended=e) for each, e in zip(checked.members, ended, strict=True)]
    checked = replace(checked, mode="check", members=tuple(members))
    folder = FleetFolder.of(tmp_path, checked)
    for member, finished in zip(members, (now(), "2026-01-07T17:47:59.000Z"), strict=False):
        run = Run.create(folder.archive(member), load_phase(PHASE), run_id=member.run)
        run.update(finished_at=finished)
    anew = runner._checked_anew(folder, checked).members
    assert [each.ended.state for each in anew] == ["done", "waiting", "waiting", "stopped"]
    assert [each.run == before.run for each, before in zip(anew, members, strict=True)] == [
        True, False, False, True
    ]  # fmt: skip


def test_an_error_of_the_system_in_a_run_is_not_taken_for_another_worker(tmp_path: Path) -> None:
    with pytest.raises(BlockingIOError, match="no more processes"), task._alone(tmp_path):
        raise BlockingIOError("no more processes")
    with task._alone(tmp_path), pytest.raises(task.TryLater, match="Another worker"), task._alone(tmp_path):
        pass


def test_a_client_that_has_something_else_now_is_compared_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    there = {"phase": "old"}
    monkeypatch.setattr(hello, "look", lambda asked: dict(there))
    hello.require_same({"phase": "old"}, {"phase": "p"})
    there["phase"] = "new"
    hello.require_same({"phase": "new"}, {"phase": "p"})
    with pytest.raises(hello.ExecutionError):
        hello.require_same({"phase": "newer"}, {"phase": "p"})


class Workers:
    """A dask client with workers that have what the test says, by their address."""

    def __init__(self, has: dict[str, Any]) -> None:
        self.has = has

    def wait_for_workers(self, number: int, timeout: int) -> None:
        if not self.has:
            raise TimeoutError

    def nthreads(self) -> dict[str, int]:
        return dict.fromkeys(self.has, 2)

    def submit(self, function: Any, order: dict[str, Any], *, workers: list[str], **_: Any) -> Future[Any]:
        found: Future[Any] = Future()
        has = self.has[workers[0]]
        found.set_exception(has) if isinstance(has, Exception) else found.set_result(has)
        return found


OURS = {"phase": "a" * 64, "runbooks": "1.0"}


def test_workers_that_are_alike_take_an_order_for_each_of_their_threads() -> None:
    assert crew._require_alike(Workers({"tcp://a": OURS, "tcp://b": OURS}), {}, OURS) == 4


@pytest.mark.parametrize(
    ("has", "says"),
    [
        ({**OURS, "phase": "b" * 64}, "tcp://b: phase is bbbbbbbbbbbbbbbb, here aaaaaaaaaaaaaaaa"),
        ({"phase": OURS["phase"]}, "tcp://b: runbooks is None, here 1.0"),
        ({"refused": "There is no phase."}, "tcp://b: There is no phase."),
        (ModuleNotFoundError("runbooks_lib"), "tcp://b: ModuleNotFoundError: runbooks_lib"),
    ],
)
def test_a_worker_that_differs_is_named_with_what_it_has(has: Any, says: str) -> None:
    with pytest.raises(task.PreconditionFailed) as caught:
        crew._require_alike(Workers({"tcp://a": OURS, "tcp://b": has}), {}, OURS)
    assert says in str(caught.value)
    assert "tcp://a" not in str(caught.value)


def test_a_cluster_without_a_worker_is_named() -> None:
    with pytest.raises(task.PreconditionFailed, match="no worker"):
        crew._require_alike(Workers({}), {}, OURS)


def test_done_without_a_seal_is_believed_of_no_database(tmp_path: Path) -> None:
    from .test_fleet_campaign import member

    found = FleetFolder(tmp_path / "fleets" / PHASE / "id")
    fleet: Any = type("Fleet", (), {"phase": load_phase(PHASE)})
    done = Member(place=member(0).place, run="r", ended=Ended(state="done", verdict=Verdict.PASS))
    (problem,) = _run_problems(found, fleet, done, None)
    assert "names no seal" in problem.what


@pytest.mark.parametrize(
    ("error", "again"),
    [
        (ConnectionFailed("It starts.", refused=True), {"patience_s": task.REFUSED_S}),
        (ConnectionFailed("There is no password."), None),
        (task.TryLater("Somebody else works there."), {"patience_s": task.BUSY_S}),
    ],
)
def test_who_lets_nobody_in_is_asked_again_and_who_wants_something_else_is_not(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, error: Exception, again: dict[str, float] | None
) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise error

    monkeypatch.setattr(task, "connect", fail)
    monkeypatch.setattr(task, "require", lambda *_, **__: load_phase(PHASE))
    monkeypatch.setattr(task, "require_same", lambda *_: None)
    asked = order(tmp_path, "20260107T174759Z-3f9c2a", load_phase(PHASE).digest)
    answer = task.carry_out(asdict(asked))
    told = answer.pop("later", answer)
    assert (told["state"], told["reason"]) == ("stopped", str(error))
    assert told["exit_code"] == (4 if isinstance(error, task.TryLater) else 3)
    assert (answer if again else None) == again
