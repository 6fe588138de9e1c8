"""What a notebook shows: one table per question, and the gate below it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import Any, Protocol

from IPython.display import display

from runbooks_lib.findings import CLOSING, Answer, Finding, Verdict, in_short, worst
from runbooks_lib.findings import gate as close_or_pass
from runbooks_lib.notebook.front_end import front_end
from runbooks_lib.notebook.style import STYLE, badge, verdict_in
from runbooks_lib.report.templates import breakable
from runbooks_lib.report.verdicts import SYMBOLS
from runbooks_lib.visible import visible_lines

# Characters from which on a word, such as a hash or a name, may be broken over lines; only where a person looks: in an
# archive a secret must be found as it is.
LONG = 16
TOO_LONG = 40  # a word that an archived notebook breaks anywhere, since nothing is put into it there
HASH = re.compile(r"([0-9a-f]{16})(?=[0-9a-f])")
JUDGED = ("verdict", "light")  # the columns that say how it is
MANY = 10  # findings from which on one wants to search them, and those of a check that passed are one line


class Shows(Protocol):
    """What displays itself: a decision, with its form."""

    def show(self) -> None:
        """Display it."""


def show(answer: Answer | Shows) -> None:
    """Display an answer: the count of its verdicts, its one table, and below it every finding that is not PASS.

    Where there is no such table every finding is shown, of a check with very many that passed one line for these. At a
    front end all findings can be searched below.
    """
    if not isinstance(answer, Answer):
        answer.show()
        return
    display(prose(summary(answer.findings)), raw=True)
    if answer.rows:
        table(answer.rows)
    others = [f for f in answer.findings if f.verdict is not Verdict.PASS] if answer.rows else answer.findings
    if others:
        table(finding_rows(in_short(others, many=MANY)))
    if front_end() and len(answer.findings) > MANY:
        from runbooks_lib.notebook.explorer import explorer  # ipywidgets, of no use where nobody searches

        display(explorer(answer.findings))


def prose(text: str) -> dict[str, str]:
    """Return Markdown for a front end, and the same as plain text."""
    shown = visible_lines(text)
    return {"text/markdown": shown, "text/plain": shown}


def gate(findings: Iterable[Finding], *, at_end: bool = False) -> None:
    """Say that the gate is passed, or stop the notebook; with `at_end` it goes on, and closing the step stops it.

    Raises GateClosed, naming each FAIL and ERROR; also when there are no findings.
    """
    judged = tuple(findings)
    if not (at_end and judged):
        close_or_pass(judged)
    closed = worst(judged) in CLOSING
    said = "This stops the step at its end; the other questions are asked first" if closed else "Gate passed"
    display(prose(f"**{said}** — {summary(judged)}"), raw=True)


def summary(findings: Iterable[Finding]) -> str:
    """Return how many findings there are of each verdict, the worst first, as one line of Markdown."""
    verdicts = [finding.verdict for finding in findings]
    counts = [(verdict, verdicts.count(verdict)) for verdict in reversed(Verdict)]
    return " · ".join(f"{SYMBOLS[v]} {n} {v}" for v, n in counts if n) or "no findings"


def table(rows: Sequence[Mapping[str, Any]]) -> None:
    """Display rows as a table: HTML for a front end, aligned text for everything else."""
    display(bundle_of(rows), raw=True)


def bundle_of(rows: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """Return rows as a table in HTML and in plain text.

    What stands in a cell is text, wherever it comes from: no markup of it reaches the page.
    """
    columns = list(dict.fromkeys(column for row in rows for column in row))
    cells = [[visible_lines(_said(row.get(c))) for c in columns] for row in rows]
    head = "".join(f"<th>{_marked_up(column)}</th>" for column in columns)
    body = "".join(f"<tr>{''.join(map(_cell, columns, row))}</tr>\n" for row in cells)
    html = f'{STYLE}<table class="runbooks">\n<thead><tr>{head}</tr></thead>\n<tbody>\n{body}</tbody></table>'
    return {"text/html": html, "text/plain": _aligned([columns, *cells])}


def _said(value: object) -> str:
    """Return a value as people write it: yes and no, and nothing for what is not known."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "" if value is None else str(value)


def _cell(column: str, text: str) -> str:
    found = verdict_in(text) if column in JUDGED or text.startswith(tuple(f"{v} " for v in CLOSING)) else ""
    kind = (
        f"verdict {found}" if found else "long" if any(len(word) > TOO_LONG for word in text.split()) else ""
    )
    return f'<td class="{kind}">{_marked_up(text)}</td>' if kind else f"<td>{_marked_up(text)}</td>"


def _marked_up(text: str) -> str:
    long = front_end() and any(len(word) > LONG for word in text.split())
    return HASH.sub(r"\1<wbr>", str(breakable(text))) if long else escape(text)


def _aligned(lines: Sequence[Sequence[str]]) -> str:
    """Return lines of cells as text, each column as wide as its widest cell."""
    flat = [[" ".join(cell.split("\n")) for cell in line] for line in lines]
    widths = [max(map(len, column)) for column in zip(*flat, strict=True)]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in flat
    )


def finding_rows(findings: Iterable[Finding]) -> list[dict[str, str]]:
    """Return findings as rows of a table, in words for people: the verdict with its symbol first."""
    return [
        {
            "verdict": badge(f.verdict),
            "check": f.check,
            "target": f.target,
            "object": f.object,
            "found": f.have,
            "expected": f.want,
            "hint": f.hint,
        }
        for f in findings
    ]
