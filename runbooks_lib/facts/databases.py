"""What steps 1 and 2 found out: who answers at each target, what it holds, how it was dumped."""

from __future__ import annotations

from typing import ClassVar

from runbooks_lib.facts.base import Facts
from runbooks_lib.typed import Moment, Typed


class Who(Typed):
    """Who answered at a target: server, system and role."""

    server_version: str
    system_identifier: str | None
    server: str | None = None
    role: str = ""
    declared_role: str = ""
    host: str = ""
    address: str = ""
    port: int = 0
    database: str = ""
    role_name: str = ""
    timeline: int | None = None
    in_recovery: bool | None = None
    server_version_num: int = 0
    lsn: str = ""
    started: str = ""
    cluster_name: str = ""
    data_checksums: str = ""
    data_directory: str | None = None
    history: str | None = None


class Targets(Facts):
    """preflight.targets: who answered, by target."""

    QUESTION: ClassVar = ("preflight", "targets")
    targets: dict[str, Who] = {}


class Sought(Typed):
    """One object that was looked for: what is there, in words and as a state, by "server database"."""

    kind: str
    object: str
    places: dict[str, str]
    states: dict[str, str] = {}


class Matrix(Facts):
    """preflight.find_objects: where the declared objects are."""

    QUESTION: ClassVar = ("preflight", "find_objects")
    matrix: tuple[Sought, ...] = ()


class HeldTable(Typed):
    """A declared table that is there."""

    rows: int
    owner: str = ""


class HeldEnum(Typed):
    """A declared enum that is there."""

    owner: str
    labels: tuple[str, ...]


class HeldIndex(Typed):
    """A declared index that is there."""

    table: str
    definition: str
    unique: bool
    valid: bool


class Held(Typed):
    """What a target holds of the declared objects, by name; `fingerprint` is that of its whole catalogue."""

    fingerprint: str = ""
    tables: dict[str, HeldTable] = {}
    enums: dict[str, HeldEnum] = {}
    indexes: dict[str, HeldIndex] = {}


class Schema(Facts):
    """preflight.schema: what each target holds."""

    QUESTION: ClassVar = ("preflight", "schema")
    targets: dict[str, Held] = {}


class Sample(Typed):
    """How many bytes of WAL a standby had left to replay at a moment."""

    at: Moment
    lag_bytes: int


class Lag(Typed):
    """A standby's lag: `lag_bytes` when asked, then how long it took to replay that LSN of its primary.

    `samples` are what was seen meanwhile. `status` is that of the WAL receiver, None when there is none; `receiver`
    says the same in words. `apply_delay_ms` is by how much the standby is late on purpose.
    """

    lag_bytes: int
    primary_lsn: str = ""
    replay_lsn: str = ""
    receiver: str = ""
    status: str | None = None
    paused: bool = False
    apply_delay_ms: int = 0
    waited_s: float = 0.0
    replayed: bool = False
    samples: tuple[Sample, ...] = ()

    @property
    def streams(self) -> bool:
        """Return whether the standby receives WAL and replays it."""
        return self.status == "streaming" and not self.paused


class Replication(Facts):
    """preflight.replication: the lag of each standby."""

    QUESTION: ClassVar = ("preflight", "replication")
    lag: dict[str, Lag] = {}


class Readiness(Facts):
    """preflight.readiness: the size of the largest database, and what is free where the runs are kept."""

    QUESTION: ClassVar = ("preflight", "readiness")
    database_bytes: int | None = None
    free_bytes: int | None = None


class ChosenClient(Typed):
    """The pg_dump that was chosen for a target."""

    version: str
    server_major: int = 0
    bindir: str = ""


class Clients(Facts):
    """backup.client: the client of each target."""

    QUESTION: ClassVar = ("backup", "client")
    clients: dict[str, ChosenClient] = {}


class RowsDump(Typed):
    """A dump of the rows: a directory, and per table its number of rows and their digest.

    `sequences` have [last value, called] before and after the dump; `told` names by kind what was not read.
    """

    path: str
    files: int
    size_bytes: int
    sha256: str
    complete: bool
    database_bytes: int = 0
    tables: dict[str, tuple[int, str]] = {}
    sequences: dict[str, tuple[tuple[int, bool], tuple[int, bool]]] = {}
    told: dict[str, list[str]] = {}


class Dump(Typed, omit_defaults=True):
    """A schema's dump: its file, and the fingerprints of the catalogue and of what a dump carries of it."""

    path: str
    size_bytes: int
    sha256: str
    complete: bool
    database: str
    fingerprint: str
    content_sha256: str = ""
    dumped: str = ""
    data: RowsDump | None = None


class Dumps(Facts):
    """backup.dump: the dumps, by target."""

    QUESTION: ClassVar = ("backup", "dump")
    dumps: dict[str, Dump] = {}


class RestoredDump(Typed):
    """What a dump made in a scratch server, and the statements that could not be executed there."""

    server_version: str
    fingerprint: str
    left_out: tuple[str, ...] = ()
    by_superuser: tuple[str, ...] = ()
    needs_superuser: tuple[str, ...] = ()


class Proof(Facts):
    """backup.prove: what each target's dump restored to, and what a superuser may make in scratch servers."""

    QUESTION: ClassVar = ("backup", "prove")
    restored: dict[str, RestoredDump] = {}
    superuser_objects: tuple[str, ...] = ()
