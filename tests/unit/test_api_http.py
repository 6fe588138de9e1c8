"""Route probes against real HTTP servers on this machine."""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import httpcore
import pytest

from runbooks_lib.api import http, probes
from runbooks_lib.api.http import ask
from runbooks_lib.api.probes import probe_routes, probe_service
from runbooks_lib.facts.contents import RouteState

Decide = Callable[[str, str], int]


class Server(ThreadingHTTPServer):
    daemon_threads = False

    def __init__(self, decide: Decide) -> None:
        self.decide = decide
        self.seen: list[tuple[str, str, dict[str, str]]] = []
        super().__init__(("127.0.0.1", 0), Handler)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    @property
    def paths(self) -> list[tuple[str, str]]:
        return [(method, path) for method, path, _ in self.seen]


class Handler(BaseHTTPRequestHandler):
    server: Server

    def answer(self) -> None:
        self.server.seen.append((self.command, self.path, dict(self.headers)))
        status = self.server.decide(self.command, self.path)
        self.send_response(status)
        if 300 <= status < 400:
            self.send_header("Location", "/elsewhere")
        self.send_header("Content-Length", "0")
        self.end_headers()

    do_GET = do_POST = answer

    def log_message(self, format: str, *args: object) -> None: ...


@contextmanager
def serving(decide: Decide) -> Iterator[Server]:
    with Server(decide) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


