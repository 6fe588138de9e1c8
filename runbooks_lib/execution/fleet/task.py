"""What a worker of a fleet does: carries the phase out at one database, by the very run of `runbooks run`.

An order and its answer are plain values. Whoever is handed an order, once or again, looks first at what is there: a run
that is complete is told of, one that was begun is taken up by what stands in the database, and only one that nobody has
begun is begun. Of the workers that have the same order at the same time one is at work, the others say that it is.
"""

from __future__ import annotations

import fcntl
import os
import platform
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
from msgspec.structs import replace

from runbooks_lib.archive.manifest import MANIFEST
from runbooks_lib.archive.masking.mask import redact
from runbooks_lib.archive.reader import sha256_of
from runbooks_lib.archive.run import Run
from runbooks_lib.errors import ConnectionFailed, GateClosed, PreconditionFailed, RunbookError
from runbooks_lib.execution.finish import finish
from runbooks_lib.execution.fleet.hello import require_same
from runbooks_lib.execution.fleet.record import Ended, Stop
from runbooks_lib.execution.preconditions import require
from runbooks_lib.execution.resume import decide
from runbooks_lib.execution.runner import run_notebooks
from runbooks_lib.findings import CLOSING, Verdict
from runbooks_lib.phase import Phase, Role, load_phase
from runbooks_lib.postgres.script.apply import LOCK_KEY
from runbooks_lib.postgres.session.connect import connect
from runbooks_lib.postgres.session.locks import lock_holder
from runbooks_lib.prisma.lock import MIGRATION_LOCK
from runbooks_lib.report.done import done as summary
from runbooks_lib.report.done import lacks
from runbooks_lib.typed import plain

MOST_STOPS = 5  # that are told of a run; its folder has all
BUSY_S = 900.0  # that a database is asked again at which somebody else works
REFUSED_S = 60.0  # that a server is asked again which lets nobody in: it starts, or it has no session left


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """What is to be done at one database: plain values, and no secret. `runs` is the archive of its runs.

    With `check` a plan is made, and one that has something to apply is no good end.
    `has` is what the client has of what it `asked` (see `hello`).
    """

    phase: str
    runs: str
    run: str
    services: Mapping[str, str]
    databases: Mapping[str, str]
    apply: bool
    check: bool
    confirm: str
    asked: Mapping[str, Any]
    has: Mapping[str, Any]


class TryLater(Exception):
    """Nothing was begun: somebody else is at work there, or the server lets nobody in; it says who or what.

    `patience_s` is how long that is to be borne with, `exit_code` how it ends then.
    """

    patience_s = BUSY_S
    exit_code = RunbookError.exit_code


class Refused(TryLater):
    """The server lets nobody in."""

    patience_s = REFUSED_S
    exit_code = ConnectionFailed.exit_code


def carry_out(content: Mapping[str, Any]) -> dict[str, Any]:
    """Carry an order out; return how its run ended (`Ended`, plain).

    {"later": how it ends otherwise, "patience_s": how long} where it must be asked again, for so long at most.
    Writes the run folder, and the database where the order says so. Raises nothing of ours: what stops it is told.
    """
    order = Order(**content)
    try:
        require_same(order.has, order.asked)
        with _alone(Path(order.runs)):
            return plain(told(_run(order), check=order.check))  # type: ignore[no-any-return]
    except TryLater as error:
        return {"later": plain(_stopped(error.exit_code, str(error))), "patience_s": error.patience_s}
    except RunbookError as error:
        return plain(_stopped(error.exit_code, str(error)))  # type: ignore[no-any-return]
    except Exception as error:  # noqa: BLE001 -- told, without its traceback: that could hold a secret
        why = f"A defect of the runbooks: {type(error).__name__}: {error}. Report it."
        return plain(_stopped(RunbookError.exit_code, why))  # type: ignore[no-any-return]


