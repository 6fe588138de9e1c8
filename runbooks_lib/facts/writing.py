"""What steps 3 and 4 found out: the plan, what was done of it, and what Prisma said."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from runbooks_lib.facts.base import Facts
from runbooks_lib.typed import Typed


class Parsed(Facts):
    """baseline_migration.parse: the SQL file, and how many statements it has."""

    QUESTION: ClassVar = ("baseline_migration", "parse")
    file: str | None = None
    sha256: str | None = None
    statements: int | None = None


class PlannedStatement(Typed):
    """A statement of the baseline, and what it would do to its object."""

    line: int
    kind: str
    object: str
    would: str


class SettledStatement(Typed):
    """A statement of a migration that leaves something in the catalogue, and what of that stands.

    `index` is its number from 0; without one it is the script as a whole.
    """

    index: int | None
    line: int
    words: str
    stands: str


class DataDone(Typed, omit_defaults=True):
    """A statement that changes rows: whether it is done, and how many rows it would still change (None: not known)."""

    line: int
    words: str
    done: str
    why: str = ""
    rows: int | None = None


class SettledMigration(Typed, omit_defaults=True):
    """A migration: how it is recorded, what of it stands, with its rows (`whole`), and what is to become of it.

    `of` is the number of its statements. `completed`: the baseline makes a part of it. `hindered`: others that a
    deploy would run, too.
    """

    migration: str
    recorded: str
    stands: str
    whole: str
    action: str
    edited: bool = False
    of: int = 0
    statements: tuple[SettledStatement, ...] = ()
    data: tuple[DataDone, ...] = ()
    completed: bool = False
    hindered: tuple[str, ...] = ()


class DeployRehearsed(Typed):
    """A migration that was run in a copy of the target: how long, under which locks, and what it wrote anew.

    `locks` are (relation, mode).
    """

    migration: str
    duration_ms: float
    locks: tuple[tuple[str, str], ...] = ()
    rewritten: tuple[str, ...] = ()
    error: str | None = None


class NotUndone(Typed):
    """What no undo script takes back: a statement of the baseline by its line (0: what Prisma does), and why."""

    line: int
    words: str
    why: str


class Undo(Typed):
    """The script that takes back what a baseline would make: where it is kept in the run, and what it does.

    `settings` come first in its transaction, then the `checks` that refuse where rows or values have come since.
    `rehearsed` says whether it was run in the rehearsal, and went through; None before that.
    """

    path: str = "plan/undo.sql"
    settings: tuple[str, ...] = ()
    checks: tuple[str, ...] = ()
    statements: tuple[str, ...] = ()
    left_over: tuple[NotUndone, ...] = ()
    rehearsed: bool | None = None


OF_MIGRATIONS = "baseline_of_migrations.sql"  # in plan/: what is run where it is not the phase's file


class Plan(Facts):
    """baseline_migration.plan: what would be done, and the hash over all that this depends on.

    `parts` are what the hash is made of, `makes` what the script makes on its own ([kind, name, value]), `pending`
    what of that the target has not so ([kind, name]). `settlement` says what is to become of each migration, `to_come`
    what those make that are to be deployed ([kind, name]), and `deploys` how they ran in a copy. `confirmation` is
    DATABASE:HASH8, and empty where a finding closes the gate: what is red can't be confirmed. `undo` is the way back;
    None where nothing would be made. `sql` is the script, where it is not the phase's file. Of a plan that was kept,
    `run` says in which run it was made.
    """

    QUESTION: ClassVar = ("baseline_migration", "plan")
    parts: dict[str, Any] = {}
    hash: str = ""
    confirmation: str = ""
    statements: tuple[PlannedStatement, ...] = ()
    makes: list[list[Any]] | None = None
    pending: list[tuple[str, str]] = []
    where: str = "in an empty database"
    scratch_version: str = ""
    settlement: tuple[SettledMigration, ...] = ()
    to_come: list[tuple[str, str]] = []
    deploys: tuple[DeployRehearsed, ...] = ()
    undo: Undo | None = None
    sql: str = ""


class KeptPlan(Plan):
    """plan/plan.json: a plan as it is kept to be confirmed, and the run in which it was made."""

    run: str = ""


class Fingerprint(Typed):
    """The fingerprint of a catalogue."""

    fingerprint: str


class Written(Typed):
    """How many rows of a table were inserted, updated, deleted."""

    inserted: int = 0
    updated: int = 0
    deleted: int = 0


class Rehearsal(Facts):
    """baseline_migration.rehearse: the catalogue before and after, and what the script wrote each time.

    `left` are the lines of the statements that were left out, `sequences` those that it moved nonetheless, `locks` its
    (name, mode) on relations that were there before. `undo` is the plan's, and says whether it was rehearsed.
    """

    QUESTION: ClassVar = ("baseline_migration", "rehearse")
    before: Fingerprint | None = None
    after: Fingerprint | None = None
    first: dict[str, Written] = {}
    second: dict[str, Written] = {}
    left: tuple[int, ...] = ()
    sequences: tuple[str, ...] = ()
    locks: tuple[tuple[str, str], ...] = ()
    undo: Undo | None = None


class Confirmed(Typed):
    """Which plan was confirmed, by whom and when."""

    confirmation: str = ""
    by: str = ""
    at: str = ""


class Confirmation(Facts):
    """baseline_migration.confirmation: what was confirmed; None when nothing is to be written."""

    QUESTION: ClassVar = ("baseline_migration", "confirmation")
    confirmed: Confirmed | None = None


class Outcome(Typed):
    """What the server said of one statement: its command tag and its notices ("…already exists, skipping")."""

    line: int
    object: str
    tag: str
    notices: tuple[str, ...]


class Applied(Facts):
    """baseline_migration.apply: whether the baseline is applied (None: nobody can tell), and what the server said."""

    QUESTION: ClassVar = ("baseline_migration", "apply")
    applied: bool | None = False
    outcomes: tuple[Outcome, ...] = ()
    transaction: Mapping[str, Any] | None = None


class SecondRun(Facts):
    """baseline_migration.second_run: the catalogue before and after, and what the transaction itself wrote."""

    QUESTION: ClassVar = ("baseline_migration", "second_run")
    before: Fingerprint | None = None
    after: Fingerprint | None = None
    rows: dict[str, Written] = {}
    sequences: tuple[str, ...] = ()
    outcomes: tuple[Outcome, ...] = ()


class PrismaHistory(Typed):
    """What `_prisma_migrations` says of the migrations folder; every field but the first is of names.

    `edited`: the file no longer has the checksum that was recorded. `extra`: in the database, not in the
    folder. `rolled_back`: nothing but rows that were taken back. `lost`: a folder without migration.sql.
    """

    table_exists: bool
    applied: tuple[str, ...]
    pending: tuple[str, ...]
    edited: tuple[str, ...]
    failed: tuple[str, ...]
    extra: tuple[str, ...]
    rolled_back: tuple[str, ...]
    lost: tuple[str, ...]


class RecordedHistory(Facts):
    """prisma_resolve.history: the history, and in which schema its table was found."""

    QUESTION: ClassVar = ("prisma_resolve", "history")
    history: PrismaHistory | None = None
    relation: str | None = None
    schema: str = "public"


class Said(Typed):
    """One run of Prisma's command line. `code` is Prisma's own, such as P3008, where it gave one.

    `output` is stdout and stderr as they came, without colours and without secrets.
    """

    command: str
    exit_code: int
    output: str
    code: str | None
    duration_s: float


class PrismaStatus(Facts):
    """prisma_resolve.status: Prisma's version, its engine, and its words."""

    QUESTION: ClassVar = ("prisma_resolve", "status")
    version: str | None = None
    engine: str | None = None
    said: Said | None = None


