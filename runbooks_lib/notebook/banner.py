"""The verdict of a walk-through at the very top of its notebook, and the front end led to where it stopped or waits.

It is a widget: what changes it reaches the page at once, whichever cell runs, and nothing of it is archived.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Any, ClassVar

import ipywidgets
from IPython.display import display

from runbooks_lib.errors import RunbookError, Waiting
from runbooks_lib.evidence import Record
from runbooks_lib.findings import CLOSING, Verdict, worst_of
from runbooks_lib.notebook.lead import GO, Lead
from runbooks_lib.notebook.style import STYLE, badge
from runbooks_lib.visible import visible_html

LINES = 3  # of an error are told at the top
WAITING = "Waiting for you"
WAITS_ABOVE = f"Not reached yet. {WAITING}, above."
FALLBACK = "The verdict of this notebook stands here, where the front end can draw it."


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
        self._said = ipywidgets.HTML(layout=ipywidgets.Layout(width="auto"))
        self._lead = Lead(self._said)
        self._lead.box.add_class("runbooks-top")
        shell.events.register("post_run_cell", self._after)
        shell.set_custom_exc((Waiting,), _wait)

    def show(self) -> None:
        """Display it, above everything that the notebook shows."""
        self._say(Verdict.SKIP, "This notebook is at work.")
        bundle = self._lead.box._repr_mimebundle_()
        display(dict(bundle) | {"text/plain": FALLBACK}, raw=True)

    def stop(self) -> None:
        """Say nothing more: another notebook is opened in this kernel."""
        self._shell.events.unregister("post_run_cell", self._after)

    def run_on(self) -> None:
        """Have the front end run the cell below the one that holds a form, and all below."""
        self._lead.run_on()

    def to_answer(self) -> None:
        """Have the front end go to what a form says of what was entered; the notebook still waits."""
        self._lead.to_answer(WAITS_ABOVE)

    def _after(self, result: Any) -> None:
        """Say how it stands after a cell, and lead to that cell if it stopped the notebook."""
        error = result.error_before_exec or result.error_in_exec
        record = self.record()
        if isinstance(error, Waiting):
            self._say(Verdict.SKIP, WAITING, f"{error}", link=True)
            self._lead.to_form(WAITS_ABOVE)
        elif error is not None:
            where, why = f"Stopped at In [{result.execution_count}]", self._why(error, record)
            self._say(_verdict(record), where, *why, link=True)
            self._lead.to_count(result.execution_count, f"Not reached. {where}: {' '.join(why)}")
        elif record is not None and record.finished_at and record.verdict:
            self._say(record.verdict, "This step is done.")
            self._lead.to_end()
        elif record is not None:
            self._say(
                Verdict.SKIP, f"At work: {len(record.answers)} of {len(self._headings)} questions asked."
            )
            self._lead.clear()

    def _why(self, error: BaseException, record: Record | None) -> list[str]:
        told = f"{error}" if isinstance(error, RunbookError) else f"{type(error).__name__}: {error}"
        lines = [line for line in told.splitlines() if line.strip()]
        more = [f"and {len(lines) - LINES} more lines, below"] if len(lines) > LINES else []
        return [*lines[:LINES], *more, *self._not_reached(record.answers if record else ())]

    def _not_reached(self, answers: Collection[str]) -> list[str]:
        left = [heading for question, heading in self._headings.items() if question not in answers]
        return [f"Not reached: {' '.join(left)}"] if left else []

    def _say(self, verdict: Verdict, title: str, *lines: str, link: bool = False) -> None:
        """Say a verdict and why; with `link` the title leads to the cell that stopped the notebook, or waits."""
        symbol = f"{badge(verdict)} · " if verdict is not Verdict.SKIP else ""
        told = "".join(f"<br>{visible_html(line.strip())}" for line in lines)
        head = visible_html(title)
        head = f'<a class="{GO}" href="#">{head}</a>' if link else head
        self._said.value = (
            f'{STYLE}<div class="runbooks" style="border-left: 4px solid var(--{verdict.lower()}); '
            f'padding: 2px 10px; line-height: 1.5"><b class="{verdict}">{symbol}{head}</b>{told}</div>'
        )


def _verdict(record: Record | None) -> Verdict:
    """Return the worst answer's verdict, if it closes the gate; else what stopped the notebook is an ERROR."""
    found = worst_of(answer.verdict for answer in record.answers.values()) if record else Verdict.ERROR
    return found if found in CLOSING else Verdict.ERROR


def _wait(shell: Any, kind: Any, error: BaseException, trace: Any, tb_offset: int | None = None) -> None:
    """Show one calm line where a notebook waits, and no error; the front end stops all the same."""
    display(
        {"text/markdown": f"**{WAITING}.** {error}", "text/plain": f"{WAITING}. {error}"},
        raw=True,
    )
