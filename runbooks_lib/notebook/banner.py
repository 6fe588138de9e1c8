"""The verdict of a walk-through at the very top of its notebook, and the front end led to where it stopped or waits.

It is a widget: what changes it reaches the page at once, whichever cell runs, and nothing of it is archived.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Collection, Mapping
from html import escape
from typing import Any, ClassVar

import ipywidgets
from IPython.display import display

from runbooks_lib.errors import RunbookError, Waiting
from runbooks_lib.evidence import Record
from runbooks_lib.findings import CLOSING, Verdict, worst_of
from runbooks_lib.notebook.style import STYLE, badge
from runbooks_lib.visible import visible_html

LINES = 3  # of an error are told at the top
FALLBACK = "The verdict of this notebook stands here, where the front end can draw it."
# A widget's HTML runs no script of its own, but that of a picture that cannot be drawn. It is taken out at once, and
# never saved: a notebook that is opened again must not act.
ACT = '<img src="data:," alt="" hidden onerror="{}">'
LEAD = """(() => {{
  const top = document.querySelector('.{top}'); if (!top) return;
  top.setAttribute('role', 'status'); top.setAttribute('aria-live', 'polite');
  const book = top.closest('.jp-Notebook') || document;
  const go = () => {{
    const cells = [...book.querySelectorAll('.jp-CodeCell')];
    const cell = cells.find({which}); if (!cell) return;
    {then}
  }};
  {when}
}})()"""
BY_COUNT = "c => c.querySelector('.jp-InputArea-prompt')?.textContent.trim() === '[{}]:'"
BY_FORM = "c => c.querySelector('.{}')"
SCROLL = "cell.scrollIntoView({block: cell.offsetHeight > innerHeight / 2 ? 'start' : 'center'});"
# What JupyterLab's own menu does: make the gate below the form the active cell, and run it and all below. Commands are
# taken without a question from what a cell showed that this person ran.
RUN_ON = """const gate = cells[cells.indexOf(cell) + 1]; if (!gate) return;
    for (const type of ['mousedown', 'mouseup'])
      gate.querySelector('.jp-InputArea-prompt').dispatchEvent(new MouseEvent(type, {bubbles: true, button: 0}));
    const button = document.createElement('button');
    button.dataset.commandlinkerCommand = 'notebook:run-all-below';
    button.dataset.commandlinkerArgs = '{}';
    (cell.querySelector('.jp-mod-trusted') || document.body).append(button); button.click(); button.remove();"""
AT_ONCE, ALSO_LATER = "go();", "for (const ms of [0, 300, 900]) setTimeout(go, ms);"


class Banner:
    """Says how the notebook stands after each of its cells; a kernel has one at a time.

    `headings` are those of the questions, by question. `record` says what the step has recorded, once it is opened.
    """

    running: ClassVar[Banner | None] = None

    def __init__(self, shell: Any, headings: Mapping[str, str]) -> None:
        if Banner.running is not None:
            Banner.running.stop()
        Banner.running = self
        self.record: Callable[[], Record | None] = lambda: None
        self._shell = shell
        self._headings = headings
        self._top = f"runbooks-top-{secrets.token_hex(4)}"
        self._said = ipywidgets.HTML(layout=ipywidgets.Layout(width="100%"))
        self._act = ipywidgets.HTML()
        self._act.layout.display = "none"
        self._box = ipywidgets.VBox([self._said, self._act])
        self._box.add_class(self._top)
        self._box.add_class("runbooks-top")
        shell.events.register("post_run_cell", self._after)
        shell.set_custom_exc((Waiting,), _wait)

    def show(self) -> None:
        """Display it, above everything that the notebook shows."""
        self._say(Verdict.SKIP, "This notebook is at work.")
        bundle = self._box._repr_mimebundle_()
        display(dict(bundle) | {"text/plain": FALLBACK}, raw=True)

    def stop(self) -> None:
        """Say nothing more: another notebook is opened in this kernel."""
        self._shell.events.unregister("post_run_cell", self._after)

    def run_on(self, form: str) -> None:
        """Have the front end run the cell below the one that holds a form, and all below."""
        self._lead(BY_FORM.format(form), RUN_ON, AT_ONCE)

    def _after(self, result: Any) -> None:
        """Say how it stands after a cell, and lead to that cell if it stopped the notebook."""
        error = result.error_before_exec or result.error_in_exec
        record = self.record()
        if isinstance(error, Waiting):
            self._say(Verdict.SKIP, "Waiting for you", f"{error}")
            self._lead(BY_FORM.format("runbooks-form"), SCROLL, ALSO_LATER)
        elif error is not None:
            self._say(
                _verdict(record), f"Stopped at In [{result.execution_count}]", *self._why(error, record)
            )
            self._lead(BY_COUNT.format(result.execution_count), SCROLL, ALSO_LATER)
        elif record is not None and record.finished_at and record.verdict:
            self._say(record.verdict, "This step is done.")
        elif record is not None:
            self._say(
                Verdict.SKIP, f"At work: {len(record.answers)} of {len(self._headings)} questions asked."
            )

    def _why(self, error: BaseException, record: Record | None) -> list[str]:
        told = f"{error}" if isinstance(error, RunbookError) else f"{type(error).__name__}: {error}"
        lines = [line for line in told.splitlines() if line.strip()]
        more = [f"and {len(lines) - LINES} more lines, below"] if len(lines) > LINES else []
        return [*lines[:LINES], *more, *self._not_reached(record.answers if record else ())]

    def _not_reached(self, answers: Collection[str]) -> list[str]:
        left = [heading for question, heading in self._headings.items() if question not in answers]
        return [f"Not reached: {' '.join(left)}"] if left else []

    def _say(self, verdict: Verdict, title: str, *lines: str) -> None:
        symbol = f"{badge(verdict)} · " if verdict is not Verdict.SKIP else ""
        told = "".join(f"<br>{visible_html(line.strip())}" for line in lines)
        self._said.value = (
            f'{STYLE}<div class="runbooks" style="border-left: 4px solid var(--{verdict.lower()}); '
            f'padding: 2px 10px; line-height: 1.5"><b class="{verdict}">{symbol}{visible_html(title)}</b>{told}</div>'
        )

    def _lead(self, which: str, then: str, when: str) -> None:
        script = LEAD.format(top=self._top, which=which, then=then, when=when)
        self._act.value = ACT.format(escape(script))
        self._act.value = ""


def _verdict(record: Record | None) -> Verdict:
    """Return the worst answer's verdict, if it closes the gate; else what stopped the notebook is an ERROR."""
    found = worst_of(answer.verdict for answer in record.answers.values()) if record else Verdict.ERROR
    return found if found in CLOSING else Verdict.ERROR


def _wait(shell: Any, kind: Any, error: BaseException, trace: Any, tb_offset: int | None = None) -> None:
    """Show one calm line where a notebook waits, and no error; the front end stops all the same."""
    display(
        {"text/markdown": f"**Waiting for you.** {error}", "text/plain": f"Waiting for you. {error}"},
        raw=True,
    )