@contextmanager
def listening(answer: bytes | None) -> Iterator[int]:
    """Listen and send raw bytes to the first who connects; None accepts nobody."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(5)

        def serve() -> None:
            assert answer is not None
            connection, _ = listener.accept()
            with connection:
                connection.recv(65536)
                connection.sendall(answer)

        thread = threading.Thread(target=serve) if answer is not None else None
        if thread:
            thread.start()
        yield listener.getsockname()[1]
        if thread:
            thread.join()


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def only(*known: str, status: int = 200) -> Decide:
    return lambda method, path: status if path in known else 404


@pytest.mark.parametrize(
    ("status", "state"),
    [
        (200, RouteState.PRESENT),
        (204, RouteState.PRESENT),
        (302, RouteState.PRESENT),
        (400, RouteState.PRESENT),
        (401, RouteState.PRESENT),
        (403, RouteState.PRESENT),
        (422, RouteState.PRESENT),
        (404, RouteState.ABSENT),
        (405, RouteState.ABSENT),
        (410, RouteState.ABSENT),
        (429, RouteState.INDISTINCT),
        (500, RouteState.SERVER_ERROR),
        (503, RouteState.SERVER_ERROR),
    ],
)
def test_status_is_classified(status: int, state: RouteState) -> None:
    with serving(lambda method, path: status) as server:
        found = ask(server.url, "GET", "/api/v1/x")
    assert (found.state, found.status) == (state, status)
    assert str(status) in found.reason


def test_a_405_says_that_the_method_is_lacking() -> None:
    with serving(lambda method, path: 405) as server:
        assert "not with POST" in ask(server.url, "POST", "/x").reason


def test_a_request_carries_nothing_and_follows_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    with serving(lambda method, path: 302) as server:
        base = server.url.replace("http://", "http://operator:hunter2@") + "/base/?token=hunter2#frag"
        found = ask(base, "POST", "/api/v1/start?dry=1")
        assert server.paths == [("POST", "/base/api/v1/start?dry=1")]
        headers = server.seen[0][2]
    assert found.state is RouteState.PRESENT
    assert headers["User-Agent"] == "runbooks"
    assert "Authorization" not in headers
    assert "Cookie" not in headers
    assert headers.get("Content-Length", "0") == "0"


def test_refused_is_not_deployed_and_hides_credentials() -> None:
    found = ask(f"http://operator:hunter2@127.0.0.1:{free_port()}/?key=hunter2", "GET", "/x")
    assert (found.state, found.status) == (RouteState.NOT_DEPLOYED, None)
    assert "refused" in found.reason
    assert "hunter2" not in repr(found)
    assert "\n" not in found.reason


@pytest.mark.parametrize("base_url", [None, "", "  "])
def test_no_base_url_is_not_deployed(base_url: str | None) -> None:
    found = ask(base_url, "GET", "/x")
    assert (found.state, found.reason) == (RouteState.NOT_DEPLOYED, "no base URL is set")


@pytest.mark.parametrize(
    "base_url", ["127.0.0.1:80", "ftp://h/hunter2", "http://", "http://[::1", "http://h:x/"]
)
def test_an_unusable_base_url_could_not_be_checked(base_url: str) -> None:
    found = ask(base_url, "GET", "/x")
    assert found.state is RouteState.UNREACHABLE
    assert "base URL" in found.reason
    assert "hunter2" not in found.reason


@pytest.mark.parametrize(
    ("code", "state"),
    [(socket.EAI_NONAME, RouteState.NOT_DEPLOYED), (socket.EAI_AGAIN, RouteState.UNREACHABLE)],
)
def test_names_that_do_not_exist_and_names_nobody_could_look_up(
    code: int, state: RouteState, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The resolver is replaced: its two answers depend on the network that the test runs in.
    def resolve(*args: object, **kwargs: object) -> None:
        raise socket.gaierror(code, "resolver's words")

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    assert ask("http://keybuzz-backend.invalid", "GET", "/x").state is state


def test_silence_is_unreachable() -> None:
    with listening(None) as port:
        found = ask(f"http://127.0.0.1:{port}", "GET", "/x", timeout_s=0.1)
    assert found.state is RouteState.UNREACHABLE
    assert "within 0.1 s" in found.reason


def test_what_is_not_http_is_unreachable() -> None:
    with listening(b"SSH-2.0-OpenSSH_9.2\r\n") as port:
        found = ask(f"http://127.0.0.1:{port}", "GET", "/x")
    assert found.state is RouteState.UNREACHABLE
    assert "does not speak HTTP" in found.reason


def test_a_failed_tls_handshake_is_unreachable() -> None:
    with listening(b"HTTP/1.0 400 Bad Request\r\n\r\n") as port:
        found = ask(f"https://127.0.0.1:{port}", "GET", "/x")
    assert found.state is RouteState.UNREACHABLE
    assert "TLS failed" in found.reason


def test_a_certificate_that_does_not_verify_is_unreachable() -> None:
    # The handshake's error is made here: a test certificate would need a tool to make it.
    cause = ssl.SSLCertVerificationError(1, "certificate verify failed")
    cause.verify_message = "self-signed certificate"
    error = httpcore.ConnectError("failed")
    error.__cause__ = cause
    assert http._transport(error) == (RouteState.UNREACHABLE, "TLS failed: self-signed certificate")


def test_an_ordinary_service_answers_404_to_nonsense() -> None:
    with serving(only("/health")) as server:
        found = probe_service(server.url)
        (_, path), *more = server.paths
    assert (found.state, found.answers) == (RouteState.ABSENT, True)
    assert found.duration_ms > 0
    assert path.startswith("/__runbooks_probe__/")
    assert not more


@pytest.mark.parametrize("status", [200, 302, 401])
def test_a_gateway_with_an_answer_to_everything_is_a_catch_all(status: int) -> None:
    with serving(lambda method, path: status) as server:
        assert probe_service(server.url).state is RouteState.INDISTINCT
        routes = probe_routes(server.url, [("GET", "/api/v1/x"), ("POST", "/api/v1/y")])
    assert [r.state for r in routes] == [RouteState.INDISTINCT] * 2
    assert "cannot exist" in routes[0].reason


def test_a_gateway_that_answers_404_to_everything_lacks_the_route() -> None:
    with serving(only()) as server:
        (found,) = probe_routes(server.url, [("GET", "/api/v1/x")])
    assert found.state is RouteState.ABSENT


def test_a_guard_before_a_prefix_makes_its_routes_indistinct() -> None:
    def decide(method: str, path: str) -> int:
        return 401 if path.startswith("/api/") else 404

    with serving(decide) as server:
        assert probe_service(server.url).state is RouteState.ABSENT
        (found,) = probe_routes(server.url, [("GET", "/api/v1/marketplaces/amazon/status")])
    assert (found.state, found.status) == (RouteState.INDISTINCT, 401)


def test_a_decoy_that_fails_leaves_the_route_untold() -> None:
    with serving(lambda method, path: 200 if path == "/api/v1/x" else 500) as server:
        (found,) = probe_routes(server.url, [("GET", "/api/v1/x")])
    assert found.state is RouteState.INDISTINCT
    assert "no clear answer" in found.reason


def test_routes_come_back_in_the_order_asked() -> None:
    routes = [("GET", f"/api/v1/r{n}") for n in range(12)] + [("POST", "/api/v1/r3")]
    with serving(only("/api/v1/r3", "/api/v1/r7", status=401)) as server:
        found = probe_routes(server.url, routes)
        decoys = [method for method, path in server.paths if (method, path) not in routes]
    assert [(p.method, p.path) for p in found] == routes
    assert [p.path for p in found if p.state is RouteState.PRESENT] == [
        "/api/v1/r3",
        "/api/v1/r7",
        "/api/v1/r3",
    ]
    # Once for all routes, one for the service, and one below each route that is refused.
    assert sorted(decoys) == ["GET"] * (4 + 1 + 2) + ["POST"] * (4 + 1)


def test_a_service_that_is_not_there_is_asked_once(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    monkeypatch.setattr(probes, "ask", lambda *args, **more: asked.append(args) or ask(*args, **more))
    found = probe_routes(f"http://127.0.0.1:{free_port()}", [("get", "/a"), ("POST", "/b")])
    assert [(p.method, p.state) for p in found] == [
        ("GET", RouteState.NOT_DEPLOYED),
        ("POST", RouteState.NOT_DEPLOYED),
    ]
    assert len(asked) == 1


def test_no_routes_ask_nothing() -> None:
    assert probe_routes("http://127.0.0.1:1", []) == ()
