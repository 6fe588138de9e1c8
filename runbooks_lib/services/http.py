"""Ask a running service whether it has a route.

Nothing is followed, sent or kept: no redirect, no credential, no body, no proxy
(a proxy answers for a service that is not there). A POST is sent without a body
and without credentials, so that a route which would act refuses it.
"""

from __future__ import annotations

import secrets
import socket
import ssl
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from enum import StrEnum
from functools import cache

import httpx

DECOY = "__runbooks_probe__"
MAX_WORKERS = 4
_HEADERS = {"User-Agent": "runbooks"}
_NO_SUCH_NAME = frozenset({socket.EAI_NONAME, getattr(socket, "EAI_NODATA", socket.EAI_NONAME)})


class RouteState(StrEnum):
    """What a service says about one route."""

    PRESENT = "present"
    ABSENT = "absent"
    NOT_DEPLOYED = "not_deployed"  # no base URL, no such host, or nobody listens
    UNREACHABLE = "unreachable"  # could not be checked: time-out, TLS, no route, no HTTP
    SERVER_ERROR = "server_error"
    INDISTINCT = "indistinct"  # could not be told: paths that cannot exist get the same answer


@dataclass(frozen=True, slots=True, kw_only=True)
class Probe:
    """What one request for one route came to; `reason` is one line without credentials."""

    method: str
    path: str
    state: RouteState
    status: int | None
    reason: str
    duration_ms: float


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceProbe:
    """What a service answers to a path that cannot exist.

    `state` is ABSENT for a service that answers as it should, INDISTINCT for one
    that has an answer to everything (`catch_all`).
    """

    state: RouteState
    status: int | None
    reason: str
    duration_ms: float

    @property
    def answers(self) -> bool:
        """Whether anything at all came back over HTTP."""
        return self.status is not None

    @property
    def catch_all(self) -> bool:
        """Whether the service has an answer to everything, so that a route's presence cannot be told."""
        return self.state is RouteState.INDISTINCT


def probe(base_url: str | None, method: str, path: str, *, timeout_s: float = 5.0) -> Probe:
    """Send one request for one route and classify the answer.

    Writes nothing here; `timeout_s` bounds each of connecting, sending and waiting for the
    answer's head, whose body is not read. Never raises for what a service does or fails to do.
    Whether the service answers everything alike is told by `probe_service`, and
    taken into account by `probe_routes`.
    """
    started = time.perf_counter()
    state, status, reason = _ask(base_url, method.upper(), path, timeout_s)
    duration_ms = (time.perf_counter() - started) * 1000
    return Probe(
        method=method.upper(), path=path, state=state, status=status, reason=reason, duration_ms=duration_ms
    )


def probe_service(
    base_url: str | None, *, method: str = "GET", under: str = "", timeout_s: float = 5.0
) -> ServiceProbe:
    """Ask for a path that cannot exist, below `under`, to learn what the service's answers are worth."""
    decoy = probe(base_url, method, f"{under}/{DECOY}/{secrets.token_hex(8)}", timeout_s=timeout_s)
    state, reason = decoy.state, decoy.reason
    if state is RouteState.PRESENT:
        state = RouteState.INDISTINCT
        where = f"{decoy.method} {under}/{DECOY}/..."
        reason = f"answers {decoy.status} to a path that cannot exist too ({where})"
    return ServiceProbe(state=state, status=decoy.status, reason=reason, duration_ms=decoy.duration_ms)


def probe_routes(
    base_url: str | None,
    routes: Iterable[tuple[str, str]],
    *,
    timeout_s: float = 5.0,
    workers: int = MAX_WORKERS,
) -> tuple[Probe, ...]:
    """Probe (method, path) pairs at one service, a few at a time; answers come in the order asked.

    A service that nobody can reach is asked once. A route is called present only when a path
    beside it that cannot exist, asked for with the same method, is not answered alike: a
    gateway or a login guard may answer for a whole prefix.
    """
    wanted = [(method.upper(), path) for method, path in routes]
    if not wanted:
        return ()
    service = probe_service(base_url, timeout_s=timeout_s)
    if not service.answers:
        return tuple(_unanswered(service, method, path) for method, path in wanted)
    with ThreadPoolExecutor(max_workers=max(1, min(workers, MAX_WORKERS))) as pool:
        probes = list(pool.map(lambda r: probe(base_url, *r, timeout_s=timeout_s), wanted))
        guards = {(p.method, _prefix(p.path)): None for p in probes if p.state is RouteState.PRESENT}
        answers = pool.map(
            lambda key: probe_service(base_url, method=key[0], under=key[1], timeout_s=timeout_s), guards
        )
        decoys = dict(zip(guards, answers, strict=True))
    return tuple(_believe(p, decoys.get((p.method, _prefix(p.path)))) for p in probes)


def _unanswered(service: ServiceProbe, method: str, path: str) -> Probe:
    return Probe(
        method=method,
        path=path,
        state=service.state,
        status=None,
        reason=service.reason,
        duration_ms=service.duration_ms,
    )


def _believe(route: Probe, decoy: ServiceProbe | None) -> Probe:
    """Doubt a present route when the decoy beside it was not plainly absent."""
    if decoy is None or decoy.state is RouteState.ABSENT:
        return route
    reason = f"HTTP {route.status}, but the service {decoy.reason}"
    if not decoy.catch_all:
        reason = f"HTTP {route.status}, but a path that cannot exist gave no clear answer: {decoy.reason}"
    return replace(route, state=RouteState.INDISTINCT, reason=reason)


def _prefix(path: str) -> str:
    """Return the first two segments (/api/v1), but never the whole path: where guards are mounted."""
    segments = [s for s in path.split("/") if s]
    return "".join(f"/{s}" for s in segments[: max(0, min(2, len(segments) - 1))])


def _ask(
    base_url: str | None, method: str, path: str, timeout_s: float
) -> tuple[RouteState, int | None, str]:
    if not base_url or not base_url.strip():
        return RouteState.NOT_DEPLOYED, None, "no base URL is set"
    try:
        url = _join(base_url.strip(), path)
    except (httpx.InvalidURL, ValueError, TypeError):
        return RouteState.UNREACHABLE, None, "the base URL is not a valid http:// or https:// address"
    try:
        with (
            httpx.Client(verify=_tls(), trust_env=False, timeout=timeout_s) as client,
            client.stream(method, url, headers=_HEADERS) as response,
        ):
            return _classify(response.status_code, method)
    except httpx.TimeoutException:
        return RouteState.UNREACHABLE, None, f"no answer from {_where(url)} within {timeout_s:g} s"
    except (httpx.TransportError, OSError) as error:
        state, reason = _transport(error)
        return state, None, f"{reason} ({_where(url)})"


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
        return RouteState.ABSENT, status, f"HTTP 405: the path exists, but not with {method}"
    if status >= 500:
        return RouteState.SERVER_ERROR, status, f"HTTP {status}"
    if status in {408, 421, 429}:
        return RouteState.INDISTINCT, status, f"HTTP {status} comes from before the routes"
    return RouteState.PRESENT, status, f"HTTP {status}"


def _transport(error: BaseException) -> tuple[RouteState, str]:
    """Tell 'nobody is there' from 'could not be checked' by the causes of an httpx error."""
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
    if isinstance(error, httpx.ProtocolError):
        return RouteState.UNREACHABLE, "what answers there does not speak HTTP"
    return RouteState.UNREACHABLE, f"the connection failed: {type(error).__name__}"


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__
