"""The stand-in keybuzz-api, as a process and as the probes see it."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import httpx

from runbooks_lib.api.probes import probe_routes, probe_service
from runbooks_lib.facts.contents import RouteState
from runbooks_lib.lab.api import AMAZON_ROUTES, KeybuzzApi, main


@contextmanager
def api(*, with_amazon_routes: bool = False) -> Iterator[str]:
    with KeybuzzApi(0, with_amazon_routes=with_amazon_routes) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


def test_health_is_json_and_an_unknown_path_a_json_404() -> None:
    with api() as url, httpx.Client(base_url=url, trust_env=False) as client:
        health = client.get("/health")
        lacking = client.post("/api/v1/nothing?x=1", json={"some": "body"})
        head = client.head("/health")
    assert (health.status_code, health.json()["status"]) == (200, "ok")
    assert (lacking.status_code, lacking.json()["path"]) == (404, "/api/v1/nothing")
    assert head.content == b""


def test_the_four_amazon_routes_are_absent() -> None:
    with api() as url:
        found = probe_routes(url, AMAZON_ROUTES)
        tenants = probe_routes(url, [("GET", "/api/v1/tenants")])
        assert probe_service(url).state is RouteState.ABSENT
    assert [p.state for p in found] == [RouteState.ABSENT] * 4
    assert [p.state for p in tenants] == [RouteState.PRESENT]


def test_the_four_amazon_routes_are_present_when_asked_for() -> None:
    with api(with_amazon_routes=True) as url:
        found = probe_routes(url, AMAZON_ROUTES)
    assert [p.state for p in found] == [RouteState.PRESENT] * 4


def test_as_a_process_it_serves_quietly_until_sigterm() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    command = [sys.executable, "-m", "runbooks_lib.lab.api", "--port", str(port)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    try:
        deadline = time.monotonic() + 15
        while not probe_service(f"http://127.0.0.1:{port}").answers and time.monotonic() < deadline:
            time.sleep(0.02)
        answer = httpx.get(f"http://127.0.0.1:{port}/health", trust_env=False)
        process.send_signal(signal.SIGTERM)
        out, err = process.communicate(timeout=10)
    finally:
        process.kill()
        process.communicate()
    assert json.loads(answer.text)["status"] == "ok"
    assert (process.returncode, out, err) == (0, b"", b"")


def test_a_port_in_use_is_said(capsys) -> None:
    before = signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)
    try:
        with socket.create_server(("127.0.0.1", 0)) as listener:
            assert main(["--port", str(listener.getsockname()[1])]) == 4
    finally:
        signal.signal(signal.SIGTERM, before[0])
        signal.signal(signal.SIGINT, before[1])
    assert "Choose a free one" in capsys.readouterr().err
