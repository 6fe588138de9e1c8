"""A guard that refuses every path, through the notebook: it tells nothing, and headers of the environment do."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from runbooks_lib.lab.lab import Lab
from runbooks_lib.phase import load_phase

PHASE = load_phase("PH15-AMAZON-DB-FOUNDATION-01")
RUNBOOKS = Path(sys.executable).with_name("runbooks")
TOKEN = "hunter2-of-the-guard"
ROUTES = frozenset(f"{route.method} {route.path}" for route in PHASE.routes)


class Guarded(BaseHTTPRequestHandler):
    """Refuses whoever has no token; knows the phase's routes, and repeats what it was asked with."""

    def do_GET(self) -> None:
        passed = self.headers.get("Authorization") == f"Bearer {TOKEN}"
        status = 401 if not passed else 200 if f"GET {self.path}" in ROUTES else 404
        body = json.dumps({"status": status, "path": self.path, "headers": dict(self.headers)}).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None: ...


@pytest.fixture
def guarded() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Guarded) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def test_headers_tell_what_a_guard_hides_and_are_recorded_nowhere(
    lab: Lab, guarded: str, tmp_path: Path
) -> None:
    folder = tmp_path / PHASE.id
    shutil.copytree(PHASE.folder, folder)
    text = (folder / "phase.toml").read_text("utf-8")
    named = 'url_env = "KEYBUZZ_API_URL"\n'
    (folder / "phase.toml").write_text(
        text.replace(named, f'{named}headers_env = "KEYBUZZ_API_WITH"\n'), "utf-8"
    )

    def run(**env: str) -> tuple[int, dict[str, Any]]:
        done = subprocess.run(
            [
                str(RUNBOOKS),
                "run",
                str(folder),
                "--only",
                "api_routes",
                "--runs",
                str(tmp_path / "runs"),
                "--json",
            ],
            env=os.environ | {"KEYBUZZ_API_URL": guarded} | env,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert TOKEN not in done.stdout + done.stderr
        return done.returncode, json.loads(done.stdout)

    code, told = run()
    assert (code, told["verdict"]) == (1, "ERROR")
    assert {stop["check"] for stop in told["closing"]} == {"route_is_present", "route_is_served"}
    assert any("KEYBUZZ_API_WITH" in stop["hint"] for stop in told["closing"])
    code, told = run(KEYBUZZ_API_WITH=f"Authorization: Bearer {TOKEN}")
    assert (code, told["closing"]) == (0, [])
    kept = [path for path in (tmp_path / "runs").rglob("*") if path.is_file()]
    assert len(kept) > 5
    assert not [path for path in kept if TOKEN.encode() in path.read_bytes()]
