"""What `runbooks diagnose` tells of a database: the types of its JSON."""

from __future__ import annotations

from enum import StrEnum

from runbooks_lib.checks import Check
from runbooks_lib.facts.writing import SettledMigration
from runbooks_lib.findings import Finding
from runbooks_lib.typed import Typed


class Condition(StrEnum):
    """The state of a database, by the first of these that it is in; `door` is the page of it."""

    STANDBY = "standby"
    READ_ONLY = "read-only"
    LOCKED = "locked"
    NO_PROJECT = "no project"
    OTHER_PROVIDER = "other provider"
    SCRIPT_LOST = "script lost"
    UNKNOWN_MIGRATIONS = "unknown migrations"
    NOT_REPLAYED = "not replayed"
    FAILED = "failed"
    NO_HISTORY = "no history"
    ANOTHER_DATABASE = "another database"
    EDITED = "edited"
    NOT_AS_RECORDED = "not as recorded"
    UNRECORDED = "unrecorded"
    IN_PART = "in part"
    NEEDS_MORE = "needs more"
    PENDING = "pending"
    NOT_ALLOWED = "not allowed"
    ROWS = "rows"
    BEYOND = "beyond the migrations"
    FINE = "fine"

    @property
    def door(self) -> str | None:
        """Return the id of the page that `runbooks explain` has of it."""
        return _DOORS.get(self)

    @property
    def draftable(self) -> bool:
        """Return whether a phase can bring it in line, or say what of it cannot be."""
        return self in _DRAFTABLE


_DRAFTABLE = frozenset(
    {
        Condition.FAILED,
        Condition.NO_HISTORY,
        Condition.NOT_AS_RECORDED,
        Condition.IN_PART,
        Condition.UNRECORDED,
        Condition.NEEDS_MORE,
        Condition.PENDING,
        Condition.ROWS,
        Condition.BEYOND,
    }
)
_DOORS = {
    Condition.STANDBY: "25006",
    Condition.READ_ONLY: "25006",
    Condition.LOCKED: "P1002",
    Condition.OTHER_PROVIDER: "P3019",
    Condition.SCRIPT_LOST: "P3015",
    Condition.UNKNOWN_MIGRATIONS: "extra",
    Condition.NOT_REPLAYED: "P3006",
    Condition.FAILED: "P3009",
    Condition.NO_HISTORY: "P3005",
    Condition.ANOTHER_DATABASE: "P3005",
    Condition.EDITED: "edited",
    Condition.NOT_AS_RECORDED: "drift",
    Condition.UNRECORDED: "42P07",
    Condition.IN_PART: "42P07",
    Condition.NEEDS_MORE: "P3006",
    Condition.NOT_ALLOWED: "42501",
    Condition.BEYOND: "drift",
}


class Server(Typed):
    """Who answers at a service; `pooled`: a pooler stands in between."""

    service: str
    server: str
    database: str
    role: str
    role_name: str
    server_version: str
    system_identifier: str | None
    pooled: bool


class Standby(Typed):
    """A server that receives this one's WAL: its name and address, and how far behind it is. None: not to be seen."""

    name: str | None
    address: str | None
    lag_bytes: int | None


class Project(Typed):
    """A Prisma project: its folder, Prisma's version, and how many migrations it has."""

    folder: str
    prisma: str
    migrations: int


class Diagnosis(Typed):
    """What `runbooks diagnose` found: the state in one sentence, the next command, and what they follow from.

    `migrations` are those that are not plainly recorded and standing, `findings` all that is not as it should be, or is
    good to know. `next` is empty where nothing is to be done.
    """

    server: Server
    project: Project | None
    standbys: tuple[Standby, ...]
    migrations: tuple[SettledMigration, ...]
    findings: tuple[Finding, ...]
    condition: Condition
    says: str
    next: str
    door: str | None
    schema_version: int = 1

    @property
    def extras(self) -> bool:
        """Return whether the database has objects that no migration makes."""
        return any(each.check == Check.NOTHING_IS_BEYOND_THE_MIGRATIONS for each in self.findings)

    @property
    def exit_code(self) -> int:
        """Return 0 when nothing is to be done, else 1."""
        return 0 if self.condition is Condition.FINE else 1
