"""Long work without steps, such as a first installation: what goes on, and how far it is, on stderr."""

from __future__ import annotations

from contextlib import ExitStack
from types import TracebackType
from typing import TYPE_CHECKING

from runbooks_lib.amounts import size
from runbooks_lib.cli.terminal import console, shown
from runbooks_lib.progress import Progress, listening

if TYPE_CHECKING:
    from rich.status import Status


class Working:
    """Shows what goes on inside its block: a line that changes on a terminal, else a line for each kind of work."""

    def __init__(self, what: str) -> None:
        self._console = console(err=True)
        self._what = what
        self._told = {what}
        self._stack = ExitStack()
        self._status: Status | None = None

    def __enter__(self) -> None:
        if self._console.is_terminal:
            self._status = self._stack.enter_context(self._console.status(shown(self._what)))
        else:
            self._console.print(shown(self._what))
        self._stack.enter_context(listening(self._tell))

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def _tell(self, work: Progress) -> None:
        if self._status is not None:
            self._status.update(
                shown(f"{work.what}: {size(work.done)}" if work.unit == "bytes" else work.what)
            )
        elif work.what not in self._told:
            self._told.add(work.what)
            self._console.print(shown(work.what))
