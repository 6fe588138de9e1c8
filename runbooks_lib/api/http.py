"""One request to a running service, and what came back: bounded in time and size, whatever the other end does.

Nothing is followed or kept: no redirect, no cookie, no proxy (a proxy answers for a service that is not there), no
more of a body than tells two answers apart. Credentials are sent only where the caller hands headers over.
"""

from __future__ import annotations

import socket
import ssl
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import httpcore
import httpx

from runbooks_lib.api.headers import NO_HEADERS, Headers
from runbooks_lib.facts.contents import RouteState

TIMEOUT_S = 5.0
BODY_S = 1.0  # how long a body is waited for: a stream of events never ends
BODY_BYTES = 64 * 2**10
SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
_HEADERS = {"User-Agent": "runbooks", "Accept": "*/*", "Connection": "close"}
_NO_SUCH_NAME = frozenset({socket.EAI_NONAME, getattr(socket, "EAI_NODATA", socket.EAI_NONAME)})


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """What one request came to; `reason` is one line without credentials.

    `status` is None when no answer came. `headers` have names in lower case; headers and `body` (its beginning) are
    for comparing two replies, and are not to be recorded.
    """

    state: RouteState
    status: int | None
    reason: str
    headers: Headers = field(default_factory=dict, repr=False)
    body: bytes = field(default=b"", repr=False)


def ask(
    base_url: str | None,
    method: str,
    path: str,
    *,
    headers: Headers = NO_HEADERS,
    timeout_s: float = TIMEOUT_S,
) -> Reply:
    """Send one request without a body and return what came back, after `timeout_s` at the latest.

    That is for all of it: connecting, TLS, and the answer's head; the beginning of its body has BODY_S more.
    Never raises for what a service does or fails to do.
    """
    if not base_url or not base_url.strip():
        return Reply(state=RouteState.NOT_DEPLOYED, status=None, reason="no base URL is set")
    try:
        url = _join(base_url.strip(), path)
    except (httpx.InvalidURL, ValueError, TypeError):
        reason = "the base URL is not a valid http:// or https:// address"
        return Reply(state=RouteState.UNREACHABLE, status=None, reason=reason)
    with _Watch(timeout_s) as watch:
        try:
            return _exchange(url, method, headers, watch)
        except (httpcore.TimeoutException, httpcore.NetworkError, httpcore.ProtocolError, OSError) as error:
            if watch.expired or isinstance(error, httpcore.TimeoutException):
                reason = f"no answer from {_where(url)} within {timeout_s:g} s"
                return Reply(state=RouteState.UNREACHABLE, status=None, reason=reason)
            state, reason = _transport(error)
            return Reply(state=state, status=None, reason=f"{reason} ({_where(url)})")


def _exchange(url: httpx.URL, method: str, headers: Headers, watch: _Watch) -> Reply:
    target = httpcore.URL(scheme=url.raw_scheme, host=url.raw_host, port=url.port, target=url.raw_path)
    sent = {**_HEADERS, **headers} | ({} if method in SAFE_METHODS else {"Content-Length": "0"})
    tls = _tls() if url.scheme == "https" else None  # it reads every authority that the system knows
    limits = dict.fromkeys(("connect", "read", "write", "pool"), watch.timeout_s)
    with (
        httpcore.ConnectionPool(ssl_context=tls, network_backend=watch) as pool,
        pool.stream(method, target, headers=list(sent.items()), extensions={"timeout": limits}) as response,
    ):
        state, status, reason = _classify(response.status, method)
        watch.restart(BODY_S)
        found = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in response.headers}
        body = _beginning(response.iter_stream())
        return Reply(state=state, status=status, reason=reason, headers=found, body=body)


def _beginning(chunks: Iterable[bytes]) -> bytes:
    """Return the beginning of a body; what ends it early, a cut or a fault, is no concern: the head has come."""
    body = b""
    with suppress(httpcore.TimeoutException, httpcore.NetworkError, httpcore.ProtocolError, OSError):
        for chunk in chunks:
            body += chunk
            if len(body) >= BODY_BYTES:
                break
    return body[:BODY_BYTES]


