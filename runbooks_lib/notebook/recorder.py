"""Archives a notebook that a person walks through: what ran, in which order, and what it showed.

The front end saves its own file when it likes, so it is no evidence. The kernel knows what it ran and what it
sent, and the archived notebook is made of that: the shipped cells, with the counts and outputs of this kernel.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from textwrap import indent
from typing import Any, ClassVar, TextIO

from runbooks_lib.archive.files import write_notebook
from runbooks_lib.archive.notebooks import blank, notebooks_folder
from runbooks_lib.archive.seal.execution_order import INJECTED, WALKTHROUGH, WIDGET
from runbooks_lib.evidence import step_name

OWN = "own"  # the tag of a cell that the operator added


class Recorder:
    """Writes the archived notebook of one step after every cell that was run; a kernel has one at a time.

    `parameters` are the values that the step was opened with. Nothing is written once `current` says that the run
    went on without this kernel. `after` is called when a cell that ended well has been written.
    """

    running: ClassVar[Recorder | None] = None

    def __init__(
        self,
        shell: Any,
        step: str,
        target: Path,
        *,
        parameters: Mapping[str, Any],
        current: Callable[[], bool],
        after: Callable[[], None],
    ) -> None:
        self._shell = shell
        self._target = target
        self._parameters = dict(parameters)
        self._current = current
        self._after = after
        self._notebook = blank(notebooks_folder() / f"{step_name(step)}.ipynb")
        self._notebook["metadata"][WALKTHROUGH] = True
        self._displays: dict[str, dict[str, Any]] = {}
        self._running: dict[str, Any] | None = None
        self._printed = {name: _Tee(name, getattr(sys, name)) for name in ("stdout", "stderr")}

    def start(self) -> None:
        """Begin to record; called from the cell that opens the step, which is the first one recorded."""
        if Recorder.running is not None:
            Recorder.running.stop()
        Recorder.running = self
        before = self._ran_before()
        if before is not None:
            self._set_parameters(*before)
        self._begin(self._code_cells()[1 if before is not None else 0])
        self._shell.events.register("pre_run_cell", self._on_cell)
        self._shell.events.register("post_run_cell", self._on_result)
        self._shell.display_pub.register_hook(self._on_display)

    def stop(self) -> None:
        """Record nothing more: another step is opened in this kernel, or the run has ended."""
        Recorder.running = None
        self._shell.events.unregister("pre_run_cell", self._on_cell)
        self._shell.events.unregister("post_run_cell", self._on_result)
        self._shell.display_pub.unregister_hook(self._on_display)
        self._release()

    def update(self, display_id: str, data: Mapping[str, Any]) -> None:
        """Replace what was displayed under an id, in whichever cell, and write the notebook."""
        if display_id in self._displays:
            self._displays[display_id]["data"] = _whole(data)
            self.write()

    def write(self) -> bool:
        """Write the archived notebook as it is now, with secrets masked; return whether it is still ours to write."""
        current = self._current()
        if current:
            write_notebook(self._target, self._notebook)
        return current

    def _code_cells(self) -> list[dict[str, Any]]:
        return [cell for cell in self._notebook["cells"] if cell["cell_type"] == "code"]

    def _ran_before(self) -> tuple[dict[str, Any], int, str] | None:
        """Return the parameters cell, and the number and text under which it was last run in this kernel."""
        cell = next((c for c in self._code_cells() if "parameters" in c["metadata"].get("tags", [])), None)
        if cell is None:
            return None
        first = "".join(cell["source"]).partition(":")[0] + ":"
        history = self._shell.user_ns.get("In", [])
        ran = [number for number, text in enumerate(history) if text.startswith(first)]
        return (cell, ran[-1], history[ran[-1]]) if ran else None

    def _set_parameters(self, cell: dict[str, Any], count: int, text: str) -> None:
        """Note when the parameters were set; changed ones are archived as papermill archives them: in a cell below."""
        cell["execution_count"] = count
        if text.strip() == "".join(cell["source"]).strip():
            return
        lines = ["# Parameters", *(f"{name} = {value!r}" for name, value in self._parameters.items())]
        injected = {
            "cell_type": "code",
            "id": "changed-parameters",
            "metadata": {"tags": [INJECTED]},
            "execution_count": count,
            "outputs": [],
            "source": "\n".join(lines),
        }
        cells = self._notebook["cells"]
        cells.insert(cells.index(cell) + 1, injected)

    def _on_cell(self, info: Any) -> None:
        if not info.silent:
            self._begin(self._cell_of(info.cell_id, info.raw_cell))

    def _begin(self, cell: dict[str, Any]) -> None:
        cell["outputs"] = []
        self._running = cell
        for name, tee in self._printed.items():
            tee.outputs = cell["outputs"]
            setattr(sys, name, tee)

    def _cell_of(self, cell_id: str | None, text: str) -> dict[str, Any]:
        cells = [cell for cell in self._code_cells() if INJECTED not in cell["metadata"].get("tags", [])]
        for cell in cells:
            if cell.get("id") == cell_id:
                cell["source"] = text  # as it ran: `runbooks verify` compares it with the shipped one
                return cell
        for cell in cells:
            if "".join(cell["source"]).strip() == text.strip():
                return cell
        return self._added(text)

    def _added(self, text: str) -> dict[str, Any]:
        """Keep what the operator ran in a cell of their own: as text, since it is no code of the runbook."""
        cell = {
            "cell_type": "markdown",
            "id": f"own-{len(self._notebook['cells'])}",
            "metadata": {"tags": [OWN]},
            "source": f"*Run by the operator, in a cell of their own:*\n\n{indent(text, ' ' * 4, lambda _: True)}",
        }
        done = [n for n, c in enumerate(self._notebook["cells"]) if c.get("execution_count")]
        self._notebook["cells"].insert(done[-1] + 1 if done else 0, cell)
        return {"outputs": []}  # what it showed belongs to no cell of the runbook

    def _on_display(self, message: dict[str, Any]) -> dict[str, Any]:
        content, cell = message.get("content", {}), self._running
        data = _whole(content.get("data", {}))
        shown = message["msg_type"] == "display_data" and WIDGET not in content["data"]
        if cell is not None and shown:
            output = {"output_type": "display_data", "metadata": content["metadata"], "data": data}
            cell["outputs"].append(output)
            if display_id := content.get("transient", {}).get("display_id"):
                self._displays[display_id] = output
        return message

    def _on_result(self, result: Any) -> None:
        cell, self._running = self._running, None
        self._release()
        if cell is None:
            return
        cell["execution_count"] = result.execution_count
        error = result.error_before_exec or result.error_in_exec
        if error is not None:
            cell["outputs"].append(
                {
                    "output_type": "error",
                    "ename": type(error).__name__,
                    "evalue": str(error),
                    "traceback": list(getattr(self._shell, "_last_traceback", None) or []),
                }
            )
        if self.write() and error is None:
            self._after()

    def _release(self) -> None:
        for name, tee in self._printed.items():
            if getattr(sys, name) is tee:
                setattr(sys, name, tee.stream)


def _whole(data: Mapping[str, Any]) -> dict[str, Any]:
    """Return what was shown with its names unbroken, so that a secret in it is found, and without a widget."""
    kept = {kind: value for kind, value in data.items() if kind != WIDGET}
    if isinstance(html := kept.get("text/html"), str):
        kept["text/html"] = html.replace("<wbr>", "")
    return kept


class _Tee:
    """Writes to a stream, and into the outputs of the cell that runs."""

    def __init__(self, name: str, stream: TextIO) -> None:
        self.name = name
        self.stream = stream
        self.outputs: list[dict[str, Any]] = []

    def write(self, text: str) -> int:
        last = self.outputs[-1] if self.outputs else {}
        if last.get("output_type") == "stream" and last["name"] == self.name:
            last["text"] += text
        elif text:
            self.outputs.append({"output_type": "stream", "name": self.name, "text": text})
        return self.stream.write(text)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.stream, name)
