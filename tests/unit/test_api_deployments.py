"""The state of a Deployment, read by the official client from a stand-in API server.

The server is real HTTP, but it is not Kubernetes: it answers one path with what is put into it.
"""

from __future__ import annotations

import json
import socket
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from runbooks_lib.api.deployments import _without_credentials, deployment_state
from runbooks_lib.errors import ConnectionFailed, PreconditionFailed

PATH = "/apis/apps/v1/namespaces/keybuzz/deployments/keybuzz-backend"
TOKEN = "token-that-must-not-show"


class StandIn(ThreadingHTTPServer):
    daemon_threads = False

    def __init__(self) -> None:
        self.answer: tuple[int, Any] = (500, {})
        self.asked: list[tuple[str, str | None]] = []
        super().__init__(("127.0.0.1", 0), Handler)


class Handler(BaseHTTPRequestHandler):
    server: StandIn

    def do_GET(self) -> None:
        self.server.asked.append((self.path, self.headers["Authorization"]))
        status, content = self.server.answer
        body = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None: ...


@pytest.fixture
def api() -> Iterator[StandIn]:
    with StandIn() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def kubeconfig(folder: Path, port: int) -> Path:
    file = folder / "kubeconfig"
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "here",
        "clusters": [{"name": "c", "cluster": {"server": f"http://127.0.0.1:{port}"}}],
        "users": [{"name": "u", "user": {"token": TOKEN}}],
        "contexts": [{"name": "here", "context": {"cluster": "c", "user": "u"}}],
    }
    file.write_text(json.dumps(config))
    return file


def deployment(**status: Any) -> dict[str, Any]:
    containers = [
        {"name": "app", "image": "operator:pw@registry.example:5000/keybuzz-backend:1.4"},
        {"name": "proxy", "image": "envoy@sha256:0123"},
    ]
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "keybuzz-backend", "namespace": "keybuzz"},
        "spec": {
            "replicas": 2,
            "selector": {"matchLabels": {"app": "k"}},
            "template": {"metadata": {"labels": {"app": "k"}}, "spec": {"containers": containers}},
        },
        "status": status,
    }


def failure(code: int, reason: str) -> tuple[int, dict[str, Any]]:
    return code, {"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": reason, "code": code}


def test_a_deployment_that_is_available(api: StandIn, tmp_path: Path) -> None:
    conditions = [
        {"type": "Progressing", "status": "True"},
        {"type": "Available", "status": "True", "lastUpdateTime": "2026-01-07T17:00:00Z"},
    ]
    api.answer = (200, deployment(replicas=2, readyReplicas=1, conditions=conditions))
    found = deployment_state("keybuzz", "keybuzz-backend", kubeconfig(tmp_path, api.server_port))
    assert api.asked == [(PATH, f"Bearer {TOKEN}")]
    assert found is not None
    assert (found.exists, found.replicas, found.ready, found.available) == (True, 2, 1, True)
    assert found.image == "registry.example:5000/keybuzz-backend:1.4, envoy@sha256:0123"


def test_a_deployment_without_a_status_yet(api: StandIn, tmp_path: Path) -> None:
    api.answer = (200, deployment())
    found = deployment_state("keybuzz", "keybuzz-backend", kubeconfig(tmp_path, api.server_port))
    assert found is not None
    assert (found.exists, found.ready, found.available) == (True, 0, None)


def test_the_kubeconfig_of_the_environment(
    api: StandIn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KUBECONFIG", str(kubeconfig(tmp_path, api.server_port)))
    api.answer = failure(404, "NotFound")
    found = deployment_state("keybuzz", "keybuzz-backend")
    assert found is not None
    assert (found.exists, found.replicas, found.image) == (False, 0, None)


def test_without_a_kubeconfig_nothing_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("KUBECONFIG", raising=False)
    assert deployment_state("keybuzz", "keybuzz-backend") is None


@pytest.mark.parametrize(
    ("answer", "todo"),
    [
        (failure(401, "Unauthorized"), "Log in again"),
        (failure(403, "Forbidden"), "right to `get`"),
        (failure(500, "InternalError"), "Try again"),
        ((404, {"error": "no such page"}), "not Kubernetes"),
        ((404, b"<html>"), "not Kubernetes"),
    ],
)
def test_a_refusal_is_no_absence(api: StandIn, tmp_path: Path, answer: tuple[int, Any], todo: str) -> None:
    api.answer = answer
    with pytest.raises(ConnectionFailed, match=todo) as caught:
        deployment_state("keybuzz", "keybuzz-backend", kubeconfig(tmp_path, api.server_port))
    assert f"HTTP {answer[0]}" in caught.value.what_happened
    assert TOKEN not in str(caught.value)


def test_an_api_that_nobody_serves(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    with pytest.raises(ConnectionFailed, match="did not answer"):
        deployment_state("keybuzz", "keybuzz-backend", kubeconfig(tmp_path, port))


@pytest.mark.parametrize("text", [None, "", "{", f"users: [{TOKEN}: :\n", "clusters: []\n"])
def test_a_kubeconfig_that_cannot_be_used(tmp_path: Path, text: str | None) -> None:
    file = tmp_path / "kubeconfig"
    if text is not None:
        file.write_text(text)
    with pytest.raises(PreconditionFailed, match="cannot be used") as caught:
        deployment_state("keybuzz", "keybuzz-backend", file)
    assert caught.value.__cause__ is None
    assert caught.value.__context__ is None
    assert TOKEN not in str(caught.value)


def test_without_the_extra_it_is_said_how_to_get_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "kubernetes", None)
    with pytest.raises(PreconditionFailed, match=r"pip install '\.\[kubernetes\]'"):
        deployment_state("keybuzz", "keybuzz-backend", tmp_path / "kubeconfig")


@pytest.mark.parametrize(
    ("image", "shown"),
    [
        ("nginx", "nginx"),
        ("nginx@sha256:1", "nginx@sha256:1"),
        ("u:p@r.example/a/b:1", "r.example/a/b:1"),
        ("u:p@r.example:5000/b@sha256:1", "r.example:5000/b@sha256:1"),
    ],
)
def test_images_lose_their_credentials(image: str, shown: str) -> None:
    assert _without_credentials(image) == shown
