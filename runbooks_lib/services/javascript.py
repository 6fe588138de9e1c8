"""Read the HTTP routes that a JavaScript or TypeScript text declares.

No parser: comments and strings are masked first, so that what is left can be searched by
small expressions. All of them are possessive or bounded, so the time stays linear in the text.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass, field

_VERBS = "get|post|put|patch|delete|head|options|all"
_QUOTE = "['\"`]"

_TOKEN = re.compile(
    r"(?<!\\)//[^\n]*+"
    r"|(?<!\\)/\*(?:[^*]|\*(?!/))*+(?:\*/)?"
    r"|'[^'\\\n]*+(?:\\.[^'\\\n]*+)*+'?"
    r'|"[^"\\\n]*+(?:\\.[^"\\\n]*+)*+"?'
    r"|`[^`\\]*+(?:\\.[^`\\]*+)*+`?",
    re.DOTALL,
)
# .get<Types>(PREFIX + '/path'
_CALL = re.compile(
    rf"\.(?P<verb>{_VERBS})\s*+(?:<[^<>()]{{0,200}}+>)?+\s*+\(\s*+"
    rf"(?P<prefix>[\w$.]{{1,80}}+\s*+\+\s*+)?+(?={_QUOTE})"
)
_NOT_A_NAME = re.compile(r"[^\w$]")
_DECORATOR = re.compile(
    r"@(?P<name>Controller|Get|Post|Put|Patch|Delete|Head|Options|All)\s*+\(\s*+"
    rf"(?:\{{[^{{}}]{{0,500}}?\bpath\s*+:\s*+)?(?P<literal>(?={_QUOTE}))?"
)
_FRAME = re.compile(
    r"\.route\s*+\(|[(){}\[\]]"
    rf"|(?<![\w$.])(?P<key>method|url|path)\s*+:\s*+(?P<list>\[[^\]]{{0,200}}+\])?(?P<literal>(?={_QUOTE}))?"
)
_CHAINED = re.compile(rf"\s*+\.({_VERBS})\s*+\(")
_PAST_BLANKS = re.compile(r"\s*+")
_HANDLER_FOLLOWS = re.compile(r"\s*+,")

# Callers of routes, not declarers: axios.post('/x', body).
_CLIENTS = ("axios", "http", "https", "client", "httpservice", "fetch", "got", "ky", "superagent", "nock")


@dataclass(frozen=True, slots=True, kw_only=True)
class Declared:
    """One declared route; `rooted` is False when an expression stands before the literal path."""

    method: str
    path: str
    line: int
    rooted: bool = True


@dataclass(frozen=True, slots=True)
class _Masked:
    """A text whose comments are blanks and whose strings are empty of code, offsets unchanged."""

    code: str
    strings: dict[int, str]
    line_ends: list[int]

    def line(self, offset: int) -> int:
        return bisect_right(self.line_ends, offset - 1) + 1


@dataclass(slots=True)
class _Frame:
    """One open bracket; `opener` is the bracket, `route` for `.route(`, `chain` for a verb behind it."""

    opener: str
    offset: int
    path: str | None = None
    methods: list[str] = field(default_factory=list)


def declared_routes(text: str) -> Iterator[Declared]:
    """Yield the routes that a source text declares, in no particular order."""
    masked = _mask(text)
    yield from _calls(masked)
    yield from _decorators(masked)
    yield from _route_calls(masked)


def _mask(text: str) -> _Masked:
    strings: dict[int, str] = {}

    def blank(match: re.Match[str]) -> str:
        token = match.group()
        if token[0] == "/":
            return _fill(token, " ")
        closed = len(token) > 1 and token[-1] == token[0]
        inside = token[1:-1] if closed else token[1:]
        strings[match.start()] = inside
        return token[0] + _fill(inside, "_") + (token[0] if closed else "")

    code = _TOKEN.sub(blank, text)
    return _Masked(code, strings, [m.start() for m in re.finditer("\n", text)])


def _fill(token: str, filler: str) -> str:
    return filler * len(token) if "\n" not in token else re.sub(r"[^\n]", filler, token)


def _declared(masked: _Masked, method: str, path: str, offset: int, *, rooted: bool = True) -> Declared:
    """Make a route; `${PREFIX}/x` is `/x` behind an unknown prefix."""
    if path.startswith("${"):
        path, rooted = path.partition("}")[2], False
    return Declared(method=method.upper(), path=path, line=masked.line(offset), rooted=rooted)


def _calls(masked: _Masked) -> Iterator[Declared]:
    """Yield `router.get('/x', handler)`; without a handler it is a cache's or a test's `.get('/x')`."""
    for match in _CALL.finditer(masked.code):
        path = masked.strings.get(match.end())
        if path is None or _receiver(masked.code, match.start()).endswith(_CLIENTS):
            continue
        if _HANDLER_FOLLOWS.match(masked.code, match.end() + len(path) + 2):
            rooted = match["prefix"] is None
            yield _declared(masked, match["verb"], path, match.start("verb"), rooted=rooted)


def _receiver(code: str, dot: int) -> str:
    """Return the last name before a dot, in small letters: `this.http` is `http`."""
    before = code[max(0, dot - 80) : dot].rstrip().removesuffix(")")
    return _NOT_A_NAME.split(before)[-1].lower()


def _decorators(masked: _Masked) -> Iterator[Declared]:
    """Yield `@Get('x')` below the last `@Controller('y')` before it."""
    prefix = ""
    for match in _DECORATOR.finditer(masked.code):
        path = masked.strings.get(match.end(), "") if match["literal"] is not None else ""
        if match["name"] == "Controller":
            prefix = path
        else:
            whole = f"{prefix.rstrip('/')}/{path.lstrip('/')}"
            yield _declared(masked, match["name"], whole, match.start())


def _route_calls(masked: _Masked) -> Iterator[Declared]:
    """Yield `.route({ method, url })`, also in lists, and `.route('/x').get(...).post(...)`."""
    stack: list[_Frame] = []
    chains: dict[int, str] = {}  # where a chained verb's bracket opens -> the path it is for
    for match in _FRAME.finditer(masked.code):
        token = match.group()
        if match["key"]:
            _note_option(masked, stack, match)
        elif token[-1] in "({[":
            stack.append(_opened(masked, match, chains))
        elif stack:
            frame = stack.pop()
            if token == "}" and frame.path is not None and _in_route_call(stack):
                for method in frame.methods:
                    yield _declared(masked, method, frame.path, frame.offset)
            elif frame.opener in ("route", "chain") and frame.path is not None:
                chained = _CHAINED.match(masked.code, match.end())
                if chained:
                    chains[chained.end() - 1] = frame.path
                    yield _declared(masked, chained[1], frame.path, chained.start(1))


def _opened(masked: _Masked, match: re.Match[str], chains: dict[int, str]) -> _Frame:
    if match.group().startswith(".route"):
        literal = _PAST_BLANKS.match(masked.code, match.end())
        path = masked.strings.get(literal.end()) if literal else None
        return _Frame("route", match.start(), path)
    if match.start() in chains:
        return _Frame("chain", match.start(), chains[match.start()])
    return _Frame(match.group(), match.start())


def _in_route_call(stack: list[_Frame]) -> bool:
    """Whether the innermost bracket is `.route(`, or a list directly in it."""
    openers = [frame.opener for frame in stack[-2:]]
    return openers[-1:] == ["route"] or openers == ["route", "["]


def _note_option(masked: _Masked, stack: list[_Frame], match: re.Match[str]) -> None:
    """Keep `method:` and `url:` of the object that `.route(` was given, and of no other object."""
    if not stack or stack[-1].opener != "{" or not _in_route_call(stack[-3:-1]):
        return
    frame = stack[-1]
    literal = masked.strings.get(match.end()) if match["literal"] is not None else None
    if match["key"] != "method":
        frame.path = literal if literal is not None else frame.path
    elif match["list"]:
        quotes = re.finditer(_QUOTE, match["list"])
        inside = (masked.strings.get(match.start("list") + quote.start()) for quote in quotes)
        frame.methods += [name for name in inside if name]
    elif literal is not None:
        frame.methods.append("ALL" if literal == "*" else literal)
