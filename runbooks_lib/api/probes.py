"""Does a running service have a route? Asked beside paths that cannot exist, for a guard may answer for all of them.

A login guard, a gateway or a single-page application answers 401, a redirect or a page for whatever stands below its
prefix. So each route is compared with siblings: paths of the same length that share its first segments (none of them,
one, up to all but the last) and are random from there. Where it is refused, a path below it is one more: the guard may
stand right before it. A route that is answered as one of them is can't be told.
"""

from __future__ import annotations

import re
import secrets
import time
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import cache

from runbooks_lib.api.headers import NO_HEADERS, Headers
from runbooks_lib.api.http import TIMEOUT_S, Reply, ask
from runbooks_lib.facts.contents import Probe, RouteState, ServiceProbe

DECOY = "__runbooks_probe__"
MAX_WORKERS = 4
_PARAMETER = re.compile(r":.*|\{.*\}|\[.*\]|\*.*")  # a segment of a declared path that stands for any value
_CHANGING = re.compile(r"[A-Za-z0-9+/_=-]{16,}|\d+")  # request ids, times, tokens: other ones in each answer
# A word of a path that stands by itself, also behind a %2F: a token may have `v1` in it by chance.
_WHOLE = r"(?:(?<![\w+-])|(?<=%%[0-9A-Fa-f]{2}))%s(?![\w+-])"
REFUSALS = frozenset({301, 302, 303, 307, 308, 400, 401, 403, 407})  # what a guard says instead of the route
_ANSWERED = frozenset({RouteState.PRESENT, RouteState.ABSENT})

Route = tuple[str, str]  # method and path


def probe_service(
    base_url: str | None, *, headers: Headers = NO_HEADERS, timeout_s: float = TIMEOUT_S
) -> ServiceProbe:
    """Ask for a path that cannot exist, to learn whether anybody is there and what the answers are worth."""
    started = time.perf_counter()
    path = f"/{DECOY}/{_random_word(0)}"
    reply = ask(base_url, "GET", path, headers=headers, timeout_s=timeout_s)
    state, reason = reply.state, reply.reason
    if state is RouteState.PRESENT:
        state = RouteState.INDISTINCT
        reason = f"answers {reply.status} to a path that cannot exist too (GET /{DECOY}/...)"
    return ServiceProbe(state=state, status=reply.status, reason=reason, duration_ms=_since(started))


def probe_routes(
    base_url: str | None,
    routes: Iterable[Route],
    *,
    headers: Headers = NO_HEADERS,
    timeout_s: float = TIMEOUT_S,
    workers: int = MAX_WORKERS,
) -> tuple[Probe, ...]:
    """Probe (method, path) pairs at one service, a few at a time; answers come in the order asked.

    A service that nobody can reach is asked once.
    """
    wanted = [(method.upper(), path) for method, path in routes]
    if not wanted:
        return ()
    service = probe_service(base_url, headers=headers, timeout_s=timeout_s)
    if not service.answers:
        return tuple(_unanswered(service, route) for route in wanted)

    def timed(route: Route) -> tuple[Reply, float]:
        started = time.perf_counter()
        reply = ask(base_url, *route, headers=headers, timeout_s=timeout_s)
        return reply, _since(started)

    with ThreadPoolExecutor(max_workers=max(1, min(workers, MAX_WORKERS))) as pool:
        replies = list(pool.map(timed, wanted))
        beside = {
            route: siblings(*route) + ((child(*route),) if reply.status in REFUSALS else ())
            for route, (reply, _) in zip(wanted, replies, strict=True)
            if reply.state is RouteState.PRESENT
        }
        asked = list(dict.fromkeys(sibling for each in beside.values() for sibling in each))
        answers = dict(zip(asked, (reply for reply, _ in pool.map(timed, asked)), strict=True))
    probes = []
    for route, (reply, took_ms) in zip(wanted, replies, strict=True):
        compared = [(sibling, answers[sibling]) for sibling in beside.get(route, ())]
        state, reason = _believe(route, reply, compared)
        probes.append(_probe(route, state, reply.status, reason, took_ms))
    return tuple(probes)


