"""A papermill engine that archives honestly.

Papermill 2.7 marks every cell of a notebook `completed` when its kernel dies, when a cell times out and on Ctrl-C,
cells that never ran included. This engine records the cell that was running as failed and leaves the rest pending.
It is registered as the entry point `runbooks`: `papermill --engine runbooks IN OUT` works too.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from nbclient.exceptions import CellExecutionError
from nbformat import from_dict
from nbformat.v4 import new_output
from papermill.clientwrap import PapermillNotebookClient
from papermill.engines import NBClientEngine, NotebookExecutionManager
from papermill.log import logger

from runbooks_lib.archive.masking.mask import Masker, redact, redact_cell
from runbooks_lib.execution.kernels.provisioner import SAID, QuickManager, kernel_manager
from runbooks_lib.execution.kernels.spare import Spare, discard, forget_stop, prepare, take
from runbooks_lib.execution.kernels.warm import warm_kernels
from runbooks_lib.interrupts import between_callbacks
from runbooks_lib.temporary import SOCKETS, new_folder, sweep

CLEANUP_S = 10.0  # what an aborted cell gets to end what it has started, before its kernel is killed
LAST_LINES, LAST_WORDS = 3, 400  # lines and characters of what a kernel said that did not start


class KernelNotReadyError(RuntimeError):
    """A kernel ended before its first cell, or did not answer in time."""


class HonestClient(PapermillNotebookClient):  # type: ignore[misc]
    """Executes the cells and records how each one really ended."""

    aborted_by: BaseException | None = None
    another_follows = False
    spare: Spare | None = None
    sockets: Path

    def create_kernel_manager(self) -> QuickManager:
        """Return a manager of our own kind; the client owns it, and so shuts its kernel down at the end."""
        self.km = self.spare.manager if self.spare else kernel_manager(self.kernel_name, self.sockets)
        self.km.shutdown_wait_time = CLEANUP_S
        return self.km

    def start_new_kernel_client(self, **kwargs: Any) -> Any:
        """Start to talk to the kernel. Raises KernelNotReadyError."""
        try:
            return super().start_new_kernel_client(**kwargs)
        except RuntimeError as error:
            raise KernelNotReadyError(f"{error}: {self._last_words()}") from error

    def _last_words(self) -> str:
        said = self.sockets / SAID
        lines = said.read_text(encoding="utf-8", errors="replace").split("\n") if said.exists() else []
        return redact(" ".join(lines[-LAST_LINES:]).strip()[-LAST_WORDS:]) or "it said nothing"

    def papermill_execute_cells(self) -> None:
        """Execute cell by cell until the end or the first that does not end well."""
        for index, cell in enumerate(self.nb.cells):
            try:
                self.nb_man.cell_start(cell, index)
                self.execute_cell(cell, index)
            except CellExecutionError as error:
                self.nb_man.cell_exception(self.nb.cells[index], cell_index=index, exception=error)
                break
            except BaseException as error:  # noqa: BLE001 - dead kernel, time-out, Ctrl-C: recorded, then raised
                self._record_abort(cell, index, error)
                break
            finally:
                self.nb_man.cell_complete(self.nb.cells[index], cell_index=index)

    def execute(self, **kwargs: Any) -> Any:
        """Execute the notebook; an abort is raised again once it stands in the notebook.

        Raises what aborted it: DeadKernelError, CellTimeoutError, KeyboardInterrupt.
        """
        self.reset_execution_trackers()
        with self.setup_kernel(**kwargs):
            if self.another_follows:
                prepare(self.kernel_name, [f"--HistoryManager.hist_file={self.ipython_hist_file}"])
            self.papermill_execute_cells()
            if self.aborted_by is None:
                reply = self.wait_for_reply(self.kc.kernel_info())
                self.nb.metadata["language_info"] = reply["content"]["language_info"]
                self.set_widgets_metadata()
        if self.aborted_by is not None:
            raise self.aborted_by
        return self.nb

    def _record_abort(self, cell: Any, index: int, error: BaseException) -> None:
        self.aborted_by = error
        self.nb_man.cell_exception(cell, cell_index=index, exception=error)  # first: what follows may fail
        text = str(error).strip() or type(error).__name__
        cell.outputs.append(
            new_output(
                "error", ename=type(error).__name__, evalue=text.splitlines()[0], traceback=text.splitlines()
            )
        )
        self.shutdown_kernel = "graceful"  # interrupted, a cell ends what it has started, such as Prisma
        forget_stop()


class CheapSaving(NotebookExecutionManager):  # type: ignore[misc]
    """Saves before each code cell and at the end: what SIGKILL leaves behind names the cell that was running.

    Papermill saves before and after every cell, prose too, each time validating the whole notebook, and a write that
    is cut short leaves half a file. Here a file is there whole; papermill validates the last one.
    """

    _worth_saving = True

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._mask = Masker()  # what is archived in the end is masked again, by what is known then
        self._encoded: dict[int, str] = {}  # cells that have ended

    def cell_start(self, cell: Any, cell_index: int | None = None, **kwargs: Any) -> None:
        """Note that a cell starts, and save if it is code."""
        self._worth_saving = cell.cell_type == "code"
        super().cell_start(cell, cell_index, **kwargs)

    def cell_complete(self, cell: Any, cell_index: int | None = None, **kwargs: Any) -> None:
        """Note that a cell has ended, and mask the secrets in it: what is saved from here on has none."""
        self._worth_saving = False
        if cell is not None:
            cell.update(from_dict(redact_cell(cell, self._mask)))
        super().cell_complete(cell, cell_index, **kwargs)
        self._worth_saving = True
        if cell_index is not None:
            self._encoded[cell_index] = _json(self.nb.cells[cell_index])

    def notebook_complete(self, **kwargs: Any) -> None:
        """Note that the notebook has ended, and save it as a whole."""
        self._encoded.clear()
        super().notebook_complete(**kwargs)

    def _text(self) -> str:
        # Only the cell that runs is encoded anew: outputs of earlier ones would be written out again at each save,
        # which takes time with the square of their number.
        cells = (self._encoded.get(number) or _json(cell) for number, cell in enumerate(self.nb.cells))
        rest = _json({key: value for key, value in self.nb.items() if key != "cells"})
        return f'{{"cells": [{", ".join(cells)}], {rest[1:]}'

    def save(self, **kwargs: Any) -> None:
        """Save the notebook as it is now."""
        if not self._worth_saving:
            return
        if not self.output_path or "://" in self.output_path:
            super().save(**kwargs)
            return
        unfinished = Path(f"{self.output_path}.saving")
        try:
            unfinished.write_text(self._text(), encoding="utf-8")
            os.replace(unfinished, self.output_path)
        except BaseException:
            unfinished.unlink(missing_ok=True)
            raise
        self.last_save_time = self.now()


def _json(content: Any) -> str:
    return json.dumps(content, ensure_ascii=False)


class RunbookEngine(NBClientEngine):  # type: ignore[misc]
    """One kernel of this very Python for each notebook, over Unix sockets that only we can open."""

    @classmethod
    def execute_notebook(
        cls,
        nb: Any,
        kernel_name: str,
        output_path: str | None = None,
        progress_bar: Any = True,
        log_output: bool = False,
        autosave_cell_every: int = 30,
        **kwargs: Any,
    ) -> Any:
        """Execute one notebook, saving it cheaply on the way."""
        manager = CheapSaving(nb, output_path, log_output, progress_bar, autosave_cell_every)
        manager.notebook_start()
        try:
            cls.execute_managed_notebook(manager, kernel_name, log_output=log_output, **kwargs)
        finally:
            manager.cleanup_pbar()
            manager.notebook_complete()
        return manager.nb

    @classmethod
    def execute_managed_notebook(cls, nb_man: Any, kernel_name: str, **kwargs: Any) -> Any:
        """Execute one notebook in a fresh kernel and leave no file of it behind."""
        client = HonestClient(
            nb_man,
            shutdown_kernel="immediate",  # the graceful way stalls for seconds in one run of twenty
            timeout=kwargs.get("execution_timeout"),
            startup_timeout=kwargs.get("start_timeout", 60),
            kernel_name=kernel_name,
            log=logger,
            log_output=kwargs.get("log_output", False),
            stdout_file=kwargs.get("stdout_file"),
            stderr_file=kwargs.get("stderr_file"),
        )
        client.another_follows = bool(kwargs.get("another_follows"))
        client.spare = take(kernel_name)
        sweep(SOCKETS)
        client.sockets = client.spare.sockets if client.spare else new_folder(SOCKETS)
        try:
            with warm_kernels(), between_callbacks():
                return client.execute()
        finally:
            # nbclient ends a kernel after an Exception, and not after a Ctrl-C while it starts
            discard(client.km, client.sockets)
