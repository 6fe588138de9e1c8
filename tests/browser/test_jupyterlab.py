"""`Run All Cells` in JupyterLab, by real clicks: the notebooks are good for a person too."""

from __future__ import annotations

import json
import os
import re
import secrets
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from runbooks_lib.archive.code import notebooks_folder
from runbooks_lib.lab.lab import Lab

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

TIMEOUT_MS = 60_000


@pytest.fixture
def jupyterlab(fresh_lab: Lab, tmp_path: Path) -> Iterator[str]:
    """The address of a JupyterLab on a copy of the notebooks, with a token and nothing of the user's own."""
    folder = tmp_path / "notebooks"
    shutil.copytree(notebooks_folder(), folder)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    token = secrets.token_hex(16)
    places = ("CONFIG_DIR", "DATA_DIR", "RUNTIME_DIR", "LAB_SETTINGS_DIR", "LAB_WORKSPACES_DIR")
    own = {
        f"JUPYTER{'LAB' if p.startswith('LAB') else ''}_{p.removeprefix('LAB_')}": str(tmp_path / p)
        for p in places
    }
    process = subprocess.Popen(
        [sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root", f"--port={port}", "--ip=127.0.0.1",
         f"--ServerApp.root_dir={folder}", "--LabApp.news_url=None",
         "--LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate"],
        env={**os.environ, **own, "JUPYTER_TOKEN": token, "IPYTHONDIR": str(tmp_path / "ipython"),
             "RUNBOOKS_RUNS": str(tmp_path / "runs")},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )  # fmt: skip
    try:
        wait_until_up(f"http://127.0.0.1:{port}/api/status?token={token}")
        yield f"http://127.0.0.1:{port}/lab/tree/{{}}?token={token}&reset"
    finally:
        process.terminate()
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


def run_all(page: Page, address: str) -> None:
    page.goto(address)
    page.wait_for_selector(".jp-Notebook .jp-CodeCell", timeout=TIMEOUT_MS)
    page.wait_for_selector(".jp-Notebook-ExecutionIndicator[data-status=idle]", timeout=TIMEOUT_MS)
    page.wait_for_timeout(2500)  # late extensions; a kernel dialog shows by now
    if page.locator(".jp-Dialog .jp-mod-accept").count():
        page.locator(".jp-Dialog .jp-mod-accept").first.click()
    page.locator(".lm-MenuBar-itemLabel", has_text="Run").click()
    page.locator(".lm-Menu-itemLabel", has_text="Run All Cells").first.click()


def test_run_all_cells(browser: Browser, jupyterlab: str, tmp_path: Path) -> None:
    page = browser.new_page(viewport={"width": 1280, "height": 1000})
    try:
        run_all(page, jupyterlab.format("01_preflight.ipynb"))
        record = wait_for_record(tmp_path / "runs")
        page.wait_for_selector("text=242 PASS", timeout=TIMEOUT_MS)
    finally:
        page.close()
    assert record["verdict"] == "PASS"
    assert len(record["answers"]) == 5


def wait_for_record(runs: Path) -> dict[str, Any]:
    """Wait until the preflight of the only run below `runs` is closed."""
    deadline = time.monotonic() + TIMEOUT_MS / 1000
    while True:
        for path in runs.glob("*/*/01_preflight.json"):
            record: dict[str, Any] = json.loads(path.read_text("utf-8"))
            if record["finished_at"] is not None:
                return record
        assert time.monotonic() < deadline
        time.sleep(0.1)


def test_a_closed_gate_stops_run_all_with_a_sentence(
    browser: Browser, jupyterlab: str, fresh_lab: Lab
) -> None:
    with fresh_lab.admin("keybuzz_backend") as conn:
        conn.execute("DROP INDEX oauth_states_state_key")
    page = browser.new_page(viewport={"width": 1280, "height": 1000})
    try:
        run_all(page, jupyterlab.format("01_preflight.ipynb"))
        said = page.wait_for_selector("text=GateClosed: The gate stays closed", timeout=TIMEOUT_MS)
        assert said is not None
        text = page.locator(".jp-Notebook").inner_text()
        assert re.search(r"FAIL has_index leader public\.oauth_states_state_key", text)
        assert "Traceback" not in text
    finally:
        page.close()