def _run(order: Order) -> Run:
    """Begin the run, or take it up; return it when it has ended. Raises TryLater and RunbookError."""
    loaded = load_phase(order.phase)
    folder = Path(order.runs) / loaded.id / order.run
    before = Run.open(folder) if folder.exists() else None
    if before is not None and before.header().finished_at is not None:
        if not before.sealed:
            finish(before)
        return before
    if loaded.digest != order.has["phase"]:
        raise PreconditionFailed(
            f"Phase {loaded.id} has changed since this fleet run began.", "Begin a new fleet run."
        )
    phase = require(order.phase, services=order.services, databases=order.databases, resumed=before)
    _require_nobody_at_work(phase)
    keep: dict[str, str] = {}
    if before is not None:
        before.reopen()
        keep = {d.step: d.why for d in decide(before, phase, apply=order.apply) if not d.repeat}
    run = before or Run.create(Path(order.runs), phase, run_id=order.run)
    return run_notebooks(
        run, phase=order.phase, apply=order.apply, confirm=lambda: order.confirm, keep=keep
    ).run


def _require_nobody_at_work(phase: Phase) -> None:
    """See that the primaries answer, and that no session of a lost worker has a lock there. Raises TryLater.

    Why a server lets nobody in, libpq says in words alone: it is asked again whatever they are.
    """
    for target in phase.targets.values():
        if target.role is not Role.PRIMARY:
            continue
        try:
            with connect(target, application_name="runbooks fleet") as conn:
                holders = [lock_holder(conn, key) for key in (LOCK_KEY, MIGRATION_LOCK)]
        except psycopg.Error as error:
            raise Refused(f"Target {target.name} went away: {' '.join(str(error).split())}") from error
        except ConnectionFailed as error:
            if error.refused:
                raise Refused(str(error)) from error
            raise
        for holder in filter(None, holders):
            raise TryLater(f"Somebody else works on the database of target {target.name}: {holder}.")


@contextmanager
def _alone(runs: Path) -> Iterator[None]:
    """Be the only worker at a database of the fleet; the kernel ends that with the process. Raises TryLater."""
    runs.mkdir(mode=0o700, parents=True, exist_ok=True)
    handle = os.open(runs, os.O_RDONLY | os.O_CLOEXEC)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise TryLater(f"Another worker is at work in {runs}.") from error
        yield
    finally:
        os.close(handle)


def told(run: Run, *, check: bool = False) -> Ended:
    """Return how a run ended, from its folder alone; of a `check`, one with something to apply did not end well."""
    evidence = run.evidence()
    header, plan = evidence.header, evidence.plan
    stops = tuple(
        Stop(step=step, check=f.check, object=f.object, have=f.have, hint=f.hint)
        for step, f in (*evidence.failures, *evidence.stops())
    )
    done = header.finished_at is not None and run.sealed and evidence.verdict not in CLOSING
    ended = Ended(
        state="done" if done else "stopped",
        verdict=evidence.verdict if done or evidence.verdict in CLOSING else Verdict.ERROR,
        exit_code=header.exit_code if done or header.exit_code else 1,
        steps=evidence.verdicts,
        duration_s=round(header.duration_s or 0.0, 3),
        plan_hash=plan.hash if plan else "",
        confirmation=plan.confirmation if plan else "",
        manifest=sha256_of(run.path / MANIFEST) if run.sealed else None,
        stops=stops[:MOST_STOPS],
        reason=""
        if done
        else "; ".join(f"{s.check} {s.object}: {s.have}. {s.hint}".strip() for s in stops[:1]),
        worker=worker(),
    )
    if not (check and done and lacks(evidence)):
        return ended
    why = f"The database does not hold all that the phase says: {summary(evidence)}."
    return replace(ended, state="stopped", verdict=Verdict.FAIL, exit_code=GateClosed.exit_code, reason=why)


def _stopped(exit_code: int, reason: str) -> Ended:
    return Ended(
        state="stopped", verdict=Verdict.ERROR, exit_code=exit_code, reason=redact(reason), worker=worker()
    )


def worker() -> str:
    """Return what tells this worker from others: its host and its process."""
    return f"{platform.node()}:{os.getpid()}"
