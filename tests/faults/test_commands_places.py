"""`runbooks run` finds no room, nothing to read, or what another one has left, in a plan or an apply; one goes on."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import psycopg
import pytest

from runbooks_lib.archive.notebooks import notebooks_folder
from runbooks_lib.package import package
from runbooks_lib.prisma.lock import MIGRATION_LOCK

from .campaign import fault
from .stage import AGAIN, MODES, PHASE, STEP, Stage, at_work, ended, small_disk, start, unreadable, until


@fault(
    kind="storage",
    fault="the runs folder is on another file system, {mode}",
    injected="a tmpfs of its own at the runs folder",
    seen="nothing is moved across file systems",
    told="the same as without",
    goes_on="nothing has to be done",
)
@MODES
def test_a_runs_folder_on_another_file_system(
    scene: Stage, reset: None, tmp_path: Path, mode: str, apply: bool
) -> None:
    with small_disk(tmp_path / "runs", "256m") as runs:
        process = scene.start(runs, apply=apply)
        at_work(process, runs, STEP[apply]).kill()
        found = ended(process)
        scene.require_three(
            runs, found, cause="kernel died", next_step="--resume|[Rr]ead the archived", apply=apply
        )
        scene.require_resumed(runs, apply=apply)


@fault(
    kind="storage",
    fault="the runs folder can only be read",
    injected="a tmpfs that is mounted read-only",
    seen="EROFS",
    told="the run folder could not be made: Read-only file system; --runs DIR",
    goes_on="choose another folder, then the same command",
)
def test_a_runs_folder_that_can_only_be_read(scene: Stage, tmp_path: Path) -> None:
    with small_disk(tmp_path / "runs", "1m", "ro") as runs:
        found = scene.run(runs)
        scene.require_three(runs, found, cause="Read-only file system", next_step="--runs DIR", apply=False)
    done = scene.run(tmp_path / "elsewhere")
    assert done.code == 0, done.said


@fault(
    kind="storage",
    fault="the disk of the cache is full",
    injected="RUNBOOKS_CACHE on a tmpfs of 64 KiB",
    seen="ENOSPC, or nothing that needs the cache",
    told="where the cache is, and which variable names another; or the plan, as without",
    goes_on="free space, or RUNBOOKS_CACHE elsewhere, then the same command",
)
def test_a_cache_that_is_full(scene: Stage, tmp_path: Path) -> None:
    with small_disk(tmp_path / "cache", "64k") as cache:
        found = scene.run(tmp_path / "runs", env={"RUNBOOKS_CACHE": str(cache)})
    if found.code == 0:
        scene.require_done(tmp_path / "runs", apply=False)
        return
    scene.require_three(
        tmp_path / "runs", found, cause="No space left|cannot be (made|written)",
        next_step="Free space in .*RUNBOOKS_CACHE", apply=False,
    )  # fmt: skip
    scene.require_resumed(tmp_path / "runs", apply=False)


@fault(
    kind="storage",
    fault="the service file cannot be read: EIO",
    injected="a mount over the file, of which the kernel answers each read by EIO",
    seen="the read's error",
    told="which file, and Input/output error",
    goes_on="mend the disk, or PGSERVICEFILE elsewhere, then the same command",
)
def test_a_service_file_that_cannot_be_read(scene: Stage, tmp_path: Path) -> None:
    services = tmp_path / "services"
    services.write_bytes(Path(scene.lab.env()["PGSERVICEFILE"]).read_bytes())
    with unreadable(services):
        found = scene.run(tmp_path / "runs", env={"PGSERVICEFILE": str(services)})
        scene.require_three(
            tmp_path / "runs", found, cause=f"{services} cannot be read: Input/output error",
            next_step="PGSERVICEFILE", apply=False,
        )  # fmt: skip
    done = scene.run(tmp_path / "runs", env={"PGSERVICEFILE": str(services)})
    assert done.code == 0, done.said


@fault(
    kind="storage",
    fault="a cache is shared by two versions of us, which run at the same time",
    injected="a copy of the package, edited, with the same RUNBOOKS_CACHE; both plan at once, twice",
    seen="what is kept has a digest of the whole package in its place",
    told="the same as without",
    goes_on="nothing has to be done",
)
def test_a_cache_of_two_versions(scene: Stage, tmp_path: Path) -> None:
    other = tmp_path / "other"
    shutil.copytree(package(), other / "runbooks_lib", symlinks=True)
    shutil.copytree(notebooks_folder(), other / "notebooks")
    with (other / "runbooks_lib" / "cache.py").open("a") as edited:
        edited.write("# another version\n")
    env = {**os.environ, **scene.lab.env(), "RUNBOOKS_CACHE": str(tmp_path / "cache"), "PYTHONSAFEPATH": "1"}
    versions = {"ours": env, "theirs": {**env, "PYTHONPATH": str(other)}}
    for time_ in ("first", "second"):
        started = {
            name: subprocess.Popen(
                [sys.executable, "-m", "runbooks_lib", "run", PHASE, "--runs", str(tmp_path / time_ / name)],
                stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=its, start_new_session=True,
            )
            for name, its in versions.items()
        }  # fmt: skip
        for name, process in started.items():
            found = ended(process)
            assert found.code == 0, found.said
            scene.require_done(tmp_path / time_ / name, apply=False)
        kept = {path: path.read_bytes() for path in tmp_path.glob("cache/**/replays/*.json")}
        if time_ == "first":
            first = kept
    assert kept == first, "each has found what it kept, and nobody has taken it away"
    digests = {json.loads(header.read_text())["library"] for header in tmp_path.glob("first/*/*/2*/run.json")}
    assert len(digests) == 2, "they are two versions"


# --- a lock that nobody gives back -----------------------------------------------------------------------------------


@fault(
    kind="network",
    fault="Prisma's advisory lock is left behind a pooler, apply",
    injected="Prisma's own statement for it through a real PgBouncer in transaction mode, whose client then ends",
    seen="pg_locks, before Prisma is started",
    told="FAIL: held by whom, with the pid, idle since when; SELECT pg_terminate_backend(pid)",
    goes_on=f"that statement, then {AGAIN}",
)
def test_a_lock_that_is_left_behind_a_pooler(scene: Stage, reset: None, pooler: Any, tmp_path: Path) -> None:
    with pooler(scene.lab, "transaction") as env, pytest.MonkeyPatch.context() as patch:
        for name, value in env.items():
            patch.setenv(name, value)
        with psycopg.connect("service=keybuzz_leader dbname=keybuzz_backend", autocommit=True) as client:
            client.execute("SELECT pg_advisory_lock(%s)", (MIGRATION_LOCK,))
            (pid,) = client.execute("SELECT pg_backend_pid()").fetchone() or (0,)
        found = scene.run(tmp_path, apply=True)
        terminate = f"SELECT pg_terminate_backend({pid})"
        scene.require_three(
            tmp_path, found, cause=rf"held by keybuzz_operator \(.*pid {pid}.*idle since",
            next_step=re.escape(terminate), apply=True,
        )  # fmt: skip
        with scene.lab.admin("keybuzz_backend") as admin:
            admin.execute(terminate.encode())
        scene.require_resumed(tmp_path, apply=True)


@fault(
    kind="storage",
    fault="the disk of the leader's WAL is full, plan",
    injected="a tmpfs for pg_wal, filled up while a step is at work; then WAL is written until the server stops",
    seen="PANIC of the leader: sessions are lost, and refused",
    told="ERROR: which target does not answer or could not be read, and what to check",
    goes_on=f"free space, start the server, then {AGAIN}",
)
def test_a_full_disk_of_the_leaders_wal(scene: Stage, tmp_path: Path) -> None:
    with wal_on_a_small_disk(scene, tmp_path / "kept") as wal:
        process = scene.start(tmp_path / "runs")
        at_work(process, tmp_path / "runs", STEP[False])
        filler = wal / "filler"
        with suppress(OSError), filler.open("wb", buffering=0) as full:
            while full.write(bytes(1 << 20)):
                pass
        with suppress(psycopg.Error), scene.lab.admin("postgres") as admin:
            for _ in range(20):
                admin.execute("SELECT pg_logical_emit_message(false, 'fault', ''), pg_switch_wal()")
        until(lambda: not scene.lab.leader.is_running())
        found = ended(process)
        filler.unlink()
        start(scene, scene.lab.leader)
        scene.require_three(
            tmp_path / "runs", found, cause=r"does not answer|could not be read|closed the connection|lost",
            next_step=r"[Cc]heck|--resume|again", apply=False,
        )  # fmt: skip
        scene.require_resumed(tmp_path / "runs", apply=False)


@contextmanager
def wal_on_a_small_disk(scene: Stage, kept: Path) -> Iterator[Path]:
    """Let the leader's pg_wal be a file system of its own, for the block."""
    leader = scene.lab.leader
    wal = leader.data / "pg_wal"
    owner = wal.stat()
    leader.stop()
    copy(wal, kept)
    with small_disk(wal, "400m", f"uid={owner.st_uid}", f"gid={owner.st_gid}", "mode=700"):
        copy(kept, wal)
        start(scene, leader)
        try:
            yield wal
        finally:
            leader.stop()
            shutil.rmtree(kept)
            copy(wal, kept)
    shutil.rmtree(wal)
    copy(kept, wal)
    start(scene, leader)


def copy(source: Path, target: Path) -> None:
    """Copy a folder's content with its owners."""
    subprocess.run(["cp", "-aT", source, target], check=True)
