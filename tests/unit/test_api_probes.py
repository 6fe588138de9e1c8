"""Guards, gateways and single-page applications that answer for every path, as real servers; and slow ones."""

from __future__ import annotations

import json
import secrets
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import quote

import pytest

from runbooks_lib.api.headers import headers_of
from runbooks_lib.api.http import ask
from runbooks_lib.api.probes import DECOY, Probe, probe_routes, siblings
from runbooks_lib.errors import PreconditionFailed
from runbooks_lib.facts.contents import RouteState

Reply = tuple[int, dict[str, str], str]
App = Callable[[str, str, dict[str, str]], Reply]

ROUTE = "/api/v1/marketplaces/amazon/status"
HTML = {"Content-Type": "text/html; charset=utf-8"}
JSON = {"Content-Type": "application/json; charset=utf-8"}


@contextmanager
def serving(app: App) -> Iterator[str]:
    class Handler(BaseHTTPRequestHandler):
        def answer(self) -> None:
            status, headers, body = app(self.command, self.path, dict(self.headers))
            self.send_response(status)
            for name, value in {**headers, "Content-Length": str(len(body.encode()))}.items():
                self.send_header(name, value)
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body.encode())

        do_GET = do_POST = do_HEAD = do_OPTIONS = answer

        def log_message(self, format: str, *args: object) -> None: ...

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


def probe(app: App, method: str = "GET", path: str = ROUTE, headers: dict[str, str] | None = None) -> Probe:
    with serving(app) as url:
        (found,) = probe_routes(url, [(method, path)], headers=headers or {})
    return found


def express(method: str, path: str) -> Reply:
    page = f"<!DOCTYPE html>\n<pre>Cannot {method} {path}</pre>"
    return 404, HTML, page


def fastify(method: str, path: str) -> Reply:
    said = {"message": f"Route {method}:{path} not found", "error": "Not Found", "statusCode": 404}
    return 404, JSON, json.dumps(said)


def nest(method: str, path: str) -> Reply:
    return (
        404,
        JSON,
        json.dumps({"statusCode": 404, "message": f"Cannot {method} {path}", "error": "Not Found"}),
    )


NOT_FOUND = [express, fastify, nest]

# --- answers that say nothing of a route -------------------------------------------------------------------------


def refuse(method: str, path: str, headers: dict[str, str]) -> Reply:
    return 401, {**JSON, "WWW-Authenticate": f'Bearer realm="{path}"'}, '{"error": "Unauthorized"}'


def refuse_by_name(method: str, path: str, headers: dict[str, str]) -> Reply:
    said = {"error": f"{method} {path} needs a token", "requestId": secrets.token_hex(8), "at": time.time()}
    return 401, JSON, json.dumps(said)


def refuse_with_noise(method: str, path: str, headers: dict[str, str]) -> Reply:
    return (
        401,
        JSON,
        json.dumps({"error": "Unauthorized", "trace": "".join(secrets.choice("abcdef") for _ in range(7))}),
    )


def digest(method: str, path: str, headers: dict[str, str]) -> Reply:
    return 401, {"WWW-Authenticate": f'Digest nonce="{secrets.token_hex(3)}"'}, ""


def gateway(method: str, path: str, headers: dict[str, str]) -> Reply:
    return 403, JSON, '{"message":"Missing Authentication Token"}'


def single_page(method: str, path: str, headers: dict[str, str]) -> Reply:
    token = secrets.token_urlsafe(24)
    return (
        200,
        HTML,
        f'<html><meta name="csrf" content="{token}"><script src="/assets/index-{token}.js"></script>',
    )


def single_page_by_chance(method: str, path: str, headers: dict[str, str]) -> Reply:
    """A word of the path stands in the token by chance, in that of the route alone."""
    word = "v1" if path == ROUTE else ""
    token = f"{secrets.token_hex(8)}{word}{secrets.token_hex(8)}"
    return 200, HTML, f'<html><meta name="csrf" content="{token}">'


def to_login(method: str, path: str, headers: dict[str, str]) -> Reply:
    return (
        302,
        {"Location": f"https://login.example.org/?next={quote(path, safe='')}&state={secrets.token_hex(16)}"},
        "",
    )


def login_page(method: str, path: str, headers: dict[str, str]) -> Reply:
    return 200, HTML, f'<form action="/login?return={path}"><input value="{secrets.token_hex(20)}"></form>'


def to_slash(method: str, path: str, headers: dict[str, str]) -> Reply:
    return 301, {"Location": f"{path}/"}, ""


def to_itself(method: str, path: str, headers: dict[str, str]) -> Reply:
    return 307, {"Location": path}, ""


def invalid(method: str, path: str, headers: dict[str, str]) -> Reply:
    return 400, JSON, '{"error": "the header X-Tenant is missing"}'


def preflight_of_browsers(method: str, path: str, headers: dict[str, str]) -> Reply:
    return 204, {"Access-Control-Allow-Origin": "*"}, ""


