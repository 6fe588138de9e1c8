"""A lab in which a command is disturbed again and again, and what is looked for in its tree of processes."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import psutil
import pytest

from runbooks_lib.lab.lab import Lab, running
from runbooks_lib.postgres.scratch.cluster import Cluster

from .proof import GREEN, dumps, passwords, require_no_green, require_nothing_lost, require_told

PHASE = "PH15-AMAZON-DB-FOUNDATION-01"
RUNBOOKS = Path(sys.executable).with_name("runbooks")
PATIENCE_S = 240.0
MODES = pytest.mark.parametrize(("mode", "apply"), [("plan", False), ("apply", True)])
STEP = {False: "backup", True: "baseline_migration"}  # which one is disturbed
AGAIN = "`runbooks run PHASE --resume latest`, with the same confirmation"
_OF_ONE_RUN = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}|\d{4}-\d\d-\d\d \d\d:\d\d:\d\d[.+\d]*")
_UNDO = """
DO $$ DECLARE each text; BEGIN
  FOR each IN SELECT oid::regclass FROM pg_class WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace
                AND relname <> 'tenants' LOOP EXECUTE 'DROP TABLE ' || each || ' CASCADE'; END LOOP;
  FOR each IN SELECT oid::regtype FROM pg_type WHERE typtype = 'e' AND typnamespace = 'public'::regnamespace LOOP
    EXECUTE 'DROP TYPE ' || each || ' CASCADE'; END LOOP;
END $$
"""


@dataclass(frozen=True, kw_only=True)
class Ended:
    """How a command ended: exit code, stdout, stderr."""

    code: int
    out: str
    err: str

    @property
    def said(self) -> str:
        """Everything that the user has seen."""
        return self.out + self.err


@dataclass(frozen=True, kw_only=True)
class Stage:
    """A lab, the confirmation of its plan, and its databases before the apply and after an undisturbed one."""

    lab: Lab
    confirmation: str
    before: Mapping[str, str]
    done: Mapping[str, str] = field(default_factory=dict)

    def start(
        self, runs: Path, *words: str, apply: bool = False, env: Mapping[str, str] | None = None, **popen: Any
    ) -> subprocess.Popen[str]:
        """Start `runbooks run`, in a process group of its own."""
        more = ["--apply", "--confirm", self.confirmation] if apply else []
        return subprocess.Popen(
            [str(RUNBOOKS), "run", PHASE, *words, *more, "--runs", str(runs)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**_environment(self.lab), **(env or {})},
            start_new_session=True,
            **popen,
        )

    def run(
        self, runs: Path, *words: str, apply: bool = False, env: Mapping[str, str] | None = None
    ) -> Ended:
        """Run `runbooks run` to its end."""
        return ended(self.start(runs, *words, apply=apply, env=env))

    def command(self, *words: object) -> Ended:
        """Run another of our commands to its end."""
        return ended(
            subprocess.Popen(
                [str(RUNBOOKS), *map(str, words)],
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
                env=_environment(self.lab),
            )
        )

    def reset(self) -> None:
        """Take back what an apply did."""
        with self.lab.admin("keybuzz") as legacy:
            legacy.execute(_UNDO)
        with self.lab.admin("keybuzz_backend") as backend:
            backend.execute("DELETE FROM _prisma_migrations WHERE migration_name LIKE '20251220%'")
        assert dumps(self.lab) == self.before

    def require_whole(self) -> bool:
        """Nothing is lost, and each database is as before or as after; return whether all of it is done."""
        now = dumps(self.lab)
        require_nothing_lost(self.before, now)
        for database, dump in now.items():
            assert _alike(dump) in (_alike(self.before[database]), _alike(self.done[database])), database
        return all(_alike(now[database]) == _alike(self.done[database]) for database in now)

    def require_three(self, runs: Path, found: Ended, *, cause: str, next_step: str, apply: bool) -> None:
        """After a fault: nothing lost, nothing green that was not done, and cause and next step told."""
        done = self.require_whole()
        require_no_green(runs, found.code)
        if not apply:
            assert not done
            assert dumps(self.lab) == self.before
        require_told(found.said, cause=cause, next_step=next_step, secrets=passwords(self.lab))

    def require_resumed(self, runs: Path, *, apply: bool) -> None:
        """One goes on: the same run, taken up, comes to its end, and all is as after an undisturbed one."""
        found = self.run(runs, "--resume", "latest", apply=apply)
        assert found.code == 0, found.said
        self.require_done(runs, apply=apply)

    def require_done(self, runs: Path, *, apply: bool) -> None:
        """The one run of the archive is complete and verifies; the databases are as they are to be."""
        (header,) = runs.glob("*/2*/run.json")
        said = json.loads(header.read_text("utf-8"))
        assert said["verdict"] in GREEN
        assert said["finished_at"]
        assert self.command("verify", header.parent).code == 0
        assert self.require_whole() is apply
        if not apply:
            assert dumps(self.lab) == self.before


@contextmanager
def stage() -> Iterator[Stage]:
    """Yield a lab of one's own, of which an undisturbed plan and apply are known."""
    with running() as lab, TemporaryDirectory() as folder:
        before, runs = dumps(lab), Path(folder)
        first = Stage(lab=lab, confirmation="", before=before)
        planned = first.run(runs, "--json")
        assert planned.code == 0, planned.said
        confirmation = json.loads(planned.out)["plan"]["confirmation"]
        made = Stage(lab=lab, confirmation=confirmation, before=before)
        applied = made.run(runs, apply=True)
        assert applied.code == 0, applied.said
        made = Stage(lab=lab, confirmation=confirmation, before=before, done=dumps(lab))
        made.reset()
        yield made


