"""What a notebook shows: one table per question, and the gate below it."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Protocol

import pandas as pd
from IPython.display import display
from pandas.io.formats.style import Styler

from runbooks_lib.findings import CLOSING, Answer, Finding, Verdict, in_short, worst
from runbooks_lib.findings import gate as close_or_pass
from runbooks_lib.notebook.front_end import front_end
from runbooks_lib.notebook.verdicts import COLOURS, SYMBOLS
from runbooks_lib.visible import visible_lines

TEXT_WIDTH = 160
LONG = 30  # characters from which on a word, such as a hash or a name, may be broken over lines
MANY = 10  # findings from which on one wants to search them


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
        table(finding_rows(in_short(others)))
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
    cells = [["" if row.get(c) is None else visible_lines(str(row[c])) for c in columns] for row in rows]
    frame = pd.DataFrame(cells, columns=columns, dtype=object)
    with pd.option_context("display.max_colwidth", None, "display.width", TEXT_WIDTH):
        text = frame.to_string(index=False, justify="left")
    # Every table of a page needs its own id, or the colours of one would be those of another.
    styler = Styler(frame, uuid=hashlib.sha256(text.encode()).hexdigest()[:12], cell_ids=False)
    styler = styler.hide(axis="index").set_table_attributes('class="runbooks"')
    if "verdict" in frame:
        styler = styler.set_td_classes(frame[["verdict"]].map(_verdict_of))
    styler = styler.set_table_styles(_styles(columns, cells))
    styler = styler.format(escape="html").format_index(escape="html", axis="columns")
    return {"text/html": styler.to_html(), "text/plain": text}


def _styles(columns: Sequence[str], cells: Sequence[Sequence[str]]) -> list[Any]:
    """Return the rules of a table: of all cells, of columns, of verdicts; a rule for each cell would be most of it."""
    rules = {"th": "text-align: left", "td": "text-align: left; white-space: pre-wrap; vertical-align: top"}
    for number, column in enumerate(columns):
        if column == "verdict":
            rules[f".col{number}"] = "font-weight: bold; white-space: nowrap"
            rules |= {f"td.{verdict}": f"color: {colour}" for verdict, colour in COLOURS.items()}
        elif any(len(word) > LONG for row in cells for word in row[number].split()):
            rules[f".col{number}"] = "overflow-wrap: anywhere; min-width: 10em"
    return [{"selector": selector, "props": props} for selector, props in rules.items()]


def finding_rows(findings: Iterable[Finding]) -> list[dict[str, str]]:
    """Return findings as rows of a table: the verdict with its symbol first."""
    return [
        {"verdict": "", **f.to_dict()} | {"verdict": f"{SYMBOLS[f.verdict]} {f.verdict}"} for f in findings
    ]


def _verdict_of(cell: str) -> str:
    """Return the verdict that a cell ends with, as the class of the cell."""
    return next((verdict.value for verdict in Verdict if cell.endswith(verdict)), "")
