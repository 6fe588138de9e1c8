"""Plan after plan, check after check, and many at once: nothing is left open, held or lying about, memory stays flat.

A few checks in CI; `make faults` takes the numbers that the page names.
"""

from __future__ import annotations

import os
import re
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest

from runbooks_lib.archive.seal.verify import verify
from runbooks_lib.facts.databases import Dump
from runbooks_lib.findings import CLOSING
from runbooks_lib.lab.lab import Lab
from runbooks_lib.phase import load_phase
from runbooks_lib.postgres.scratch import kept_replay
from runbooks_lib.postgres.session.connect import Sessions
from runbooks_lib.steps import backup, baseline_migration, preflight

from .campaign import RESULTS, fault
from .proof import dumps, require_unchanged
from .stage import PHASE as PHASE_ID
from .stage import Ended, Stage, ended, stage, start

PHASE = load_phase(PHASE_ID)
WHOLE = RESULTS in os.environ
PLANS = 200
CHECKS = 1_000 if WHOLE else 10
AT_ONCE = 20
TOGETHER_S = 1200.0
WARM = 3
MEMORY_BYTES = 24 * 1024**2  # what an allocator keeps; a leak of a plan's 0.3 MB would come to 60 MB
CACHE_BYTES = 4 * 1024**2
PATIENCE_S = 20


@dataclass(frozen=True, kw_only=True)
class Held:
    """What this process and its descendants hold, in the system and at the lab's leader."""

    descriptors: int
    processes: int
    threads: int
    folders: frozenset[str]
    cache_bytes: int
    memory_bytes: int
    sessions: int
    locks: int


def started(this: psutil.Process) -> list[int]:
    """Return our descendants without what a server starts and ends as it likes (autovacuum's workers)."""
    ours, servers = [], set()
    for each in this.children(recursive=True):
        with suppress(psutil.NoSuchProcess):  # it has ended since
            ours.append((each.pid, each.ppid()))
            if each.name() == "postgres":
                servers.add(each.pid)
    return [pid for pid, parent in ours if parent not in servers]


def held(lab: Lab) -> Held:
    this = psutil.Process()
    with lab.admin("postgres") as admin:
        (sessions,) = admin.execute(
            "SELECT count(*)::int FROM pg_stat_activity WHERE usename = 'keybuzz_operator'"
        ).fetchone() or (0,)
        (locks,) = admin.execute(
            "SELECT count(*)::int FROM pg_locks WHERE locktype = 'advisory' OR mode = 'AccessExclusiveLock'"
        ).fetchone() or (0,)
    kept = [path for path in kept_replay.cache_directory().rglob("*") if path.is_file()]
    return Held(
        descriptors=this.num_fds(),
        processes=len(started(this)),
        threads=this.num_threads(),
        folders=frozenset(
            path.name for path in Path(tempfile.gettempdir()).glob(f"runbooks-*-{os.getpid()}-*")
        ),
        cache_bytes=sum(path.stat().st_size for path in kept),
        memory_bytes=this.memory_info().rss,
        sessions=sessions,
        locks=locks,
    )


def require_no_more(lab: Lab, before: Held) -> None:
    """Nothing is held that was not before; a server needs a moment to end its sessions."""
    deadline = time.monotonic() + PATIENCE_S
    while (now := held(lab)).sessions > before.sessions and time.monotonic() < deadline:
        time.sleep(0.1)
    assert now.sessions <= before.sessions
    assert now.locks <= before.locks
    assert now.descriptors <= before.descriptors
    assert now.processes <= before.processes
    assert now.threads <= before.threads
    assert now.folders <= before.folders
    assert now.cache_bytes <= before.cache_bytes + CACHE_BYTES
    assert now.memory_bytes <= before.memory_bytes + MEMORY_BYTES


def require_as_the_first(lab: Lab, ask: Callable[[], None], times: int) -> None:
    """The last time leaves no more than the first ones, and the databases as they were."""
    before = dumps(lab)
    for _ in range(WARM):
        ask()
    first = held(lab)
    for _ in range(times):
        ask()
    require_no_more(lab, first)
    require_unchanged(before, dumps(lab))


def check() -> None:
    """Ask a question of many checks, in sessions of its own, as a step does."""
    with Sessions(PHASE.targets, application_name="runbooks load") as sessions:
        answer = preflight.schema(PHASE, sessions)
    assert not [each for each in answer.findings if each.verdict in CLOSING]


