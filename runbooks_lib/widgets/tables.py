"""What a notebook shows: one table per question, and the gate below it."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import pandas as pd
from IPython.display import Markdown, display

from runbooks_lib.findings import Answer, Finding, Verdict
from runbooks_lib.findings import gate as close_or_pass

SYMBOLS = {Verdict.PASS: "✔", Verdict.OPEN: "◌", Verdict.FAIL: "✘", Verdict.ERROR: "‼", Verdict.SKIP: "–"}
# Dark enough on white and distinct without colour vision; the symbol and the word say the same.
COLOURS = {
    Verdict.PASS: "#00663d",
    Verdict.OPEN: "#8a5a00",
    Verdict.FAIL: "#b3001b",
    Verdict.ERROR: "#7a0099",
}
TEXT_WIDTH = 160


def show(answer: Answer) -> None:
    """Display an answer: the count of its verdicts, its one table, and below it every finding that is not PASS."""
    display(Markdown(summary(answer.findings)))
    if answer.rows:
        table(answer.rows)
    others = [f for f in answer.findings if f.verdict is not Verdict.PASS] if answer.rows else answer.findings
    if others:
        table([_row(finding) for finding in others])


def gate(findings: Iterable[Finding]) -> None:
    """Say that the gate is open, or stop the notebook.

    Raises GateClosed, naming each FAIL and ERROR; also when there are no findings.
    """
    judged = tuple(findings)
    close_or_pass(judged)
    display(Markdown(f"**Gate open** — {summary(judged)}"))


def summary(findings: Iterable[Finding]) -> str:
    """Return how many findings there are of each verdict, the worst first, as one line of Markdown."""
    verdicts = [finding.verdict for finding in findings]
    counts = [(verdict, verdicts.count(verdict)) for verdict in reversed(Verdict)]
    return " · ".join(f"{SYMBOLS[v]} {n} {v}" for v, n in counts if n) or "no findings"


def table(rows: Sequence[Mapping[str, Any]]) -> None:
    """Display rows as a table: HTML for a front end, aligned text for everything else.

    What stands in a cell is text, wherever it comes from: no markup of it reaches the page.
    """
    columns = list(dict.fromkeys(column for row in rows for column in row))
    cells = [["" if row.get(c) is None else str(row[c]) for c in columns] for row in rows]
    frame = pd.DataFrame(cells, columns=columns, dtype=object)
    with pd.option_context("display.max_colwidth", None, "display.width", TEXT_WIDTH):
        text = frame.to_string(index=False, justify="left")
    styler = frame.style.hide(axis="index").set_table_attributes('class="runbooks"')
    styler = styler.set_properties(
        **{"text-align": "left", "white-space": "pre-wrap", "vertical-align": "top"}
    )
    styler = styler.set_table_styles([{"selector": "th", "props": "text-align: left"}])
    if "verdict" in frame:
        styler = styler.map(_style, subset=["verdict"])
    styler = styler.format(escape="html").format_index(escape="html", axis="columns")
    # Every table of a page needs its own id, or the colours of one would be those of another.
    html = styler.set_uuid(hashlib.sha256(text.encode()).hexdigest()[:12]).to_html()
    display({"text/html": html, "text/plain": text}, raw=True)


def _row(finding: Finding) -> dict[str, str]:
    row = finding.to_dict()
    return {"verdict": f"{SYMBOLS[finding.verdict]} {row.pop('verdict')}", **row}


def _style(cell: str) -> str:
    colour = next((c for verdict, c in COLOURS.items() if cell.endswith(verdict)), "inherit")
    return f"color: {colour}; font-weight: bold"