class _Watch(httpcore.SyncBackend):
    """Opens the one connection of an exchange, and cuts it when its time is up, whatever it is waiting for."""

    def __init__(self, timeout_s: float) -> None:
        self.timeout_s = timeout_s
        self._until = time.monotonic() + timeout_s
        self._twin: socket.socket | None = None  # of the connection's socket, which TLS takes over
        self._timer: threading.Timer | None = None

    def __enter__(self) -> _Watch:
        return self

    def __exit__(self, *_: object) -> None:
        if self._timer:
            self._timer.cancel()
            self._timer.join()
        if self._twin:
            self._twin.close()

    @property
    def expired(self) -> bool:
        """Return whether the time is up."""
        return time.monotonic() >= self._until

    def connect_tcp(self, host: str, port: int, *_: Any, **options: Any) -> httpcore.NetworkStream:
        """Connect to the first of the host's addresses that answers in the time that is left for them all."""
        failed: Exception = httpcore.ConnectError("there is no address")
        for *_family, address in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM):
            if self.expired:
                break
            left = self._until - time.monotonic()
            try:
                stream = super().connect_tcp(str(address[0]), port, **options | {"timeout": left})
            except (httpcore.ConnectError, httpcore.ConnectTimeout) as error:
                failed = error
                continue
            self._twin = stream.get_extra_info("socket").dup()
            self.restart(self._until - time.monotonic())
            return stream
        raise failed

    def restart(self, seconds: float) -> None:
        """Give the exchange so much time from now on, and not more."""
        if self._timer:
            self._timer.cancel()
        self._until = time.monotonic() + seconds
        self._timer = threading.Timer(max(seconds, 0), self._cut)
        self._timer.daemon = True
        self._timer.start()

    def _cut(self) -> None:
        with suppress(OSError):
            if self._twin:
                self._twin.shutdown(socket.SHUT_RDWR)


def _join(base_url: str, path: str) -> httpx.URL:
    """Put the path behind the base URL's own; user, password, query and fragment are dropped."""
    base = httpx.URL(base_url)
    if base.scheme not in {"http", "https"} or not base.host:
        raise ValueError("not an http(s) URL")
    route = httpx.URL("http://route/" + path.lstrip("/"))
    joined = base.raw_path.split(b"?")[0].rstrip(b"/") + route.raw_path
    return base.copy_with(userinfo=b"", fragment=None, raw_path=joined)


def _where(url: httpx.URL) -> str:
    return f"{url.scheme}://{url.netloc.decode('ascii', 'replace')}"


@cache
def _tls() -> ssl.SSLContext:
    """The system's certificate authorities, or SSL_CERT_FILE's: internal services have internal ones."""
    return ssl.create_default_context()


def _classify(status: int, method: str) -> tuple[RouteState, int, str]:
    if status in {404, 410}:
        return RouteState.ABSENT, status, f"HTTP {status}"
    if status == 405:
        return RouteState.ABSENT, status, f"HTTP 405: not with {method}"
    if status >= 500:
        return RouteState.SERVER_ERROR, status, f"HTTP {status}"
    if status in {408, 421, 429}:
        return RouteState.INDISTINCT, status, f"HTTP {status} comes from before the routes"
    return RouteState.PRESENT, status, f"HTTP {status}"


def _transport(error: BaseException) -> tuple[RouteState, str]:
    """Tell 'nobody is there' from 'could not be checked' by the causes of an error."""
    for cause in _causes(error):
        if isinstance(cause, ConnectionRefusedError):
            return RouteState.NOT_DEPLOYED, "connection refused: nothing listens there"
        if isinstance(cause, socket.gaierror):
            if cause.errno in _NO_SUCH_NAME:
                return RouteState.NOT_DEPLOYED, "the host name does not exist"
            return RouteState.UNREACHABLE, "the host name could not be looked up"
        if isinstance(cause, ssl.SSLError):
            detail = getattr(cause, "verify_message", "") or cause.reason or "handshake failed"
            return RouteState.UNREACHABLE, f"TLS failed: {detail}"
    if isinstance(error, httpcore.ProtocolError):
        return RouteState.UNREACHABLE, "what answers there does not speak HTTP"
    return RouteState.UNREACHABLE, f"the connection failed: {type(error).__name__}"


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__
