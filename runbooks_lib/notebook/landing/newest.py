"""A phase's newest run as the landing page sees it, and what is to be pressed next."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cached_property
from typing import NamedTuple

from runbooks_lib.amounts import moment
from runbooks_lib.archive.run import Run
from runbooks_lib.evidence import Evidence, Record, step_name
from runbooks_lib.findings import CLOSING, Verdict
from runbooks_lib.notebook.front_end import link_to
from runbooks_lib.notebook.landing.panel import Bundle
from runbooks_lib.phase import STEPS
from runbooks_lib.visible import visible_html

# In the colours of the front end's own primary buttons.
BUTTON = (
    "<style>p.runbooks-following a.runbooks-next.runbooks-next{display:inline-block;padding:5px 14px;"
    "border-radius:2px;text-decoration:none;background:var(--jp-brand-color1,#1976d2);"
    "color:var(--jp-ui-inverse-font-color1,#fff)}</style>"
)


class Newest:
    """A phase's newest run as it was at one look: nothing of it is read twice. `where` tells why it is not of here."""

    def __init__(self, run: Run, where: Callable[[Evidence], str]) -> None:
        self.run = run
        self._where = where

    @cached_property
    def evidence(self) -> Evidence:
        """Return what is recorded of it."""
        return self.run.evidence()

    @cached_property
    def why(self) -> str:
        """Return why it says nothing of the servers that answer now; empty when it is of these."""
        return self._where(self.evidence)

    @property
    def records(self) -> Mapping[str, Record]:
        """Return what its steps recorded at the servers that answer now."""
        return {} if self.why else self.evidence.records

    @property
    def goes_on(self) -> bool:
        """Tell whether it is in progress, at the servers that answer now."""
        return self.evidence.header.finished_at is None and not self.why

    @property
    def state(self) -> str:
        """Return whether it goes on, or how it ended, and why it is not of these servers."""
        header = self.evidence.header
        state = f"{header.verdict} at {moment(header.finished_at)}" if header.finished_at else "in progress"
        return f"{self.run.id}, {state}{f'; {self.why}' if self.why else ''}"


class Ahead(NamedTuple):
    """What comes next: a link, what is said before and after it, and whether it is the page's primary button."""

    before: str
    name: str
    link: str
    after: str = ""
    primary: bool = True

    def bundle(self) -> Bundle:
        """Return it as HTML, as Markdown, and as plain text."""
        text = f"{self.before}[{self.name}]({self.link}){self.after}"
        before, name, link, after = map(visible_html, (self.before, self.name, self.link, self.after))
        kind = "runbooks-next" if self.primary else ""
        html = f'{BUTTON}<p class="runbooks-following">{before}<a class="{kind}" href="{link}">{name}</a>{after}</p>'
        return {"text/html": html, "text/markdown": text, "text/plain": text}


def ahead_of(newest: Newest | None, *, begin: bool) -> Ahead:
    """Return what comes next after what is recorded of the newest run; `begin` says whether a run can be begun here."""
    left = [step for step in STEPS if newest is None or not _has_passed(newest.records.get(step))]
    if newest is not None and not left:
        report = link_to(newest.run.path / "report.html")
        open_items = any(record.verdict is Verdict.OPEN for record in newest.records.values())
        before = f"Every step of this run has passed{', and items are left open' if open_items else ''}: "
        return Ahead(before, "read its report", report, ", or begin another run above.")
    if newest is not None and newest.goes_on:
        record = newest.records.get(left[0])
        stopped = record is not None and any(answer.verdict in CLOSING for answer in record.answers.values())
        before = "It was stopped: mend what it names, and run it again: " if stopped else "Next: "
        return Ahead(before, step_name(left[0]), f"{step_name(left[0])}.ipynb")
    first = step_name(STEPS[0])
    why = f"{_why_not(newest)}Next: " if newest else "Next: "
    if not begin:
        return Ahead(why, first, f"{first}.ipynb")
    press = "press Begin a run above, or open "
    return Ahead(f"{why}{press}", first, f"{first}.ipynb", ", which begins one.", primary=False)


def _why_not(newest: Newest) -> str:
    if newest.why:
        return f"Not begun here: run {newest.run.id} is in the archive, and {newest.why}. "
    return f"Run {newest.run.id} has ended as {newest.evidence.header.verdict}. "


def _has_passed(record: Record | None) -> bool:
    return record is not None and record.verdict is not None and record.verdict not in CLOSING
