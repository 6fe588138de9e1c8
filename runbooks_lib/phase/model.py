"""What a phase says must be true, as frozen dataclasses.

The dataclasses are also the grammar of phase.toml: the reader takes the accepted keys, their
types and which of them may be left out from the fields below, and the form of a value from
its annotation (`Form`, `AtLeast`). A field without a default is a key that must be there.

The names of relations and types are stored as `names.qualified` spells them: schema.relation.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Annotated

from runbooks_lib.names import parts, qualified

SPEC_VERSION = 3  # 2: seeds may name a file, backup may have data; 3: accept
OLDEST_SPEC_VERSION = 1

# The steps of a phase in their order; a checklist item names those it looks at.
STEPS = (
    "preflight",
    "backup",
    "baseline_migration",
    "prisma_resolve",
    "seed_verification",
    "api_routes",
    "report",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Form:
    """The form of a string: a pattern that matches all of it, that pattern in words, and what gives it one spelling."""

    pattern: str
    accepted: str
    read: Callable[[str], str] = str


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


class Role(StrEnum):
    """What a target's server is declared to be."""

    PRIMARY = "primary"
    STANDBY = "standby"


@dataclass(frozen=True, slots=True, kw_only=True)
class Text:
    """One text in the two languages of the report."""

    fr: str
    en: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """A database of a server, by the name of a libpq service; never by a DSN.

    `data` False: only the schema is judged there, row counts and seed rows are not.
    `primary` is the target that a standby follows; the loader fills it in.
    """

    name: str
    service: ServiceName
    role: Role
    database: str
    data: bool = True
    max_lag_bytes: Count | None = None
    primary: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Enum:
    """An enum type and its labels in their order."""

    name: QualifiedName
    owner: str
    labels: Annotated[tuple[str, ...], AtLeast(1)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """A column as the server prints it when search_path is pg_catalog alone.

    `type` as format_type() prints it, `default` as pg_get_expr() does.
    """

    name: str
    type: str
    not_null: bool = False
    default: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """A table, its columns in their order, and how many rows it holds (None: not judged)."""

    name: QualifiedName
    owner: str
    columns: Annotated[tuple[Column, ...], AtLeast(1)]
    primary_key: tuple[str, ...]
    rows: Count | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Index:
    """An index, `definition` exactly as pg_get_indexdef() prints it. Its owner is its table's."""

    name: QualifiedName
    table: QualifiedName
    definition: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Seeds:
    """Rows that a table must hold, found by `key`; `tenant` is the column that names the tenant.

    They stand in `rows`, or in a `file` beside phase.toml (CSV or TSV, see `seed_file`) where they are many.
    """

    table: QualifiedName
    key: Annotated[tuple[str, ...], AtLeast(1)]
    rows: Annotated[tuple[Mapping[str, object], ...], AtLeast(1)] = ()
    file: FileName | None = None
    tenant: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Accepted:
    """Something that a declared table has and the phase does not declare, as the finding calls it, and why it may."""

    object: str
    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Backup:
    """The targets whose schema is dumped before anything is written; of those in `data` the rows, too."""

    targets: Annotated[tuple[str, ...], AtLeast(1)]
    data: tuple[str, ...] = ()


class LintVerdict(StrEnum):
    """What a warning of the linter means to this phase."""

    SKIP = "SKIP"  # accepted, and `why` says so
    OPEN = "OPEN"
    FAIL = "FAIL"


@dataclass(frozen=True, slots=True, kw_only=True)
class LintRule:
    """The verdict of one of squawk's rules, and why. A rule that is not listed is OPEN."""

    rule: str
    verdict: LintVerdict
    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Baseline:
    """The idempotent SQL file that lies beside phase.toml, and the target it is applied to.

    `published_as` is where the phase's owner keeps the file, for the report. `lint` says what warnings of the
    linter mean.
    """

    file: FileName
    target: str
    lock_timeout_ms: Positive  # 0 would wait for ever
    statement_timeout_ms: Positive
    published_as: str | None = None
    lint: tuple[LintRule, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Migration:
    """The Prisma migration to be marked as applied, and the target whose history is written."""

    name: str
    target: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Service:
    """An HTTP service: the environment variable that holds its base URL, and its Deployment.

    `blocking` True: the phase cannot do without it, and a service that does not answer is a failure; else it
    is an open item. `headers_env` is the variable that holds a token or headers to ask it with, where
    a guard answers alike for every route; with them a probe acts as whom they name. `source_env` is the variable that
    holds the folder of its source code. `deployed` is what the phase's author knows of its deployment, for the report.
    """

    name: str
    url_env: EnvironmentName
    blocking: bool = False
    headers_env: EnvironmentName | None = None
    source_env: EnvironmentName | None = None
    namespace: str | None = None
    deployment: str | None = None
    deployed: Text | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """A route, the services it is probed at, and the tables (`table`) that it serves.

    `blocking` False: an absent route is an open item of the checklist, not a failure.
    """

    method: Method
    path: UrlPath
    services: Annotated[tuple[str, ...], AtLeast(1)]
    why: Text
    blocking: bool = False
    table: tuple[QualifiedName, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ChecklistItem:
    """A box of the checklist: ticked when each finding that it selects is PASS.

    Selected are the findings of `steps` whose check is in `checks`, whose target is in
    `targets` and whose object matches one of the fnmatch patterns in `objects`; an empty
    `targets` or `objects` selects all. A `manual` item is never ticked by the software;
    `reason` says why.
    """

    text: Text
    steps: tuple[str, ...] = ()
    checks: tuple[str, ...] = ()
    targets: tuple[str, ...] = ()
    objects: tuple[str, ...] = ()
    manual: bool = False
    reason: Text | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class File:
    """A file that the phase leaves behind, and what it is."""

    path: str
    text: Text


@dataclass(frozen=True, slots=True, kw_only=True)
class Phase:
    """One operation, declared as data.

    `folder` is where phase.toml lies; `digest` is the SHA-256 (hex) of phase.toml, the baseline
    file and the files of seeds; `owner` is the default owner. These three are not keys of the
    file's top level.
    """

    spec_version: int
    id: PhaseId
    title: Text
    folder: Path
    digest: str
    objective: Text
    targets: Annotated[Mapping[str, Target], AtLeast(1)]
    owner: str
    tables: Annotated[tuple[Table, ...], AtLeast(1)]
    backup: Backup
    baseline: Baseline
    migration: Migration
    enums: tuple[Enum, ...] = ()
    indexes: tuple[Index, ...] = ()
    seeds: tuple[Seeds, ...] = ()
    services: Mapping[str, Service] = field(default_factory=dict)
    routes: tuple[Route, ...] = ()
    checklist: tuple[ChecklistItem, ...] = ()
    background: Text | None = None
    accept: tuple[Accepted, ...] = ()
    next_steps: tuple[Text, ...] = ()
    route_options: tuple[Text, ...] = ()
    files: tuple[File, ...] = ()
