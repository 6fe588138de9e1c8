"""Which steps of a run need not be repeated? Decided by what is true now, not by what the run noted.

A step that only looks is always repeated: what it says is about the present. A step that makes something is kept
when it came to its end, with the same phase, notebooks and mode, and when what it made still stands.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from runbooks_lib.archive.notebooks import code_digest
from runbooks_lib.archive.reader import sha256_of
from runbooks_lib.archive.run import Run
from runbooks_lib.errors import PreconditionFailed, RunbookError
from runbooks_lib.evidence import Record
from runbooks_lib.facts.databases import Dumps
from runbooks_lib.facts.writing import Plan, RecordedHistory
from runbooks_lib.findings import CLOSING
from runbooks_lib.package import library_digest
from runbooks_lib.phase import STEPS, Phase
from runbooks_lib.postgres.catalog.catalog import read_catalog
from runbooks_lib.postgres.catalog.differences import Described, compare, describe, from_plain, in_words
from runbooks_lib.postgres.dump.data_dump import read_data_dump
from runbooks_lib.postgres.session.connect import Sessions
from runbooks_lib.prisma.history import read_rows

LOOKS_ANEW = "it looks at the present state"


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """Whether a step is executed again, and why."""

    step: str
    repeat: bool
    why: str


def decide(run: Run, phase: Phase, *, apply: bool) -> tuple[Decision, ...]:
    """Decide for each step of a run that is taken up again.

    Reads the run's records and dumps, and the targets; writes nothing.
    Raises PreconditionFailed when the phase is another than the run's, or when the run is complete.
    """
    phase = run.at_its_services(phase)
    if run.header().finished_at is not None:
        raise PreconditionFailed(f"The run {run.id} is complete.", "Begin a new run: runbooks run PHASE.")
    with Sessions(phase.targets, application_name=f"runbooks resume {run.id}") as sessions:
        return tuple(_decide(run, phase, sessions, step, apply=apply) for step in STEPS)


def _decide(run: Run, phase: Phase, sessions: Sessions, step: str, *, apply: bool) -> Decision:
    record = run.record(step)
    reason = _unusable(run, step, record, apply=apply)
    if reason is None:
        assert record is not None
        try:
            reason = _STILL_TRUE.get(step, _looks_anew)(run, phase, sessions, record)
        except RunbookError as error:
            reason = f"whether it still holds could not be seen: {error.what_happened}"
    return Decision(
        step=step, repeat=reason is not None, why=reason or "it came to its end, and what it made stands"
    )


def _unusable(run: Run, step: str, record: Record | None, *, apply: bool) -> str | None:
    """Return why a record says nothing about now; None when it may."""
    if record is None:
        return "it has not run"
    if record.finished_at is None or not run.notebook(step).exists():
        return "it did not come to its end"
    if record.verdict in {None, *CLOSING}:
        return f"its verdict was {record.verdict}"
    if record.code != code_digest():
        return "the notebooks have changed since"
    if record.library != library_digest():
        return "the library has changed since"
    if record.mode != ("apply" if apply else "plan"):
        return f"it ran in mode {record.mode}"
    return None


def _looks_anew(run: Run, phase: Phase, sessions: Sessions, record: Record) -> str | None:
    return LOOKS_ANEW


def _dumps_stand(run: Run, phase: Phase, sessions: Sessions, record: Record) -> str | None:
    """The dumps are on disk as noted, and their sources have not changed, but for what this run's plan makes."""
    for name, noted in record.facts(Dumps).dumps.items():
        file = run.path / "backup" / noted.path
        if not file.is_file() or sha256_of(file) != noted.sha256:
            return f"the dump {noted.path} is not there as it was made"
        data = noted.data
        if data and read_data_dump(run.path / "backup" / data.path).sha256 != data.sha256:
            return f"the dump {data.path} is not there as it was made"
        with sessions.snapshot(name) as conn:
            catalog = read_catalog(conn)
        if catalog.fingerprint() == noted.fingerprint:
            continue
        if not phase.baseline or name != phase.baseline.target or _missing(run, describe(catalog)):
            return f"the catalogue of target {name} has changed since it was dumped"
    return None


def _baseline_stands(run: Run, phase: Phase, sessions: Sessions, record: Record) -> str | None:
    if record.mode == "plan" or phase.baseline is None:
        return LOOKS_ANEW
    with sessions.snapshot(phase.baseline.target) as conn:
        missing = _missing(run, describe(read_catalog(conn)))
    return f"the target lacks what it made: {missing[0]}" if missing else None


def _migration_stands(run: Run, phase: Phase, sessions: Sessions, record: Record) -> str | None:
    if record.mode == "plan" or phase.prisma is None:
        return LOOKS_ANEW
    found = record.facts(RecordedHistory)
    with sessions.snapshot(phase.prisma.target) as conn:
        rows = read_rows(conn, schema=found.schema)
    applied = {row.name for row in rows or () if row.applied}
    wanted = phase.prisma.settle or (found.history.pending if found.history else ())
    missing = [name for name in wanted if name not in applied]
    return f"the migration {missing[0]} is not recorded" if missing else None


def _missing(run: Run, live: Described) -> list[str]:
    """Return what a database lacks of the objects that this run's plan makes."""
    record = run.record("baseline_migration")
    plan = record.facts(Plan) if record else Plan()
    if plan.makes is None:
        return ["there is no plan"]
    makes = from_plain(plan.makes)
    return list(map(in_words, compare({key: live[key] for key in makes if key in live}, makes)))


_STILL_TRUE: dict[str, Callable[[Run, Phase, Sessions, Record], str | None]] = {
    "backup": _dumps_stand,
    "baseline_migration": _baseline_stands,
    "prisma_resolve": _migration_stands,
}
