"""What a run looks like while it goes on (a live table, or a line for each step), and the table at its end."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from types import TracebackType
from typing import TYPE_CHECKING, Self

from rich.console import Group
from rich.live import Live
from rich.spinner import Spinner
from rich.table import Table

from runbooks_lib.cli.terminal import console, shown
from runbooks_lib.evidence import step_name
from runbooks_lib.findings import Verdict

if TYPE_CHECKING:
    from runbooks_lib.execution.runner import Outcome, Result

PROVES = {
    "preflight": "every server, table, label, index and row is as declared",
    "backup": "the schema is dumped, hashed and read back",
    "baseline_migration": "the declared objects exist, and twice is once",
    "prisma_resolve": "Prisma's history says what the database has",
    "seed_verification": "the seed rows are there, on leader and replica",
    "api_routes": "which service has which route",
    "report": "a last look at everything, the checklist, the report",
}
PLAIN_WIDTH = 110  # of the table where there is no terminal
STYLES = {
    Verdict.PASS: "green",
    Verdict.OPEN: "yellow",
    Verdict.FAIL: "bold red",
    Verdict.ERROR: "bold magenta",
    Verdict.SKIP: "dim",
}


class Watched(ABC):
    """Something that goes on, on stderr: a picture that changes on a terminal, else its title and then lines."""

    def __init__(self, title: str) -> None:
        self._console = console(err=True)
        self._title = title
        self._live: Live | None = None  # it draws at once: not before everything is there that it shows

    @abstractmethod
    def _render(self) -> Group:
        """Return the picture of this moment."""

    def __enter__(self) -> Self:
        if self._console.is_terminal:
            self._live = Live(
                get_renderable=self._render, console=self._console, refresh_per_second=8, transient=True
            )
            self._live.start()
        else:
            self._console.print(shown(self._title))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live is not None:
            self._live.stop()


class Progress(Watched):
    """Shows the steps as they run, on stderr."""

    def __init__(self, title: str, steps: int) -> None:
        super().__init__(title)
        self._steps = steps
        self._outcomes: list[Outcome] = []
        self._running: tuple[str, float] | None = None

    def start(self, step: str) -> None:
        """Show that a step has begun."""
        self._running = (step, time.monotonic())
        if not self._console.is_terminal:
            self._console.print(shown(f"{self._place()}  {step_name(step)}"))

    def _place(self) -> str:
        return f"{len(self._outcomes) + 1} of {self._steps}"

    def end(self, outcome: Outcome) -> None:
        """Show how a step ended."""
        self._running = None
        self._outcomes.append(outcome)

    def _render(self) -> Group:
        table = _steps_table(self._outcomes)
        if self._running is not None:
            step, began = self._running
            table.add_row(step_name(step), PROVES[step], Spinner("dots"), f"{time.monotonic() - began:.1f}")
        place = f", {self._place()}" if self._running else ""
        return Group(shown(f"{self._title}{place}"), table)


def print_table(result: Result) -> None:
    """Print the steps of a run on stdout."""
    console(width=None if console().is_terminal else PLAIN_WIDTH).print(_steps_table(result.outcomes))


def _steps_table(outcomes: list[Outcome] | tuple[Outcome, ...]) -> Table:
    table = Table(box=None, pad_edge=False)
    for heading in ("step", "what it proves", "verdict"):
        table.add_column(heading, no_wrap=heading != "what it proves")
    table.add_column("seconds", justify="right")
    for outcome in outcomes:
        verdict = shown(outcome.verdict, style=STYLES[outcome.verdict])
        took = "kept" if outcome.kept else f"{outcome.duration_s:.1f}"
        table.add_row(step_name(outcome.step), PROVES[outcome.step], verdict, took)
    return table