class LiveSchema(Facts):
    """prisma_resolve.live_schema: what was replayed and compared, and what of it is not as the migrations make it.

    `planned` are objects that are still to be made, by the baseline or by a migration that is to be deployed; `extras`
    are those that no migration makes.
    """

    QUESTION: ClassVar = ("prisma_resolve", "live_schema")
    migrations: tuple[str, ...] = ()
    scratch_version: str = ""
    objects: int = 0
    different: tuple[str, ...] = ()
    planned: tuple[str, ...] = ()
    extras: tuple[str, ...] = ()
    statements: int = 0
    not_judged: dict[str, list[dict[str, Any]]] = {}
    data: dict[str, tuple[DataDone, ...]] = {}
    borrowed: tuple[Any, ...] = ()
    lacking: tuple[Any, ...] = ()


class Resolved(Facts, omit_defaults=True):
    """prisma_resolve.resolve: what Prisma was told, what was recorded, now or before, and its words.

    `command` is the first that was, or would be, run, and `commands` are all of them. `settled` names the migrations
    that were recorded as applied in this run, `taken_back` those that were marked as rolled back, and `deployed` those
    that Prisma ran. `already`: all of the phase's had been recorded before.
    """

    QUESTION: ClassVar = ("prisma_resolve", "resolve")
    command: str | None = None
    commands: tuple[str, ...] = ()
    recorded: bool | None = None
    already: bool | None = None
    rolled_back: bool | None = None
    settled: tuple[str, ...] = ()
    taken_back: tuple[str, ...] = ()
    deployed: tuple[str, ...] = ()
    said: Said | None = None


class RecordedRow(Typed):
    """The migration's row of `_prisma_migrations`."""

    checksum: str
    finished_at: str
    migration: str = ""


class PrismaConfirmed(Facts):
    """prisma_resolve.confirm: Prisma's words after it was recorded, and the rows: that of the last, and of all."""

    QUESTION: ClassVar = ("prisma_resolve", "confirm")
    said: Said | None = None
    row: RecordedRow | None = None
    rows: tuple[RecordedRow, ...] = ()
