"""The forms of the values of phase.toml: what a string must look like, how small a number may be."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated

from runbooks_lib.names import parts, qualified


@dataclass(frozen=True, slots=True, kw_only=True)
class Form:
    """The form of a string: a pattern that matches all of it, that pattern in words, and what gives it one spelling."""

    pattern: str
    accepted: str
    read: Callable[[str], str] = str


@dataclass(frozen=True, slots=True)
class OrAll:
    """An array for which the word "all" may stand: it is read as None."""

    word: str = "all"


@dataclass(frozen=True, slots=True)
class AtLeast:
    """The least value of an integer, or the least number of entries of an array."""

    least: int


PhaseId = Annotated[
    str,
    Form(pattern=r"[A-Za-z0-9][A-Za-z0-9._-]*", accepted="letters, digits, '-', '_' and '.'"),
]
SERVICE_NAME = Form(
    pattern=r"[A-Za-z0-9_][A-Za-z0-9_.-]*", accepted="the name of a service in pg_service.conf"
)
ServiceName = Annotated[str, SERVICE_NAME]
_PART = r'(?:[^\s."]{1,63}|"(?:[^"]|"")*(?:[.\s]|"")(?:[^"]|"")*")'
QualifiedName = Annotated[
    str,
    Form(
        pattern=rf"{_PART}\.{_PART}",
        accepted="schema.relation without quotes, such as public.Order, but for a part with a dot or a space",
        read=lambda name: qualified(*parts(name)),
    ),
]
FileName = Annotated[
    str,
    Form(pattern=r"[^/\\]*[^/\\.][^/\\]*", accepted="the name of a file in the folder of phase.toml"),
]
EnvironmentName = Annotated[
    str,
    Form(
        pattern=r"[A-Z_][A-Z0-9_]*", accepted="the name of an environment variable, such as KEYBUZZ_API_URL"
    ),
]
Method = Annotated[
    str, Form(pattern="GET|HEAD|OPTIONS|POST|PUT|PATCH|DELETE", accepted="an HTTP method in capitals")
]
UrlPath = Annotated[str, Form(pattern=r"/\S*", accepted="a path that begins with '/'")]
Positive = Annotated[int, AtLeast(1)]
Count = Annotated[int, AtLeast(0)]
