"""fleet.toml: at which databases a phase is to be carried out, in which order, and how many at a time."""

from __future__ import annotations

import hashlib
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

from runbooks_lib.errors import SpecError
from runbooks_lib.given import read_given, text_of
from runbooks_lib.phase import Phase, Role
from runbooks_lib.phase.forms import AtLeast, Form, ServiceName
from runbooks_lib.phase.mistakes import Mistakes, below, shown, suggestion
from runbooks_lib.phase.reader import Reader

SPEC_VERSION = 1
SESSIONS_OF_A_RUN = 4  # that a run holds on a server at most, of its own, Prisma's and pg_dump's
Pattern = Annotated[
    str,
    Form(pattern=r"[A-Za-z0-9_.*?\[\]!-]+", accepted="names of services, with * and ?, such as tenant_*"),
]
Labels = Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Named:
    """A database by its service; without `database` the one that the service names."""

    service: ServiceName
    database: str | None = None
    labels: Labels = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Matching:
    """The databases of all services whose names match a pattern, as a shell's do."""

    services: Pattern
    labels: Labels = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Query:
    """A query on a control database; its columns are service, database and, where there are some, labels."""

    service: ServiceName
    database: str
    sql: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What a server is asked to bear: runs at the same time, and sessions of all of them together."""

    per_server: Annotated[int, AtLeast(1)] = 4
    connections: Annotated[int, AtLeast(SESSIONS_OF_A_RUN)] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Waves:
    """The waves by a label: its values in order; what has another one, or none, comes last."""

    by: str
    order: Annotated[tuple[str, ...], AtLeast(1)]


@dataclass(frozen=True, slots=True, kw_only=True)
class FleetFile:
    """fleet.toml as it was read.

    `target` is the target of the phase that each database stands for. `services` and `databases` say where the phase's
    other targets are then, with {service} and {database} for those of the first.
    """

    spec_version: int
    target: str | None = None
    services: Mapping[str, str] = field(default_factory=dict)
    databases: Mapping[str, str] = field(default_factory=dict)
    targets: tuple[Named, ...] = ()
    patterns: tuple[Matching, ...] = ()
    queries: tuple[Query, ...] = ()
    limits: Limits = Limits()
    waves: Waves | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Read:
    """A fleet file: its path, the SHA-256 (hex) of its bytes, and what it says of a phase."""

    path: Path
    sha256: str
    content: FleetFile
    target: str


def read_fleet_file(path: Path, phase: Phase) -> Read:
    """Read fleet.toml for a phase. Raises SpecError with every mistake, each with its key path."""
    try:
        octets = read_given(path)
        raw = tomllib.loads(text_of(octets))
    except OSError as error:
        raise SpecError(
            f"The fleet file {path} cannot be read: {error.strerror}.", "Name a file: --targets FILE."
        ) from error
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise SpecError(
            f"The fleet file {path} is no valid TOML: {error}.", "Correct the syntax there and run again."
        ) from error
    mistakes = Mistakes()
    for key, value in raw.items():
        mistakes.refuse_connection_strings(_without_sql(value) if key == "queries" else value, key)
    content = Reader(mistakes).table(FleetFile, raw, "")
    if type(raw.get("spec_version")) is int and content.spec_version != SPEC_VERSION:
        mistakes.add("spec_version", f"is {content.spec_version}", f"accepted is {SPEC_VERSION}")
    if not (content.targets or content.patterns or content.queries):
        mistakes.add(
            "targets", "are missing", "accepted are targets, patterns or queries, one of them at least"
        )
    target = _target(content, phase, mistakes)
    _check_others(content, phase, target, mistakes)
    mistakes.raise_all(path, "fleet file")
    return Read(path=path, sha256=hashlib.sha256(octets).hexdigest(), content=content, target=target)


def _without_sql(queries: Any) -> Any:
    """Return the queries without their text, in which `service = …` is a comparison."""
    if not isinstance(queries, list):
        return queries
    return [
        {k: v for k, v in each.items() if k != "sql"} if isinstance(each, dict) else each for each in queries
    ]


def _target(content: FleetFile, phase: Phase, mistakes: Mistakes) -> str:
    """Return the target that each database stands for: the named one, else the phase's only primary."""
    primaries = [name for name, each in phase.targets.items() if each.role is Role.PRIMARY]
    if content.target is None:
        if len(primaries) != 1:
            mistakes.add("target", f"is missing, and the phase has {len(primaries)} primaries",
                         f"accepted: {', '.join(primaries)}")  # fmt: skip
        return primaries[0] if primaries else ""
    if content.target not in primaries:
        mistakes.add(
            "target",
            f"names no primary of the phase: {shown(content.target)}",
            suggestion(content.target, primaries),
        )
    return content.target


def _check_others(content: FleetFile, phase: Phase, target: str, mistakes: Mistakes) -> None:
    """Note what is said of targets that the phase has not, and targets of which nothing is said."""
    others = [name for name in phase.targets if name != target]
    for key, said in (("services", content.services), ("databases", content.databases)):
        for name in said:
            if name not in others:
                mistakes.add(below(key, name), "is no other target of the phase", suggestion(name, others))
    for name in others:
        if name not in content.services:
            mistakes.add(
                below("services", name),
                "is missing: each database needs a place for this target of the phase",
                'accepted is the name of a service, such as "{service}_' + f'{name}"',
            )
