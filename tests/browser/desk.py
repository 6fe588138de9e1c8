"""JupyterLab in a browser, and what an operator does there."""

from __future__ import annotations

import json
import os
import secrets
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from runbooks_lib.archive.run import Run, all_runs
from runbooks_lib.execution.jupyter import command, environment, lay_out
from runbooks_lib.lab.lab import Lab

if TYPE_CHECKING:
    from playwright.sync_api import Browser, ConsoleMessage

TIMEOUT_MS = 60_000
AT_HAND = """text => {
  const panel = document.querySelector('.jp-NotebookPanel:not(.lm-mod-hidden) .jp-WindowedPanel-outer');
  const view = panel.getBoundingClientRect();
  return [...panel.querySelectorAll('.jp-OutputArea *')].some(each => {
    if (!each.textContent.includes(text) || [...each.children].some(c => c.textContent.includes(text))) return false;
    const box = each.getBoundingClientRect();
    return box.height > 0 && box.top >= view.top && box.bottom <= view.bottom;
  });
}"""
# What of a notebook is ours: its texts and its outputs, not JupyterLab's own frame.
OURS = """async () => (await axe.run({
  include: [['.jp-NotebookPanel:not(.lm-mod-hidden) .jp-RenderedMarkdown'],
            ['.jp-NotebookPanel:not(.lm-mod-hidden) .jp-OutputArea-output']],
  exclude: [['.jp-collapseHeadingButton']],
})).violations.flatMap(v => v.nodes.map(n => `${v.id}: ${v.help}: ${n.html.slice(0, 160)}`))"""
TOO_WIDE = """() => {
  const panel = document.querySelector('.jp-NotebookPanel:not(.lm-mod-hidden)');
  return [...panel.querySelectorAll('.jp-OutputArea-output, .jp-OutputArea-output *')].filter(each =>
    each.clientWidth && each.scrollWidth > each.clientWidth + 1 && getComputedStyle(each).display !== 'inline'
    && getComputedStyle(each).textOverflow !== 'ellipsis').map(each => `${each.tagName} ${each.className}`);
}"""
PRIMARY = "button.mod-primary:visible, a.runbooks-next:visible"