def siblings(method: str, path: str) -> tuple[Route, ...]:
    """Return paths beside a route that cannot exist: the nearest one twice, then one for each shorter prefix.

    The same ones for all routes with these first segments and as many after them, so that each is asked once.
    """
    bare, mark, query = path.partition("?")
    segments = [segment for segment in bare.split("/") if segment]
    fixed = [place for place, segment in enumerate(segments) if not _PARAMETER.fullmatch(segment)]
    nearest = fixed[-1] if fixed else 0
    _, dot, suffix = (segments or [""])[-1].rpartition(".")  # a server may treat .json or .php apart
    found = []
    for number, shared in enumerate((nearest, *range(nearest, -1, -1))):
        rest = max(len(segments) - shared, 1)
        unknown = [_random_word(shared + place) for place in range(rest)]
        if number == 0:
            unknown[0] = f"{DECOY}{unknown[0]}"  # for who reads the service's log
        made = "/" + "/".join([*segments[:shared], *unknown])
        found.append((method, made + (f".{suffix}" if dot and suffix.isalnum() else "") + mark + query))
    return tuple(found)


def child(method: str, path: str) -> Route:
    """Return a path below a route that cannot exist."""
    bare, mark, query = path.partition("?")
    return method, f"{bare.rstrip('/')}/{_random_word(0)}{mark}{query}"


@cache
def _random_word(number: int) -> str:
    """Return a word that looks like any other, another one in each process: some guards refuse what looks random."""
    del number
    return "".join(secrets.choice("bdfgklmnprstv") + secrets.choice("aeiou") for _ in range(5))


def _believe(route: Route, reply: Reply, beside: list[tuple[Route, Reply]]) -> tuple[RouteState, str]:
    """Return what a route's answer means beside those to its siblings; `reason` says it."""
    if reply.state is not RouteState.PRESENT:
        return reply.state, reply.reason
    for sibling, answer in beside:
        if _alike(route, reply, sibling, answer, by_body=_bodies_tell(beside)):
            reason = f"HTTP {reply.status}, and so is a path that cannot exist: {' '.join(sibling)}"
            return RouteState.INDISTINCT, reason
    _, nearest = beside[0]
    if nearest.state not in _ANSWERED:
        reason = f"HTTP {reply.status}, but a path that cannot exist gave no clear answer: {nearest.reason}"
        return RouteState.INDISTINCT, reason
    return RouteState.PRESENT, reply.reason


def _bodies_tell(beside: list[tuple[Route, Reply]]) -> bool:
    """Tell whether a body means something: not where the two nearest paths that cannot exist get different ones."""
    (path, first), (other, second) = beside[:2]
    words = _words(path[1]) | _words(other[1])
    return _head(first, words) != _head(second, words) or _body(first, words) == _body(second, words)


def _alike(route: Route, reply: Reply, sibling: Route, answer: Reply, *, by_body: bool) -> bool:
    """Tell whether two answers are the same but for the path."""
    words = _words(route[1]) | _words(sibling[1])
    if _head(reply, words) != _head(answer, words):
        return False
    return not by_body or _body(reply, words) == _body(answer, words)


def _head(reply: Reply, words: frozenset[str]) -> tuple[object, ...]:
    kind = reply.headers.get("content-type", "").partition(";")[0].strip().lower()
    challenge = reply.headers.get("www-authenticate", "").partition(" ")[0].lower()
    return reply.status, kind, challenge, _without(reply.headers.get("location", ""), words)


def _body(reply: Reply, words: frozenset[str]) -> str:
    return _without(reply.body.decode("latin-1"), words)


def _without(text: str, words: frozenset[str]) -> str:
    """Return a text without what the path, the time or the request changes in it."""
    for word in sorted(words, key=len, reverse=True):
        text = re.sub(_WHOLE % re.escape(word), "·", text)
    return _CHANGING.sub("#", text)


def _words(path: str) -> frozenset[str]:
    return frozenset(word for word in re.split(r"[/?&=.]", path) if word)


def _unanswered(service: ServiceProbe, route: Route) -> Probe:
    return _probe(route, service.state, None, service.reason, service.duration_ms)


def _probe(route: Route, state: RouteState, status: int | None, reason: str, duration_ms: float) -> Probe:
    method, path = route
    return Probe(method=method, path=path, state=state, status=status, reason=reason, duration_ms=duration_ms)


def _since(started: float) -> float:
    return (time.perf_counter() - started) * 1000