@pytest.mark.parametrize(
    "guard",
    [
        refuse, refuse_by_name, refuse_with_noise, digest, gateway, single_page, single_page_by_chance,
        to_login, login_page, to_slash, to_itself, invalid, preflight_of_browsers,
    ],
)  # fmt: skip
@pytest.mark.parametrize("prefix", ["/", "/api/", "/api/v1/marketplaces/amazon/"])
def test_a_guard_below_any_prefix_tells_nothing(guard: App, prefix: str) -> None:
    def app(method: str, path: str, headers: dict[str, str]) -> Reply:
        return guard(method, path, headers) if path.startswith(prefix) else express(method, path)

    for method in ("GET", "POST"):
        found = probe(app, method)
        assert found.state is RouteState.INDISTINCT, found
        assert "cannot exist" in found.reason


def test_a_method_that_is_refused_everywhere_is_no_route() -> None:
    found = probe(lambda method, path, headers: (405, {"Allow": "GET"}, ""), "POST")
    assert (found.state, found.reason) == (RouteState.ABSENT, "HTTP 405: not with POST")


# --- answers that tell ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("lacking", NOT_FOUND)
@pytest.mark.parametrize(
    "reply",
    [
        (200, JSON, "[]"),
        (204, {}, ""),
        (401, JSON, '{"error": "Unauthorized"}'),
        (400, JSON, '{"error": "no state"}'),
        (302, {"Location": "/login"}, ""),
        (422, JSON, "{}"),
    ],
)
def test_a_route_beside_paths_that_are_not_found_is_present(
    lacking: Callable[[str, str], Reply], reply: Reply
) -> None:
    found = probe(lambda method, path, headers: reply if path == ROUTE else lacking(method, path))
    assert (found.state, found.reason) == (RouteState.PRESENT, f"HTTP {reply[0]}")


@pytest.mark.parametrize("lacking", NOT_FOUND)
def test_a_route_that_is_not_found_is_absent(lacking: Callable[[str, str], Reply]) -> None:
    assert probe(lambda method, path, headers: lacking(method, path)).state is RouteState.ABSENT


def test_a_route_of_another_method_is_absent() -> None:
    def app(method: str, path: str, headers: dict[str, str]) -> Reply:
        if path != ROUTE:
            return express(method, path)
        return (200, JSON, "{}") if method == "GET" else (405, {"Allow": "GET"}, "")

    assert probe(app, "GET").state is RouteState.PRESENT
    assert probe(app, "POST").state is RouteState.ABSENT


@pytest.mark.parametrize(
    ("reply", "guard"),
    [
        ((200, JSON, "[]"), single_page),
        ((401, JSON, '{"error": "Unauthorized"}'), single_page),
        ((403, JSON, '{"message":"Forbidden"}'), gateway),
        ((302, {"Location": "https://amazon.example.org/consent"}, ""), to_login),
        ((200, HTML, "<h1>Status</h1>"), login_page),
    ],
)
def test_a_route_that_is_answered_otherwise_than_its_siblings_is_present(reply: Reply, guard: App) -> None:
    found = probe(lambda method, path, headers: reply if path == ROUTE else guard(method, path, headers))
    assert found.state is RouteState.PRESENT, found


def test_headers_get_past_the_guard_and_tell() -> None:
    def app(method: str, path: str, headers: dict[str, str]) -> Reply:
        if headers.get("Authorization") != "Bearer t0p":
            return refuse(method, path, headers)
        return (200, JSON, "{}") if path == ROUTE else express(method, path)

    assert probe(app).state is RouteState.INDISTINCT
    assert probe(app, headers={"Authorization": "Bearer t0p"}).state is RouteState.PRESENT
    assert probe(app, path="/api/v1/gone", headers={"Authorization": "Bearer t0p"}).state is RouteState.ABSENT
    assert probe(app, headers={"Authorization": "Bearer old"}).state is RouteState.INDISTINCT


def shared(method: str, path: str) -> list[str]:
    """Return what each sibling shares with a path."""
    ours = path.split("/")
    return [
        "/".join(part for part, other in zip(sibling.split("/"), ours, strict=False) if part == other)
        for _, sibling in siblings(method, path)
    ]


def test_siblings_share_the_beginning_and_nothing_else() -> None:
    assert shared("GET", "/a/b/c.json?x=1") == ["/a/b", "/a/b", "/a", ""]
    for method, path in siblings("GET", "/a/b/c.json?x=1"):
        assert (method, path.count("/"), path.endswith(".json?x=1")) == ("GET", 3, True)
    assert shared("GET", "/a/:id") == ["", ""]
    assert shared("GET", "/") == ["", ""]
    assert len(set(siblings("GET", "/"))) == 2
    assert siblings("GET", "/a/b/c") == siblings("GET", "/a/b/d")
    assert DECOY in siblings("GET", "/a/b")[0][1]
    assert not any(DECOY in path for _, path in siblings("GET", "/a/b")[1:])