class Desk:
    """A page of JupyterLab, and what an operator does there."""

    def __init__(self, browser: Browser, address: str, lab: Lab, runs: Path, axe: str) -> None:
        self.axe = axe
        self.page = browser.new_page(viewport={"width": 1280, "height": 800})
        self.lab = lab
        self.runs = runs
        self.complaints: list[str] = []
        self._address = address
        self.page.on("console", self._hear)
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))

    def _hear(self, message: ConsoleMessage) -> None:
        if message.type == "error":
            self.complaints.append(message.text)

    def open(self, name: str) -> None:
        """Open a notebook and wait until its kernel and the widgets are there."""
        self.page.goto(self._address.format(name))
        self.page.wait_for_selector(".jp-Notebook .jp-CodeCell", timeout=TIMEOUT_MS)
        self.page.wait_for_selector(".jp-Notebook-ExecutionIndicator[data-status=idle]", timeout=TIMEOUT_MS)
        self.page.wait_for_timeout(2500)  # late extensions; a kernel dialog shows by now
        if self.page.locator(".jp-Dialog .jp-mod-accept").count():
            self.page.locator(".jp-Dialog .jp-mod-accept").first.click()

    def run(self, item: str = "Run All Cells") -> None:
        """Choose an item of the menu Run."""
        self.page.locator(".lm-MenuBar-itemLabel", has_text="Run").click()
        self.page.locator(".lm-Menu-itemLabel", has_text=item).first.click()

    def see(self, text: str) -> str:
        """Wait until a text is shown; return the whole of its element."""
        return str(self.page.locator(f":text({json.dumps(text)})").first.inner_text(timeout=TIMEOUT_MS))

    def at_hand(self, text: str) -> None:
        """Wait until a text of an output stands inside the viewport, without anybody scrolling there."""
        self.page.wait_for_function(AT_HAND, arg=text, timeout=TIMEOUT_MS)

    def calm(self) -> None:
        """Nothing on the page says that something is wrong."""
        said = self.page.locator(".jp-Notebook").first.text_content() or ""
        assert [word for word in (">FAIL<", "✘ FAIL", "FAIL ", "ERROR ", "Traceback") if word in said] == []
        assert self.page.locator(".jp-RenderedText[data-mime-type*=stderr], .jp-mod-error").count() == 0

    def offered(self, name: str) -> None:
        """Wait until a button is the primary one, and no other is."""
        self.page.locator(PRIMARY, has_text=name).wait_for(timeout=TIMEOUT_MS)
        assert self.page.locator(PRIMARY).all_inner_texts() == [name]

    def usable(self) -> None:
        """What is shown keeps nobody out, in light and in dark, and nothing is wider than its cell."""
        for scheme in ("light", "dark"):
            self.page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
            told = f"body[data-jp-theme-light={'true' if scheme == 'light' else 'false'}]"
            self.page.wait_for_selector(told, state="attached")
            self.page.wait_for_timeout(500)  # the old theme fades
            self.page.evaluate(self.axe)
            assert self.page.evaluate(OURS) == []
        self.page.emulate_media(color_scheme="light")
        assert self.page.evaluate(TOO_WIDE) == []

    def the_run(self) -> Run:
        """Return the only run of the archive."""
        (run,) = all_runs(self.runs)
        return run

    def closed(self, step: str) -> dict[str, Any]:
        """Wait until the step's record is closed and return it: not every cell is in the page, but the record is."""
        return self._wait(lambda: self._record(step, closed=True))

    def answered(self, step: str, question: str) -> dict[str, Any]:
        """Wait until the step has answered a question; return the answer."""
        return self._wait(lambda: self._record(step)["answers"].get(question))

    def cut(self) -> list[str]:
        """Return the heads of the tables that are wider than their place, so that some of them is not seen."""
        self.page.wait_for_timeout(500)  # the last one may still have to be drawn
        found: list[str] = self.page.evaluate(
            "() => [...document.querySelectorAll('.jp-OutputArea-output table')].filter("
            "table => table.offsetParent && table.offsetWidth > table.parentElement.clientWidth"
            ").map(table => table.tHead.innerText)"
        )
        return found

    def _record(self, step: str, *, closed: bool = False) -> dict[str, Any]:
        record = next((run.record_json(step) for run in all_runs(self.runs)), None) or {"answers": {}}
        return {} if closed and not record.get("finished_at") else record

    def _wait(self, look: Any) -> dict[str, Any]:
        deadline = time.monotonic() + TIMEOUT_MS / 1000
        while not (found := look()):
            assert time.monotonic() < deadline, self.page.locator(".jp-Notebook").inner_text()
            self.page.wait_for_timeout(100)
        return dict(found)


@contextmanager
def jupyterlab(browser: Browser, lab: Lab, tmp_path: Path, axe: str, *, base: str) -> Iterator[Desk]:
    """JupyterLab as `runbooks lab up --jupyter` starts it, with a token and nothing of the user's own.

    Its theme is that of the browser. `base` is its base URL, as a hub gives one to each user.
    """
    runs = tmp_path / "runs"
    folder = lay_out(runs)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    token = secrets.token_hex(16)
    own = ("JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR", "JUPYTERLAB_SETTINGS_DIR",
           "JUPYTERLAB_WORKSPACES_DIR", "IPYTHONDIR")  # fmt: skip
    env = environment(folder, lab.env()) | {name: str(tmp_path / name) for name in own}
    themes = tmp_path / "JUPYTERLAB_SETTINGS_DIR" / "@jupyterlab" / "apputils-extension"
    themes.mkdir(parents=True)
    (themes / "themes.jupyterlab-settings").write_text('{"adaptive-theme": true}', "utf-8")
    process = subprocess.Popen(
        [*command(folder), "--no-browser", f"--port={port}", f"--ServerApp.base_url={base}"],
        env={**env, "JUPYTER_TOKEN": token},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        server = f"http://127.0.0.1:{port}{base}"
        wait_until_up(f"{server}api/status?token={token}")
        refused(f"{server}api/contents")
        address = f"{server}lab/tree/notebooks/{{}}.ipynb?token={token}&reset"
        yield Desk(browser, address, lab, runs, axe)
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait(30)


def wait_until_up(url: str) -> None:
    deadline = time.monotonic() + 60
    while True:
        try:
            urllib.request.urlopen(url, timeout=2).close()
            return
        except (urllib.error.URLError, OSError):
            assert time.monotonic() < deadline
            time.sleep(0.1)


def refused(url: str) -> None:
    with pytest.raises(urllib.error.HTTPError) as said:
        urllib.request.urlopen(url, timeout=5)
    assert said.value.code == 403
    said.value.close()
