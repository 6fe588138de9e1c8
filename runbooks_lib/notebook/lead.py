"""Leads JupyterLab to a cell, and has it run the cells below a form; another front end takes no notice.

A widget's HTML runs no script of its own, but that of a picture that cannot be drawn. It is taken out at once, and
never saved: a notebook that is opened again must not act.
"""

from __future__ import annotations

import json
import secrets
from html import escape
from typing import Any

import ipywidgets

FORM = "runbooks-form"
GO = "runbooks-go"  # a link that leads to the cell again
ACT = '<img src="data:," alt="" hidden onerror="{}">'
LEAD = """(() => {{
  const top = document.querySelector('.{top}'); if (!top) return;
  top.setAttribute('role', 'status'); top.setAttribute('aria-live', 'polite');
  const book = top.closest('.jp-Notebook'); if (!book) return;
  book.querySelectorAll('.runbooks-unreached').forEach(each => each.remove());
  const go = () => {{
    const cells = [...book.querySelectorAll('.jp-CodeCell')];
    const cell = cells.find({which}); if (!cell) return;
    {then}
  }};
  {when}
}})()"""
BY_COUNT = "c => c.querySelector('.jp-InputArea-prompt')?.textContent.trim() === '[{}]:'"
BY_FORM = f"c => c.querySelector('.{FORM}')"
HERE = "c => c.contains(top)"
LAST = "(c, number) => number === cells.length - 1"
NOWHERE = "c => false"
ANSWER = "cell.querySelector('.runbooks-said').scrollIntoView({block: 'nearest'});"
SCROLL = "cell.scrollIntoView({block: cell.offsetHeight > innerHeight / 2 ? 'start' : 'center'});"
# Says in the last cell, which was not run, why it was not. It stands in the page alone.
UNREACHED = """
    const last = cells.at(-1);
    if (last !== cell && !book.querySelector('.runbooks-unreached')) {{
      const told = document.createElement('p');
      told.className = 'runbooks-unreached'; told.textContent = {told};
      told.style.margin = '4px 0 4px calc(var(--jp-cell-prompt-width) + 12px)';
      last.append(told);
    }}"""
# What JupyterLab's own menu does: make the gate below the form the active cell, and run it and all below. Commands are
# taken without a question from what a cell showed that this person ran.
RUN_ON = """const gate = cells[cells.indexOf(cell) + 1]; if (!gate) return;
    for (const type of ['mousedown', 'mouseup'])
      gate.querySelector('.jp-InputArea-prompt').dispatchEvent(new MouseEvent(type, {bubbles: true, button: 0}));
    const button = document.createElement('button');
    button.dataset.commandlinkerCommand = 'notebook:run-all-below';
    button.dataset.commandlinkerArgs = '{}';
    (cell.querySelector('.jp-mod-trusted') || document.body).append(button); button.click(); button.remove();"""
# JupyterLab draws cells late, and they push what is below them off the screen. Whoever scrolls, clicks or types
# meanwhile is left where they are.
ALSO_LATER = """const led = book.runbooksLed = {};
  for (const kind of ['wheel', 'pointerdown', 'keydown'])
    book.addEventListener(kind, () => { if (book.runbooksLed === led) book.runbooksLed = null; }, {once: true});
  for (const ms of [0, 300, 900, 1800, 3000]) setTimeout(() => { if (book.runbooksLed === led) go(); }, ms);"""
AT_ONCE = "go();"
ON_CLICK = (
    f"top.querySelectorAll('.{GO}').forEach("
    "link => link.onclick = event => { event.preventDefault(); go(); });"
)


class Lead:
    """A box for a notebook, to be displayed, and the ways from there."""

    def __init__(self, *shown: Any) -> None:
        self._name = f"runbooks-lead-{secrets.token_hex(4)}"
        self._act = ipywidgets.HTML()
        self._act.layout.display = "none"
        # Boxes have scroll bars of their own for a pixel too much.
        self.box = ipywidgets.VBox([*shown, self._act], layout=ipywidgets.Layout(overflow="visible"))
        self.box.add_class(self._name)

    def to_count(self, count: int, unreached: str) -> None:
        """Go to the cell of this execution count, now and by the links of the box; say in the last cell why so."""
        self._stopped(BY_COUNT.format(count), unreached)

    def to_form(self, unreached: str) -> None:
        """Go to the cell that holds a form; else as `to_count`."""
        self._stopped(BY_FORM, unreached)

    def to_answer(self, unreached: str) -> None:
        """Go to what a form says of what was entered; else as `to_form`."""
        self._stopped(BY_FORM, unreached, ANSWER)

    def here(self) -> None:
        """Go to the cell that shows the box."""
        self._do(HERE, SCROLL, ALSO_LATER)

    def to_end(self) -> None:
        """Go to the last cell."""
        self._do(LAST, SCROLL, ALSO_LATER)

    def run_on(self) -> None:
        """Run the cell below the form's, and all below."""
        self._do(BY_FORM, RUN_ON, AT_ONCE)

    def clear(self) -> None:
        """Take out what the last cell says, without going anywhere."""
        self._do(NOWHERE, "", "")

    def _stopped(self, which: str, unreached: str, scroll: str = SCROLL) -> None:
        then = scroll + UNREACHED.format(told=json.dumps(unreached))
        self._do(which, then, f"{ALSO_LATER} {ON_CLICK}")

    def _do(self, which: str, then: str, when: str) -> None:
        script = LEAD.format(top=self._name, which=which, then=then, when=when)
        self._act.value = ACT.format(escape(script))
        self._act.value = ""
