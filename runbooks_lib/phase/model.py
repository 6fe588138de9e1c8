"""What a phase says must be true, as frozen dataclasses.

The dataclasses are also the grammar of phase.toml: the reader takes the accepted keys, their
types and which of them may be left out from the fields below, and the form of a value from
its annotation (`Form`, `AtLeast`). A field without a default is a key that must be there.

The names of relations and types are stored as `names.qualified` spells them: schema.relation.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Annotated

from runbooks_lib.phase.forms import (
    AtLeast,
    Count,
    EnvironmentName,
    FileName,
    Method,
    OrAll,
    PhaseId,
    Positive,
    QualifiedName,
    ServiceName,
    UrlPath,
)
from runbooks_lib.phase.text import Text

# 2: seeds may name a file, backup may have data; 3: every section but targets may be left out, [prisma], [schema]
SPEC_VERSION = 3
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


class Role(StrEnum):
    """What a target's server is declared to be."""

    PRIMARY = "primary"
    STANDBY = "standby"


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
    """An enum type and its labels in their order (None: not declared, and so not judged; so is the owner)."""

    name: QualifiedName
    owner: str | None = None
    labels: Annotated[tuple[str, ...], AtLeast(1)] | None = None


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
    """A table, its columns in their order, and how many rows it holds. What is None is not declared, and not judged."""

    name: QualifiedName
    owner: str | None = None
    columns: Annotated[tuple[Column, ...], AtLeast(1)] | None = None
    primary_key: tuple[str, ...] | None = None
    rows: Count | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Index:
    """An index, `definition` exactly as pg_get_indexdef() prints it. Its owner is its table's. None: not declared.

    Where its definition is not known, its table may be, and whether it is `unique`.
    """

    name: QualifiedName
    table: QualifiedName | None = None
    definition: str | None = None
    unique: bool | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Seeds:
    """Rows that a table must hold, found by `key`; `tenant` is the column that names the tenant.

    They stand in `rows`, or in a `file` beside phase.toml (CSV or TSV, see `seed_file`) where they are many.
    `exact` True: other rows, of the declared tenants where there is a tenant, are unexpected. Where it is not said,
    it is so with a tenant only. `anywhere` are columns whose values are known and whose names are not: each is the
    column of the table that holds most of them.
    """

    table: QualifiedName
    key: Annotated[tuple[str, ...], AtLeast(1)]
    rows: Annotated[tuple[Mapping[str, object], ...], AtLeast(1)] = ()
    file: FileName | None = None
    tenant: str | None = None
    exact: bool | None = None
    anywhere: tuple[str, ...] = ()

    @property
    def allows_others(self) -> bool:
        """Tell whether rows that nobody declared are nobody's business here."""
        return not (self.tenant is not None if self.exact is None else self.exact)


@dataclass(frozen=True, slots=True, kw_only=True)
class Ignored:
    """Objects that may be there besides, and why; `object` is an fnmatch pattern of `kind name`, or of `name`."""

    object: str
    why: str

    def covers(self, kind: str, name: str) -> bool:
        """Tell whether an object of this kind and name is meant."""
        return fnmatchcase(f"{kind} {name}", self.object) or fnmatchcase(name, self.object)


class SchemaSource(StrEnum):
    """What the schema of the written target has to equal."""

    MIGRATIONS = "migrations"


