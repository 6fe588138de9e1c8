"""A papermill engine that archives honestly.

Papermill 2.7 marks every cell of a notebook `completed` when its kernel dies, when a cell times out and on Ctrl-C,
cells that never ran included. This engine records the cell that was running as failed and leaves the rest pending.
It is registered as the entry point `runbooks`: `papermill --engine runbooks IN OUT` works too.
"""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

from jupyter_client.kernelspec import KernelSpecManager
from jupyter_client.manager import AsyncKernelManager
from nbclient.exceptions import CellExecutionError
from nbformat.v4 import new_output
from papermill.clientwrap import PapermillNotebookClient
from papermill.engines import NBClientEngine
from papermill.log import logger

SOCKET_PATH_BYTES = 80  # a socket's path may have 104 bytes on macOS, 108 on Linux


class HonestClient(PapermillNotebookClient):  # type: ignore[misc]
    """Executes the cells and records how each one really ended."""

    aborted_by: BaseException | None = None
    sockets: Path

    def create_kernel_manager(self) -> AsyncKernelManager:
        """Return a manager of our own kind; the client owns it, and so shuts its kernel down at the end."""
        self.km = _kernel_manager(self.kernel_name, self.sockets)
        return self.km

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
        self.nb_man.cell_exception(cell, cell_index=index, exception=error)
        text = str(error).strip() or type(error).__name__
        cell.outputs.append(
            new_output(
                "error", ename=type(error).__name__, evalue=text.splitlines()[0], traceback=text.splitlines()
            )
        )


class RunbookEngine(NBClientEngine):  # type: ignore[misc]
    """One kernel of this very Python for each notebook, over Unix sockets that only we can open."""

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
        client.sockets = Path(tempfile.mkdtemp(prefix="runbooks-"))
        try:
            return client.execute()
        finally:
            shutil.rmtree(client.sockets, ignore_errors=True)


def _kernel_manager(kernel_name: str, sockets: Path) -> AsyncKernelManager:
    """Return a manager whose kernel is this Python's own, whatever kernels a user has installed elsewhere."""
    own = Path(sys.prefix, "share", "jupyter", "kernels")
    specs = KernelSpecManager(kernel_dirs=[str(own)])
    manager = AsyncKernelManager(kernel_name=kernel_name, kernel_spec_manager=specs)
    if os.name == "posix" and len(bytes(sockets)) < SOCKET_PATH_BYTES:
        manager.transport = "ipc"
        manager.connection_file = str(sockets / "kernel.json")
    return manager
