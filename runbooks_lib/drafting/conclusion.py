"""What state is a database in, and what is the next command? Told from values, by the first rule that holds."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from runbooks_lib.drafting.diagnosis import Condition
from runbooks_lib.errors import MigrationError, RunbookError
from runbooks_lib.postgres.catalog.catalog import Key
from runbooks_lib.postgres.rows.done import Done
from runbooks_lib.postgres.session.locks import Holder
from runbooks_lib.prisma.history import MigrationRow
from runbooks_lib.prisma.lock import MIGRATION_LOCK
from runbooks_lib.prisma.settlement import Action, Settled, Settlement
from runbooks_lib.prisma.state import State
from runbooks_lib.prisma.timeline import Stands
from runbooks_lib.steps.settlement_findings import some, what_stands


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """What was seen of a database and, where there is one, of its project.

    `out` is a folder that is not there yet, for a phase. `upstream` is the service that leads to the server which feeds
    this one. `relations` are how many tables and views there are, `rows` those of `_prisma_migrations`; `unreadable`
    says why they can't be read. `settlement` is None where the migrations were not replayed; `refused` then says why,
    and `lacks` the extension that has what they need and did not find; `can_be_made`: the server has it, the database
    has not. `borrowed` is what the migrations need and none of them makes.
    """

    service: str
    out: Path
    in_recovery: bool = False
    upstream: str | None = None
    read_only: bool = False
    holder: Holder | None = None
    project: Path | None = None
    migrations: Path | None = None
    provider: str = "postgresql"
    state: State | None = None
    relations: int = 0
    rows: tuple[MigrationRow, ...] | None = None
    unreadable: RunbookError | None = None
    settlement: Settlement | None = None
    borrowed: tuple[Key, ...] = ()
    refused: RunbookError | None = None
    lacks: str | None = None
    can_be_made: bool = False

    def not_applied(self, *stands: Stands) -> tuple[Settled, ...]:
        """Return the migrations that are not recorded as applied and of which this much stands, rows included."""
        return tuple(
            each for each in self._settled if each.recorded in ("no", "rolled back") and each.whole in stands
        )

    @property
    def failed(self) -> tuple[Settled, ...]:
        """Return the migrations that are recorded as failed."""
        return tuple(each for each in self._settled if each.recorded == "failed")

    @property
    def _settled(self) -> tuple[Settled, ...]:
        return self.settlement.migrations if self.settlement else ()


Conclusion = tuple[Condition, str, str]


def conclude(seen: Seen) -> Conclusion:
    """Return the state, one sentence that says it, and the next command, whole: empty when nothing is to be done."""
    for rule in _RULES:
        if found := rule(seen):
            return found
    settled = seen.settlement.migrations if seen.settlement else ()
    unseen = sum(one.done is Done.NOT_JUDGED for each in settled for one in each.data)
    rows = f" Rows: {_count(unseen, 'statement', 'statements')} can't be judged." if unseen else ""
    return (
        Condition.FINE,
        f"Every migration is recorded and stands ({len(settled)}): nothing to do.{rows}",
        "",
    )


# --- the rules, in their order ----------------------------------------------------------------------------------


def _standby(seen: Seen) -> Conclusion | None:
    if not seen.in_recovery:
        return None
    sender = "SELECT sender_host, sender_port FROM pg_stat_wal_receiver"
    return (
        Condition.STANDBY,
        "A standby answers (in recovery): it can only be read, and whatever Prisma writes ends in 25006.",
        _diagnose(seen, seen.upstream) if seen.upstream else f'psql "service={seen.service}" -c "{sender}"',
    )


def _read_only(seen: Seen) -> Conclusion | None:
    if not seen.read_only:
        return None
    setting = "SELECT setrole::regrole, setconfig FROM pg_db_role_setting"
    return (
        Condition.READ_ONLY,
        "default_transaction_read_only is on for this role or database: whatever Prisma writes ends in 25006.",
        f'psql "service={seen.service}" -c "{setting}"',
    )


def _locked(seen: Seen) -> Conclusion | None:
    if seen.holder is None:
        return None
    idle = seen.holder.idle_since is not None
    ends = f'psql "service={seen.service}" -c "SELECT pg_terminate_backend({seen.holder.pid})"'
    return (
        Condition.LOCKED,
        f"Prisma's advisory lock {MIGRATION_LOCK} is held by {seen.holder}: until it is given back, deploy and resolve "
        f"end in P1002. {'Its session does nothing: end it when no deployment runs.' if idle else 'Wait for it.'}",
        ends if idle else _diagnose(seen),
    )


def _not_allowed(seen: Seen) -> Conclusion | None:
    if seen.unreadable is None:
        return None
    return (
        Condition.NOT_ALLOWED,
        f"{seen.unreadable.what_happened} (42501) {seen.unreadable.what_to_do}",
        _diagnose(seen),
    )


def _no_project(seen: Seen) -> Conclusion | None:
    if seen.project is not None:
        return None
    if seen.rows is None:
        known = f"{_count(seen.relations, 'table', 'tables')} and no history of migrations"
    else:
        failed = [row.name for row in seen.rows if row.failed]
        known = _count(
            len({row.name for row in seen.rows if row.applied}), "recorded migration", "recorded migrations"
        )
        known += f", and {some(failed)} has failed (P3009)" if failed else ""
    return (
        Condition.NO_PROJECT,
        f"The database has {known}. No Prisma project is named, so that nothing can be compared with its migrations.",
        f"runbooks diagnose --service {shlex.quote(seen.service)} --prisma-project DIR",
    )


def _other_provider(seen: Seen) -> Conclusion | None:
    if seen.provider in ("postgresql", "postgres"):
        return None
    return (
        Condition.OTHER_PROVIDER,
        f"migration_lock.toml names {seen.provider}, and this is PostgreSQL (P3019): the migrations are not for it.",
        _git(seen, "log -p", "migration_lock.toml"),
    )


def _script_lost(seen: Seen) -> Conclusion | None:
    if seen.state is None or not (lost := seen.state.history.lost):
        return None
    return (
        Condition.SCRIPT_LOST,
        f"The folder of {some(lost)} has no migration.sql (P3015): what it makes can't be told.",
        _git(seen, "log --all --oneline", f"{lost[0]}/migration.sql"),
    )


def _unknown(seen: Seen) -> Conclusion | None:
    if seen.state is None or not (extra := seen.state.history.extra):
        return None
    return (
        Condition.UNKNOWN_MIGRATIONS,
        f"_prisma_migrations has what the folder lacks: {some(extra)}. Another branch was deployed, or it was renamed.",
        _git(seen, "log --all --oneline", extra[0]),
    )


def _not_replayed(seen: Seen) -> Conclusion | None:
    if seen.refused is None:
        return None
    failed = seen.state.history.failed if seen.state else ()
    what = f"{some(failed)} has failed (P3009), and what" if failed else "What"
    says = f"{what} the migrations make could not be found out: {seen.refused.what_happened}"
    if seen.lacks and seen.can_be_made:
        create = f'CREATE EXTENSION IF NOT EXISTS "{seen.lacks}"'
        says += f" The extension {seen.lacks} has it: no migration makes it, and the database has it not."
        return (
            Condition.NOT_REPLAYED,
            says,
            f"psql {shlex.quote(f'service={seen.service}')} -c {shlex.quote(create)}",
        )
    if seen.lacks:
        return Condition.NOT_REPLAYED, f"{says}. {seen.refused.what_to_do}", _diagnose(seen)
    is_script = isinstance(seen.refused, MigrationError)
    doctor = f"runbooks doctor --prisma-project {shlex.quote(str(seen.project))}"
    return Condition.NOT_REPLAYED, says, _git(seen, "log --oneline", ".") if is_script else doctor


def _failed(seen: Seen) -> Conclusion | None:
    if not (failed := seen.failed):
        return None
    said = "; ".join(f"{each.migration}: {what_stands(each)}" for each in failed[:3])
    return (
        Condition.FAILED,
        f"{_count(len(failed), 'migration is', 'migrations are')} recorded as failed (P3009), and nothing is deployed "
        f"until that is settled. {said}.",
        _draft(seen),
    )


def _no_history(seen: Seen) -> Conclusion | None:
    if seen.state is None or seen.state.rows is not None or not seen.relations:
        return None
    whole, part = len(seen.not_applied(Stands.ALL)), len(seen.not_applied(Stands.PART, Stands.OTHER))
    says = (
        f"The database has {_count(seen.relations, 'table', 'tables')} and no history of migrations, so that `prisma "
        f"migrate deploy` ends in P3005. Of {_count(len(seen.state.files), 'migration', 'migrations')} "
    )
    if not whole + part:
        return (
            Condition.ANOTHER_DATABASE,
            f"{says}nothing stands: is it the right database?",
            f'psql "service={seen.service}" -l',
        )
    return (
        Condition.NO_HISTORY,
        f"{says}{_count(whole, 'stands', 'stand')} as a whole, {part} in part.",
        _draft(seen),
    )


def _edited(seen: Seen) -> Conclusion | None:
    if seen.state is None or not (edited := seen.state.history.edited):
        return None
    return (
        Condition.EDITED,
        f"The file of {some(edited)} was modified after it was applied: `prisma migrate dev` would reset the database, "
        "`status` and `deploy` do not look.",
        _git(seen, "log -p", f"{edited[0]}/migration.sql"),
    )


def _not_as_recorded(seen: Seen) -> Conclusion | None:
    wrong = (
        [each for each in seen.settlement.objects if each.recorded and not each.stands]
        if seen.settlement
        else []
    )
    if not wrong:
        return None
    return (
        Condition.NOT_AS_RECORDED,
        f"{_count(len(wrong), 'object is', 'objects are')} not as the recorded migrations make it: "
        f"{some([each.label for each in wrong])}. `prisma migrate status` is green all the same.",
        _draft(seen),
    )


def _in_part(seen: Seen) -> Conclusion | None:
    if not (part := seen.not_applied(Stands.PART, Stands.OTHER)):
        return None
    said = "; ".join(f"{each.migration}: {what_stands(each)}" for each in part[:3])
    return (
        Condition.IN_PART,
        f"{_count(len(part), 'pending migration stands', 'pending migrations stand')} in part: `prisma migrate deploy` "
        f"would fail on what is there, and `resolve --applied` would hide what is missing. {said}.",
        _draft(seen),
    )


def _unrecorded(seen: Seen) -> Conclusion | None:
    if not (whole := seen.not_applied(Stands.ALL)):
        return None
    return (
        Condition.UNRECORDED,
        f"All that {some([each.migration for each in whole])} makes stands, and it is not recorded: `prisma migrate "
        "deploy` would end in P3018 (42P07), `resolve --applied` is right.",
        _draft(seen),
    )


def _needs_more(seen: Seen) -> Conclusion | None:
    if not seen.borrowed:
        return None
    pending = len(seen.not_applied(Stands.NONE, Stands.NOTHING))
    return (
        Condition.NEEDS_MORE,
        f"The migrations need what none of them makes: {_named(seen.borrowed)}. It stands here; in an empty database "
        f"they fail (P3006). {_count(pending, 'migration is', 'migrations are')} pending.",
        _draft(seen),
    )


def _pending(seen: Seen) -> Conclusion | None:
    if not (pending := seen.not_applied(Stands.NONE, Stands.NOTHING)):
        return None
    untold = [each.migration for each in pending if each.action is Action.REFUSE and each.untold]
    if untold:
        then = (
            f"Nothing tells whether {some(untold)} was run: see for yourself before anything runs it twice."
        )
    else:
        then = "`prisma migrate deploy` runs what is pending."
    return (
        Condition.PENDING,
        f"{_count(len(pending), 'migration', 'migrations')} pending, nothing of which stands: "
        f"{some([each.migration for each in pending])}. {then}",
        _draft(seen),
    )


def _rows(seen: Seen) -> Conclusion | None:
    undone = [
        each.migration
        for each in (seen.settlement.migrations if seen.settlement else ())
        if any(one.done in (Done.NONE, Done.PART) for one in each.data)
    ]
    if not undone:
        return None
    return (
        Condition.ROWS,
        f"Every migration is recorded, and its objects stand. Not all rows are as {some(undone)} leaves them: it did "
        "not change them, or they came later.",
        _draft(seen),
    )


def _beyond(seen: Seen) -> Conclusion | None:
    if seen.settlement is None or not (extras := seen.settlement.extras):
        return None
    return (
        Condition.BEYOND,
        f"Every migration is recorded and stands. No migration makes {_named(extras)}: drift "
        "to decide on, which Prisma's status does not show.",
        _draft(seen),
    )


_RULES: tuple[Callable[[Seen], Conclusion | None], ...] = (
    _standby,
    _read_only,
    _locked,
    _not_allowed,
    _no_project,
    _other_provider,
    _script_lost,
    _unknown,
    _not_replayed,
    _failed,
    _no_history,
    _edited,
    _not_as_recorded,
    _in_part,
    _unrecorded,
    _needs_more,
    _pending,
    _rows,
    _beyond,
)


# --- words and commands -----------------------------------------------------------------------------------------


def _count(number: int, one: str, more: str) -> str:
    return f"{number} {one if number == 1 else more}"


def _named(keys: tuple[Key, ...]) -> str:
    return some([" ".join(key) for key in keys])


def _diagnose(seen: Seen, service: str | None = None) -> str:
    project = f" --prisma-project {shlex.quote(str(seen.project))}" if seen.project else ""
    return f"runbooks diagnose --service {shlex.quote(service or seen.service)}{project}"


def _draft(seen: Seen) -> str:
    return (
        f"runbooks phase draft --prisma-project {shlex.quote(str(seen.project))} --service {shlex.quote(seen.service)} "
        f"--out {shlex.quote(str(seen.out))}"
    )


def _git(seen: Seen, command: str, file: str) -> str:
    assert seen.migrations is not None
    return f"git -C {shlex.quote(str(seen.migrations))} {command} -- {shlex.quote(file)}"