@contextmanager
def small_disk(folder: Path, size: str, *options: str) -> Iterator[Path]:
    """Mount a file system in memory at a folder, for the block."""
    folder.mkdir(exist_ok=True)
    mount = ["mount", "-t", "tmpfs", "-o", ",".join((f"size={size}", *options)), "tmpfs", str(folder)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True).returncode != 0:
        pytest.skip("a file system can be mounted by root only, and not in every container")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


@contextmanager
def unreadable(path: Path) -> Iterator[None]:
    """Let the kernel answer each read of a file by EIO, for the block: this process's page 0 lies over it."""
    over = f"/proc/{os.getpid()}/mem"
    if os.geteuid() != 0 or subprocess.run(["mount", "--bind", over, path], capture_output=True).returncode:
        pytest.skip("a file can be mounted over another by root only, and not in every container")
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", path], check=True)


def ended(process: subprocess.Popen[str], patience_s: float = PATIENCE_S) -> Ended:
    """Wait for a command's end; one that does not end is killed, and the test fails."""
    try:
        out, err = process.communicate(timeout=patience_s)
    except subprocess.TimeoutExpired:
        kill_tree(process.pid)
        out, err = process.communicate(timeout=30)
        raise AssertionError(f"no end within {patience_s} s: {out}{err}") from None
    return Ended(code=process.returncode, out=out, err=err)


def kill_tree(pid: int) -> None:
    """SIGKILL a process and all that descends from it."""
    with suppress(psutil.NoSuchProcess):
        parent = psutil.Process(pid)
        for each in (*parent.children(recursive=True), parent):
            with suppress(psutil.NoSuchProcess):
                each.send_signal(signal.SIGCONT)
                each.kill()


def until(condition: Callable[[], Any], process: subprocess.Popen[str] | None = None) -> Any:
    """Wait until something holds, and return it; the process that is to bring it about must not end before."""
    deadline = time.monotonic() + PATIENCE_S
    while not (found := condition()):
        assert process is None or process.poll() is None, f"it ended before: {process.communicate()}"
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.002)
    return found


def below(process: subprocess.Popen[str], *words: str) -> psutil.Process | None:
    """Return a living descendant in whose command line these words stand."""
    with suppress(psutil.Error):
        for each in psutil.Process(process.pid).children(recursive=True):
            with suppress(psutil.Error):
                line = " ".join(each.cmdline())
                if all(word in line for word in words) and each.status() != psutil.STATUS_ZOMBIE:
                    return each
    return None


def kernel_of(process: subprocess.Popen[str], runs: Path, step: str) -> psutil.Process | None:
    """Return the kernel that executes a step, while it does."""
    if not any(runs.glob(f"*/2*/.*_{step}.partial.ipynb")):
        return None
    forker = below(process, "kernels.forker")
    with suppress(psutil.Error):
        children = forker.children() if forker else []
        return max(children, key=lambda each: each.cpu_times().user, default=None)
    return None


def at_work(process: subprocess.Popen[str], runs: Path, step: str) -> psutil.Process:
    """Wait until a step is at work; return its kernel."""
    found: psutil.Process = until(lambda: kernel_of(process, runs, step), process)
    return found


def start(scene: Stage, server: Cluster) -> None:
    """Start a server that has stopped, or stops."""
    until(lambda: not server.is_running())
    server.start()
    server.wait_ready()
    scene.lab._pair.wait_streaming()


def _alike(dump: str) -> str:
    return _OF_ONE_RUN.sub("…", dump)


def _environment(lab: Lab) -> dict[str, str]:
    return {**os.environ, **lab.env(), "COLUMNS": "200"}
