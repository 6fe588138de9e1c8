"""What a deploy would do, seen in a copy of the target before it is confirmed: time, locks, what fails, what comes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from runbooks_lib.checks import Check
from runbooks_lib.errors import BackupError, MigrationError
from runbooks_lib.facts.writing import DeployRehearsed
from runbooks_lib.findings import Finding, Verdict, judge
from runbooks_lib.phase import Phase
from runbooks_lib.postgres.catalog.catalog import Key
from runbooks_lib.postgres.catalog.differences import Described
from runbooks_lib.postgres.scratch.rehearsal import Rehearsal, Rehearsed, rehearse_scripts
from runbooks_lib.postgres.scratch.stage import Script
from runbooks_lib.postgres.script.lint import lint
from runbooks_lib.postgres.session.connect import Sessions
from runbooks_lib.prisma.parts import parts_of
from runbooks_lib.prisma.settlement import DEPLOYED
from runbooks_lib.steps.baseline_file import read_concurrent, read_sql
from runbooks_lib.steps.baseline_plan import judge_lint
from runbooks_lib.steps.prisma_look import Proved, section
from runbooks_lib.steps.settlement_findings import some

RUNS = "runs in a copy of the target"
_WITHOUT_ROWS = (
    "It changes tables whose rows were not in the copy: whether they fit, and how long it takes, was not seen. Name "
    "the target in the phase's backup.data, or see for yourself."
)
_READS = frozenset({"AccessShareLock", "RowShareLock"})
_WEAK = _READS | {"RowExclusiveLock"}  # those that reading and writing rows take


def rehearse_deploys(
    phase: Phase,
    sessions: Sessions,
    proved: Proved,
    to_come: Sequence[Key],
    *,
    dump: Path | None,
    data: Path | None,
    allowed: Sequence[str],
) -> tuple[tuple[Finding, ...], tuple[DeployRehearsed, ...]]:
    """Run the migrations that are to be deployed in a copy restored from this run's backup; judge how that went.

    Where the baseline is the same target's it runs in the copy first, as step 3 comes before step 4.
    `dump` is the dump of the target's schema, `data` the directory of its rows where there is one; `to_come` is what
    has to stand afterwards. squawk lints them, too. Nothing where nothing is to be deployed.
    Raises BackupError without a dump; MigrationError, PreconditionFailed or LabError when it can't be rehearsed.
    """
    names = proved.settlement.with_action(*DEPLOYED)
    if not names:
        return (), ()
    target = section(phase).target
    if dump is None:
        raise BackupError(
            f"{some(names)} can't be rehearsed: there is no backup of target {target}.",
            "Name it in the phase's backup.targets, and run the step backup.",
        )
    who, state = sessions.identity(target), proved.looked.state
    scripts = [
        (file.name, file.script) for file in state.files if file.name in names and file.script is not None
    ]
    before = _baseline(phase, target)
    seen = rehearse_scripts(
        [*before, *scripts],
        dump=dump,
        data=data,
        owner=phase.owner or who.role_name,
        like=proved.looked.like,
        server_major=who.major,
        schema=state.schema,
        allowed=allowed,
    )
    _require_ran(seen.scripts[: len(before)], target)
    ran = seen.scripts[len(before) :]
    warnings = [
        finding
        for name, script in scripts
        for finding in judge_lint(target, name, lint(script, name=name, server_major=who.major), ())
    ]
    findings = (
        *(_judge_ran(target, each, seen) for each in ran),
        *_judge_result(target, seen, proved, to_come, who.major),
        *(each for each in warnings if each.verdict is not Verdict.PASS),
    )
    return findings, tuple(_facts(each) for each in ran)


def _facts(each: Rehearsed) -> DeployRehearsed:
    return DeployRehearsed(
        migration=each.name,
        duration_ms=each.duration_ms,
        locks=each.locks,
        rewritten=each.rewritten,
        error=each.error,
    )


def _require_ran(baseline: Sequence[Rehearsed], target: str) -> None:
    """Raise MigrationError when the baseline does not run in the copy."""
    for each in baseline:
        if each.error:
            raise MigrationError(
                f"What is to be deployed can't be rehearsed: {each.name} does not run in the copy of target "
                f"{target}: {each.error}",
                "Mend what it names; plan again.",
            )


def _baseline(phase: Phase, target: str) -> list[Script]:
    """Return the baseline's script, and one for each index that is built after it; none at another target."""
    if phase.baseline is None or phase.baseline.target != target:
        return []
    indexes = (
        (f"{phase.baseline.concurrently} line {each.line}", each.text) for each in read_concurrent(phase)
    )
    return [(phase.baseline.file, read_sql(phase)), *indexes]


def _judge_ran(target: str, each: Rehearsed, seen: Rehearsal) -> Finding:
    """Judge one migration: FAIL where it does not run, OPEN where it writes a table anew, or not all of it was seen."""
    said = [f"{RUNS}, with{'' if seen.with_rows else 'out'} its rows, in {each.duration_ms:.0f} ms"]
    strong = [f"{mode} on {relation}" for relation, mode in each.locks if mode not in _WEAK]
    said += [f"locks: {some(strong)}"] if strong else []
    said += [f"writes anew: {some(each.rewritten)}"] if each.rewritten else []
    said += [f"left out, as a superuser's: {some(each.left_out)}"] if each.left_out else []
    hints = {
        "A deploy would fail, and leave it recorded as failed (P3018). Mend what it names.": bool(each.error),
        "A table that is written anew is locked for as long as that takes: choose a quiet hour.": each.rewritten,
        "What a superuser makes was not run: see for yourself that it runs.": each.left_out,
        _WITHOUT_ROWS: not seen.with_rows and any(mode not in _READS for _, mode in each.locks),
    }
    due = [hint for hint, is_due in hints.items() if is_due]
    verdict = Verdict.FAIL if each.error else Verdict.OPEN if due else Verdict.PASS
    return Finding(
        check=Check.DEPLOY_IS_REHEARSED,
        target=target,
        object=each.name,
        have=each.error or "; ".join(said),
        want=RUNS,
        verdict=verdict,
        hint=due[0] if each.error else " ".join(due),
    )


def _judge_result(
    target: str, seen: Rehearsal, proved: Proved, to_come: Sequence[Key], server_major: int
) -> Iterator[Finding]:
    """Judge whether what they are to make stands in the copy afterwards, as the replay made it."""
    if not to_come or any(each.error for each in seen.scripts):
        return
    differing = [
        f"{kind} {name}" for kind, name in _differing(seen.after, proved.replayed.end, to_come, server_major)
    ]
    yield judge(
        Check.DEPLOY_IS_REHEARSED,
        target,
        "what they make",
        have=f"not as the replay makes it: {some(differing)}"
        if differing
        else f"{len(to_come)} objects as replayed",
        want=f"{len(to_come)} objects as replayed",
        hint="In this database the migrations make something else than in an empty one: look at what is there before.",
    )


def _differing(have: Described, want: Described, keys: Sequence[Key], server_major: int) -> tuple[Key, ...]:
    """Return which of these objects are not as wanted: a part is another one, or there is a column more."""
    ours, theirs = (parts_of(each, server_major=min(server_major, 17), owned=False) for each in (have, want))
    lacking = {part.key for part, value in theirs.items() if ours.get(part) != value}
    more = {
        part.key for part in ours if part not in theirs and (part.kind == "columns" or part.key not in want)
    }
    return tuple(key for key in keys if key in lacking | more)
