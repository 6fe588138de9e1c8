"""A run whose archived notebook was written by somebody hostile, opened as a page in a real browser: no script runs."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from runbooks_lib.archive.run import Run
from runbooks_lib.report.html.index import write_site
from runbooks_lib.report.html.pages import write_pages

from ..faults.campaign import fault

if TYPE_CHECKING:
    from playwright.sync_api import Browser

DEED = "window.hacked = true; alert('hacked'); fetch('http://127.0.0.1:9/hacked')"
MARKUP = (
    f"<script>{DEED}</script>",
    f'<img src="http://127.0.0.1:9/hacked.png" onerror="{DEED}">',
    f'<svg onload="{DEED}"><animate onbegin="{DEED}"/></svg>',
    '<iframe srcdoc="<script>parent.hacked = true</script>"></iframe>',
    '<iframe src="javascript:parent.hacked=true"></iframe>',
    f'<a href="javascript:{DEED}" id="hostile">look</a>',
    f'<details open ontoggle="{DEED}"><summary>x</summary></details>',
    '<style>@import "http://127.0.0.1:9/hacked.css"; * { background: url(http://127.0.0.1:9/hacked.png) }</style>',
    '<meta http-equiv="refresh" content="0; url=http://127.0.0.1:9/hacked"><base href="http://127.0.0.1:9/">',
    f'<form action="http://127.0.0.1:9/"><button autofocus onfocus="{DEED}">x</button></form>',
    f"[look](javascript:{DEED.replace(' ', '')}) ![x](http://127.0.0.1:9/hacked.png)",
    f"</td></table></main></body><math><mtext></p><script>{DEED}</script>",
    f'<noscript><p title="</noscript><img src=x onerror={DEED.replace(" ", "")}>"></noscript>',
)
KINDS = {
    "an output in HTML": lambda text: {"output_type": "display_data", "metadata": {}, "data": {"text/html": text}},
    "an output in plain text": lambda text: {
        "output_type": "display_data", "metadata": {}, "data": {"text/plain": text},
    },
    "an output in Markdown": lambda text: {
        "output_type": "display_data", "metadata": {}, "data": {"text/markdown": text},
    },
    "an output in SVG": lambda text: {
        "output_type": "display_data", "metadata": {}, "data": {"image/svg+xml": text},
    },
    "a script as an output": lambda text: {
        "output_type": "display_data", "metadata": {}, "data": {"application/javascript": DEED},
    },
    "what was printed": lambda text: {"output_type": "stream", "name": "stdout", "text": text},
    "an error": lambda text: {"output_type": "error", "ename": text, "evalue": text, "traceback": [text]},
    "a cell of Markdown": None,
    "a cell of code": None,
}  # fmt: skip


def write_hostile(path: Path, where: str) -> None:
    """Put all of it into a notebook, in one kind of place."""
    content = json.loads(path.read_text("utf-8"))
    codes = [cell for cell in content["cells"] if cell["cell_type"] == "code"]
    texts = [cell for cell in content["cells"] if cell["cell_type"] == "markdown"]
    make = KINDS[where]
    for number, markup in enumerate(MARKUP):
        if make is not None:
            codes[number % len(codes)].setdefault("outputs", []).append(make(markup))
        else:
            cells = texts if where == "a cell of Markdown" else codes
            cells[number % len(cells)]["source"] = markup
    path.write_text(json.dumps(content), "utf-8")


@fault(
    kind="input",
    fault="an archived notebook is malicious: {where}; {policy}",
    injected="a dozen ways to have a script run or something loaded, in a notebook of a run that is drawn anew",
    seen="opened in Chromium: no dialog, no request, no variable of theirs, no other address",
    told="the page; what was hostile is text in it, or left out",
    goes_on="runbooks verify says that the notebook is not the one that ran",
    fast=True,
)
@pytest.mark.parametrize("policy", ["the page's own policy holds", "the page's policy is switched off"])
@pytest.mark.parametrize("where", KINDS)
def test_no_script_of_a_notebook_runs(
    browser: Browser, make_run: Callable[..., Run], tmp_path: Path, where: str, policy: str
) -> None:
    made = make_run(tmp_path, evidence="applied")
    write_hostile(made.path / "06_api_routes.ipynb", where)
    write_pages(made)
    write_site(tmp_path)
    context = browser.new_context(bypass_csp="off" in policy)
    said: list[str] = []
    try:
        page = context.new_page()
        page.on("dialog", lambda dialog: (said.append(f"dialog: {dialog.message}"), dialog.dismiss()))
        page.on("request", lambda request: said.append(f"request: {request.url}"))
        for name in (made.path / "06_api_routes.html", made.path / "report.html", tmp_path / "index.html"):
            said.clear()
            page.goto(name.as_uri())
            page.wait_for_timeout(100)
            assert said == [f"request: {name.as_uri()}"]
            assert page.evaluate("window.hacked === undefined")
            assert page.locator("iframe, object, embed, form[action], a[href^='javascript:']").count() == 0
            assert page.url == name.as_uri()
    finally:
        context.close()
