"""How a notebook's own outputs look: the verdicts' colours on light and on dark ground, in one style sheet."""

from __future__ import annotations

from runbooks_lib.findings import Verdict
from runbooks_lib.report.verdicts import SYMBOLS, variables

# Outputs bring their own: no front end has a file of ours. JupyterLab and VS Code say which theme is on.
STYLE = (
    "<style>"
    f".runbooks{{{variables(dark=False)}}}"
    "[data-jp-theme-light=false] .runbooks,.vscode-dark .runbooks,.vscode-high-contrast .runbooks"
    f"{{{variables(dark=True)}}}"
    "table.runbooks.runbooks th,table.runbooks.runbooks td{text-align:left;vertical-align:top;white-space:pre-wrap;"
    "overflow-wrap:break-word}"
    "table.runbooks.runbooks td.long{overflow-wrap:anywhere}"
    ".runbooks b a:link,.runbooks b a:visited{color:inherit;text-decoration:underline}"
    ".jp-Notebook .jp-OutputArea-output pre{word-break:normal;overflow-wrap:break-word}"  # JupyterLab's cut words
    ".runbooks-itself,.jp-Notebook .runbooks-by-hand{display:none}.jp-Notebook .runbooks-itself{display:inline}"
    ".runbooks .verdict{font-weight:bold}table.runbooks.runbooks td.verdict{white-space:nowrap}"
    # ipywidgets draws the arrow of a dropdown as a black picture: there the browser's own is seen.
    "[data-jp-theme-light=false] .widget-dropdown>select{appearance:auto;color-scheme:dark;background-image:none}"
    + "".join(f".runbooks .{v}{{color:var(--{v.lower()})}}" for v in Verdict)
    + "</style>"
)


def runs_on(itself: str, by_hand: str) -> str:
    """Return what is said where the cells below run by themselves, in JupyterLab, and where a person runs them."""
    spans = (("runbooks-itself", itself), ("runbooks-by-hand", by_hand))
    return "".join(f'<span class="{name}">{said}</span>' for name, said in spans)


def badge(verdict: Verdict) -> str:
    """Return a verdict as text: its symbol, and the word."""
    return f"{SYMBOLS[verdict]} {verdict}"


def verdict_in(cell: str) -> str:
    """Return the verdict that a cell's text shows, by its word or by its symbol alone, else nothing."""
    found = (v.value for v in Verdict if cell.endswith(v) or cell.startswith((SYMBOLS[v], f"{v} ")))
    return next(found, "")