def test_a_guard_right_before_the_route_tells_nothing() -> None:
    def app(method: str, path: str, headers: dict[str, str]) -> Reply:
        return refuse(method, path, headers) if path.startswith(ROUTE) else express(method, path)

    assert probe(app).state is RouteState.INDISTINCT


def test_a_route_that_serves_what_is_below_it_is_present() -> None:
    def app(method: str, path: str, headers: dict[str, str]) -> Reply:
        return (200, JSON, '"ok"') if path.startswith(ROUTE) else nest(method, path)

    assert probe(app).state is RouteState.PRESENT


def test_a_firewall_that_knows_probes_does_not_make_a_route() -> None:
    def app(method: str, path: str, headers: dict[str, str]) -> Reply:
        return (403, HTML, "blocked") if DECOY in path else refuse(method, path, headers)

    assert probe(app).state is RouteState.INDISTINCT


# --- headers from the environment --------------------------------------------------------------------------------


def test_headers_are_lines_of_a_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SHOP_HEADERS", "Authorization: Bearer a:b\r\n\nX-Tenant:t1\n")
    assert headers_of("SHOP_HEADERS") == {"Authorization": "Bearer a:b", "X-Tenant": "t1"}
    monkeypatch.setenv("SHOP_HEADERS", "eyJhbGciOi.J9_-~+/==\n")
    assert headers_of("SHOP_HEADERS") == {"Authorization": "Bearer eyJhbGciOi.J9_-~+/=="}
    monkeypatch.setenv("SHOP_HEADERS", " ")
    assert headers_of("SHOP_HEADERS") == headers_of(None) == headers_of("NOT_SET") == {}


@pytest.mark.parametrize(
    "line", ["hunter2", "A: é hunter2", "Host: hunter2", "A B: hunter2", "A: x\x00hunter2", "A:"]
)
def test_what_is_no_header_is_refused_and_not_repeated(monkeypatch: pytest.MonkeyPatch, line: str) -> None:
    monkeypatch.setattr("os.environ", {"SHOP_HEADERS": f"X: y\n{line}"})
    with pytest.raises(
        PreconditionFailed, match="Line 2 of the environment variable SHOP_HEADERS"
    ) as refused:
        headers_of("SHOP_HEADERS")
    assert "hunter2" not in str(refused.value)


# --- one deadline ------------------------------------------------------------------------------------------------


@contextmanager
def dripping(begin: bytes, drop: bytes, *, every_s: float = 0.05) -> Iterator[int]:
    """Answer the first connection with `begin`, then with a drop now and then, as long as anybody listens."""
    over = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(5)

        def drip() -> None:
            connection, _ = listener.accept()
            with connection:
                try:
                    connection.sendall(begin)
                    while not over.wait(every_s):
                        connection.sendall(drop)
                except OSError:
                    return  # they have hung up

        thread = threading.Thread(target=drip)
        thread.start()
        try:
            yield listener.getsockname()[1]
        finally:
            over.set()
            thread.join()


@pytest.mark.parametrize(
    ("scheme", "begin", "drop"),
    [
        ("http", b"HTTP/1.1 200 OK\r\n", b"X-A: b\r\n"),
        ("http", b"HTTP/1.1 200 OK\r\nX-A: ", b"b"),
        ("http", b"", b"H"),
        ("http", b"HTTP/1.1 100 Continue\r\n\r\n", b"HTTP/1.1 100 Continue\r\n\r\n"),
        ("https", b"", b""),
        ("https", b"\x16\x03\x03\x40\x00", b"\x02"),
    ],
    ids=["headers", "one header", "status", "continue", "silent TLS", "TLS handshake"],
)
def test_an_answer_that_never_begins_ends_at_the_deadline(scheme: str, begin: bytes, drop: bytes) -> None:
    started = time.monotonic()
    with dripping(begin, drop) as port:
        found = ask(f"{scheme}://127.0.0.1:{port}", "GET", "/x", timeout_s=0.6)
        took = time.monotonic() - started
    assert found.state is RouteState.UNREACHABLE
    assert "within 0.6 s" in found.reason
    assert 0.5 < took < 20


@pytest.mark.parametrize(
    ("begin", "drop"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\ndata: 1\n\n", b"data: 2\n\n"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"3\r\nabc\r\n"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\nabc", b"d"),
        (b"HTTP/1.1 200 OK\r\n\r\n", b"x" * 2**20),
    ],
    ids=["events", "chunks", "length", "flood"],
)
def test_an_answer_without_an_end_is_an_answer(begin: bytes, drop: bytes) -> None:
    started = time.monotonic()
    with dripping(begin, drop) as port:
        found = ask(f"http://127.0.0.1:{port}", "GET", "/x")
        took = time.monotonic() - started
    assert (found.state, found.status) == (RouteState.PRESENT, 200)
    assert len(found.body) <= 2**16
    assert took < 20


def test_no_watch_is_left_behind() -> None:
    with serving(lambda method, path, headers: (200, {}, "")) as url:
        assert ask(url, "GET", "/x").state is RouteState.PRESENT
    assert not [thread for thread in threading.enumerate() if isinstance(thread, threading.Timer)]