@dataclass(frozen=True, slots=True, kw_only=True)
class Schema:
    """What must stand: what the project's migrations make, or a file beside phase.toml. And what may be there besides.

    What the file makes stands in `target`; where none is named, in Prisma's, the baseline's, or the only primary.
    """

    source: SchemaSource | None = field(default=None, metadata={"key": "from"})
    file: FileName | None = None
    target: str | None = None
    ignore: tuple[Ignored, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Backup:
    """The targets whose schema is dumped before anything is written; of those in `data` the rows, too.

    Where the file names none they are those that are written: none, in a phase that writes nothing.
    """

    targets: tuple[str, ...] = ()
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
class RepairedMigration:
    """A migration that is recorded as applied, of which the baseline makes anew what is missing, and why it may."""

    migration: str
    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Baseline:
    """The idempotent SQL file that lies beside phase.toml, and the target it is applied to.

    `source`: where the project's migrations make the tables and enums of the file otherwise, theirs are run.
    `concurrently` is a second one, of the indexes that are built CONCURRENTLY: after it, outside its transaction.
    `published_as` is where the phase's owner keeps the file, for the report. `lint` says what warnings of the
    linter mean. `repairs` are recorded migrations of which something is missing: without a reason that stays red.
    """

    file: FileName
    target: str
    source: SchemaSource | None = field(default=None, metadata={"key": "from"})
    concurrently: FileName | None = None
    lock_timeout_ms: Positive = 5_000  # 0 would wait for ever
    statement_timeout_ms: Positive = 60_000
    published_as: str | None = None
    lint: tuple[LintRule, ...] = ()
    repairs: tuple[RepairedMigration, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class AcceptedMigration:
    """A migration that only the database has, and why it may."""

    migration: str
    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Prisma:
    """The target whose history is brought in line, and the migrations to be settled: None means all of the folder."""

    target: str
    settle: Annotated[tuple[str, ...], OrAll(), AtLeast(1)] | None = None
    accept: tuple[AcceptedMigration, ...] = ()


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

    Selected are the findings of `steps` whose check is in `checks`, whose target is in `targets` and whose object
    matches one of the fnmatch patterns in `objects`; an empty `targets` or `objects` selects all. Each check, target
    and pattern has to select one. A `manual` item is never ticked by the software; `reason` says why.
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

    `folder` is where phase.toml lies; `digest` is the SHA-256 (hex) of phase.toml and the files that it names
    beside it; `owner` is the default owner. These three are not keys of the file's top level. Every section but
    `targets` may be left out: what is not declared is not asked, and said so.
    """

    spec_version: int
    id: PhaseId
    title: Text
    folder: Path
    digest: str
    targets: Annotated[Mapping[str, Target], AtLeast(1)]
    owner: str | None = None
    objective: Text | None = None
    background: Text | None = None
    schema: Schema = Schema()
    tables: tuple[Table, ...] = ()
    enums: tuple[Enum, ...] = ()
    indexes: tuple[Index, ...] = ()
    backup: Backup = Backup()
    baseline: Baseline | None = None
    prisma: Prisma | None = None
    seeds: tuple[Seeds, ...] = ()
    services: Mapping[str, Service] = field(default_factory=dict)
    routes: tuple[Route, ...] = ()
    checklist: tuple[ChecklistItem, ...] = ()
    next_steps: tuple[Text, ...] = ()
    route_options: tuple[Text, ...] = ()
    files: tuple[File, ...] = ()

    @property
    def written(self) -> str | None:
        """Return the target whose database is named in the confirmation: the baseline's, else Prisma's."""
        section = self.baseline or self.prisma
        return section.target if section else None

    @property
    def without_rows(self) -> tuple[str, ...]:
        """Return the targets whose rows are not judged, whatever is declared of rows (data = false)."""
        return tuple(target.name for target in self.targets.values() if not target.data)

    @property
    def without_limit_of_lag(self) -> tuple[str, ...]:
        """Return the standbys that may be behind by any amount (no max_lag_bytes)."""
        return tuple(
            target.name
            for target in self.targets.values()
            if target.role is Role.STANDBY and target.max_lag_bytes is None
        )

    def repaired(self, migrations: Collection[str]) -> RepairedMigration | None:
        """Return the first of some recorded migrations of which the baseline may make anew what is missing."""
        repairs = self.baseline.repairs if self.baseline else ()
        return next((each for each in repairs if each.migration in migrations), None)

    def ignored(self, kind: str, name: str) -> Ignored | None:
        """Return the entry that lets an object be there which nobody declared; None when there is none."""
        return next((each for each in self.schema.ignore if each.covers(kind, name)), None)
