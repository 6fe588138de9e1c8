"""`runbooks jupyter` and `lab up --jupyter`: JupyterLab on copies without outputs, with a token, beside the archive."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from runbooks_lib.archive.notebooks import notebooks_folder
from runbooks_lib.errors import PreconditionFailed
from runbooks_lib.execution.jupyter import lay_out
from runbooks_lib.lab.lab import Lab

RUNBOOKS = Path(sys.executable).with_name("runbooks")
TOKEN = "a-token-of-this-test"


@contextmanager
def serving(*words: str, place: Path, **variables: str) -> Iterator[dict[str, Any]]:
    """Run a command that becomes JupyterLab; yield what that says of itself."""
    own = {
        name: str(place / name) for name in ("JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR")
    }
    env = os.environ | own | {"JUPYTER_TOKEN": TOKEN, "BROWSER": "true"} | variables
    with subprocess.Popen(
        [RUNBOOKS, *words], env=env, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            info = place / "JUPYTER_RUNTIME_DIR" / f"jpserver-{process.pid}.json"
            deadline = time.monotonic() + 60
            while not (server := told_in(info)):
                assert process.poll() is None, process.stderr and process.stderr.read()
                assert time.monotonic() < deadline
                time.sleep(0.05)
            while not answers(server):  # it writes the file a moment before it listens
                assert time.monotonic() < deadline
                time.sleep(0.05)
            yield server
        finally:
            process.send_signal(signal.SIGTERM)


def told_in(info: Path) -> dict[str, Any]:
    """What the file says, once Jupyter has written it whole: it is there, and empty, a moment before."""
    try:
        server: dict[str, Any] = json.loads(info.read_text("utf-8"))
    except (FileNotFoundError, ValueError):
        return {}
    return server


def answers(server: dict[str, Any]) -> bool:
    with socket.socket() as client:
        client.settimeout(1)
        return client.connect_ex(("127.0.0.1", server["port"])) == 0


def ask(server: dict[str, Any], path: str) -> dict[str, Any]:
    request = urllib.request.Request(
        f"{server['url']}api/{path}", headers={"Authorization": f"token {TOKEN}"}
    )
    with urllib.request.urlopen(request, timeout=10) as answer:
        content: dict[str, Any] = json.load(answer)
        return content


def test_it_serves_blank_copies_and_the_archive(lab: Lab, tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    with serving("jupyter", "--runs", str(runs), place=tmp_path) as server:
        assert server["hostname"] == "127.0.0.1"
        names = [entry["name"] for entry in ask(server, "contents/notebooks")["content"]]
        assert sorted(names) == sorted(path.name for path in notebooks_folder().glob("*.ipynb"))
        cells = ask(server, "contents/notebooks/01_preflight.ipynb")["content"]["cells"]
        assert [cell["outputs"] for cell in cells if cell.get("outputs")] == []
        assert ask(server, "contents/runs")["type"] == "directory"
        (folder,) = runs.glob(".jupyter-*")
        assert folder.name == f".jupyter-{server['pid']}"
    assert lay_out(runs) != folder
    assert not folder.exists(), "that server has ended"


def test_lab_up_jupyter_knows_the_lab(lab: Lab, tmp_path: Path) -> None:
    with serving(
        "lab",
        "up",
        "--jupyter",
        "--dir",
        str(lab.directory),
        place=tmp_path,
        RUNBOOKS_RUNS=str(tmp_path / "runs"),
    ) as server:
        environment = Path(f"/proc/{server['pid']}/environ").read_bytes().split(b"\0")
        assert f"PGSERVICEFILE={lab.env()['PGSERVICEFILE']}".encode() in environment
        assert f"RUNBOOKS_RUNS={tmp_path / 'runs'}".encode() in environment


def test_an_archive_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "runs").write_text("a file")
    with pytest.raises(PreconditionFailed, match=r"cannot be copied to .*runs/\.jupyter-") as said:
        lay_out(tmp_path / "runs")
    assert "--runs" in said.value.what_to_do
