"""What can be done while notebooks run, so that nobody waits for it later: Prisma's status, and the notebooks' pages.

It only saves time. Whatever fails here is done again where it belongs, and judged there.
"""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType

from runbooks_lib.archive.run import Run
from runbooks_lib.errors import RunbookError
from runbooks_lib.evidence import step_name
from runbooks_lib.npm.child import end_children
from runbooks_lib.temporary import ANSWERS, delete_folder, new_folder, sweep

PRISMA_TIMEOUT_S = 20.0  # as long as a run that is stopped may have to wait for it
SWITCH_INTERVAL_S = (
    0.0005  # how long the thread that carries the run may have to wait for the one that works ahead
)

logger = logging.getLogger(__name__)


class Ahead:
    """One thread beside a run of `steps`, which does one thing at a time and is gone when the block is left."""

    def __init__(self, run: Run, phase: str, steps: Sequence[str]) -> None:
        self._run = run
        self._phase = phase
        self._steps = steps
        self._stack = ExitStack()
        self._begun = False
        self._answers: Path | None = None

    def __enter__(self) -> Ahead:
        self._pool = ThreadPoolExecutor(max_workers=1, thread_name_prefix="ahead")
        interval = sys.getswitchinterval()
        sys.setswitchinterval(SWITCH_INTERVAL_S)
        self._stack.callback(sys.setswitchinterval, interval)
        if os.name == "posix" and "prisma_resolve" in self._steps[1:]:
            self._answers = self._folder()  # before any kernel is started: all have one environment
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is KeyboardInterrupt:
            end_children()
        try:
            self._pool.shutdown(wait=True, cancel_futures=True)
        finally:
            self._stack.close()

    def after(self, step: str) -> None:
        """Begin what can be done now that a step has ended well and others follow."""
        following = self._steps[self._steps.index(step) + 1 :]
        if not self._begun:
            self._begun = True
            folder = self._answers
            if folder is not None and "prisma_resolve" in following:
                self._submit(lambda: _ask_prisma(self._phase, self._run, folder))
            self._submit(_preload_pages)
        self._submit(lambda: _draw(self._run, step, following))

    def _folder(self) -> Path:
        """Make the folder in which the step will find Prisma's answer, and tell the kernels of it."""
        from runbooks_lib.prisma.ahead import VARIABLE

        sweep(ANSWERS)
        folder = new_folder(ANSWERS)
        self._stack.callback(delete_folder, folder)
        os.environ[VARIABLE] = str(folder)
        self._stack.callback(os.environ.pop, VARIABLE, None)
        return folder

    def _submit(self, work: Callable[[], None]) -> None:
        self._pool.submit(_try, work)


def _try(work: Callable[[], None]) -> None:
    try:
        work()
    except (RunbookError, OSError) as error:
        logger.debug("Nothing was gained: %s", error)
    except Exception:
        logger.exception("What was done ahead failed; it is done again in its place.")


def _ask_prisma(reference: str, run: Run, folder: Path) -> None:
    from runbooks_lib.phase import load_phase
    from runbooks_lib.postgres.session.connect import Sessions
    from runbooks_lib.prisma.ahead import ask
    from runbooks_lib.prisma.state import look
    from runbooks_lib.steps.prisma_resolve import command_line, target

    phase = run.at_its_services(load_phase(reference))
    with Sessions(phase.targets, application_name=f"runbooks prisma_resolve {run.id}") as sessions:
        prisma = command_line(phase, sessions)
        if prisma is None:
            return
        prisma.timeout_s = PRISMA_TIMEOUT_S

        def state() -> str:
            with sessions.snapshot(target(phase)) as conn:
                return look(conn, prisma.project).digest

        ask(prisma, state, folder)


def _preload_pages() -> None:
    from runbooks_lib.report.html.pages import preload

    preload()


def _draw(run: Run, step: str, following: Sequence[str]) -> None:
    from runbooks_lib.report.html.notebook import draw

    draw(run.notebook(step), run.record(step), expected=[step_name(each) for each in following])