def plan(dumped: dict[str, Dump], folder: Path) -> None:
    """Plan the baseline as its step does: look, compare, rehearse."""
    with Sessions(PHASE.targets, application_name="runbooks load") as sessions:
        made = baseline_migration.plan(PHASE, sessions, dumps=dumped, code="load", folder=folder)
        rehearsed = baseline_migration.rehearse(PHASE, sessions, plan=made.facts)
    assert not [each for each in (*made.findings, *rehearsed.findings) if each.verdict in CLOSING]


@fault(
    kind="load",
    fault="1,000 checks in a row in one process, 10 in CI",
    injected="the preflight's comparison of every object, a thousand times, each in sessions of its own",
    seen="descriptors, processes, threads, folders, cache, memory, sessions and locks, before and after",
    told="nothing: each is as the first",
    goes_on="nothing has to be done",
    fast=True,
)
@pytest.mark.timeout(1800)
def test_a_thousand_checks_leave_nothing(lab: Lab) -> None:
    require_as_the_first(lab, check, CHECKS)


@fault(
    kind="load",
    fault="200 plans of a baseline in a row in one process",
    injected="plan and rehearsal, two hundred times, each in sessions of its own",
    seen="descriptors, processes, threads, folders, cache, memory, sessions and locks, before and after",
    told="nothing: each is as the first",
    goes_on="nothing has to be done",
)
@pytest.mark.timeout(1800)
def test_two_hundred_plans_leave_nothing(lab: Lab, tmp_path: Path) -> None:
    with Sessions(PHASE.targets) as sessions:
        dumped = dict(backup.dump(PHASE, sessions, folder=tmp_path).facts.dumps)
    require_as_the_first(lab, lambda: plan(dumped, tmp_path), PLANS)


def give_connections(scene: Stage, count: int) -> None:
    """Start both servers again with so many connections; a standby needs no fewer than its primary."""
    for server in (scene.lab.replica, scene.lab.leader):
        server.stop()
        with (server.data / "postgresql.auto.conf").open("a") as settings:
            settings.write(f"max_connections = {count}\n")
    scene.lab.leader.start()
    scene.lab.leader.wait_ready()
    start(scene, scene.lab.replica)


@contextmanager
def together(runs: Path, connections: int) -> Iterator[list[Ended]]:
    """Yield how plans ended that were started together; nothing of them is left, and nothing was done."""
    with stage() as scene:
        give_connections(scene, connections)
        first = held(scene.lab)
        started = [scene.start(runs) for _ in range(AT_ONCE)]
        found = [ended(process, TOGETHER_S) for process in started]
        yield found
        require_no_more(scene.lab, first)
        assert dumps(scene.lab) == scene.before
        headers = list(runs.glob("*/2*/run.json"))
        assert len(headers) == AT_ONCE
        assert all(verify(header.parent).trusted for header in headers)
        planned = [each for each in found if each.code == 0]
        assert all(scene.confirmation in each.said for each in planned)


@fault(
    kind="load",
    fault="20 plans at once on one server, in one archive",
    injected="twenty times `runbooks run`, started together; the server has 200 connections",
    seen="rehearsals wait for each other; processes, folders, sessions and locks, before and after",
    told="nothing: each plans, and has the same confirmation",
    goes_on="nothing has to be done",
)
@pytest.mark.timeout(1800)
def test_twenty_plans_at_once(tmp_path: Path) -> None:
    with together(tmp_path, 200) as found:
        assert [each.said for each in found if each.code != 0] == []


@fault(
    kind="load",
    fault="20 plans at once on a server that has not so many connections",
    injected="twenty times `runbooks run`, started together; the server has 40 connections",
    seen="refused connections, and none that is free",
    told="FAIL connections_are_free, or the server's own words; the others plan",
    goes_on="`runbooks run PHASE` again, when connections are free",
)
@pytest.mark.timeout(1800)
def test_twenty_plans_at_once_without_connections(tmp_path: Path) -> None:
    with together(tmp_path, 40) as found:
        refused = [each for each in found if each.code != 0]
        assert refused
        for each in refused:
            assert re.search("connections_are_free|connection slots are reserved|too many clients", each.said)
            assert "Traceback" not in each.said
            assert "next: runbooks run" in each.out
