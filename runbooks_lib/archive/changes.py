"""What changed from one run of a phase to the next, in short, for the index: verdicts, new findings, vanished ones.

`runbooks runs diff` says more of two runs; this is what can be read of a thousand in seconds.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from runbooks_lib.archive.run import Run
from runbooks_lib.evidence import Evidence, Judged, without_time
from runbooks_lib.findings import Verdict, worst_of
from runbooks_lib.typed import Typed

FILE = "verdicts.json"
SCHEMA_VERSION = 1

Key = tuple[str, str, str, str, str]  # step, question, check, target, object


class Summary(Typed):
    """verdicts.json: the verdict by step, question, check, target and object."""

    schema_version: int
    verdicts: dict[str, dict[str, dict[str, dict[str, dict[str, Verdict]]]]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One finding in two runs; None: the run does not have it."""

    key: Key
    before: Verdict | None
    after: Verdict | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Changes:
    """What differs between two runs."""

    changed: tuple[Change, ...]
    new: tuple[Change, ...]
    gone: tuple[Change, ...]

    def __bool__(self) -> bool:
        """Tell whether anything differs."""
        return bool(self.changed or self.new or self.gone)


def compare(before: Mapping[Key, Verdict], after: Mapping[Key, Verdict]) -> Changes:
    """Compare the verdicts of two runs, in the order of the later one; what vanished in that of the earlier."""
    return Changes(
        changed=tuple(
            Change(key=k, before=before[k], after=after[k])
            for k in after
            if before.get(k, after[k]) is not after[k]
        ),
        new=tuple(Change(key=k, before=None, after=after[k]) for k in after if k not in before),
        gone=tuple(Change(key=k, before=before[k], after=None) for k in before if k not in after),
    )


def about(each: Judged) -> Key:
    """Return what a finding is about, without the time in the name of a dump: the same in another run."""
    finding = each.finding
    return each.step, each.question, finding.check, finding.target, without_time(finding.object)


def verdicts(evidence: Evidence) -> dict[Key, Verdict]:
    """Return the verdict of each finding; the worst, where a question made a finding several times.

    Times in the names of objects are left out: a dump is compared with the dump of another run.
    """
    found: dict[Key, Verdict] = {}
    for each in evidence.judged():
        key, verdict = about(each), each.finding.verdict
        found[key] = worst_of((found.get(key, verdict), verdict))
    return found


def summary(evidence: Evidence) -> Summary:
    """Return the verdicts alone, much shorter than the evidence."""
    made = Summary(schema_version=SCHEMA_VERSION, verdicts={})
    for (step, question, check, target, name), verdict in verdicts(evidence).items():
        checks = made.verdicts.setdefault(step, {}).setdefault(question, {})
        checks.setdefault(check, {}).setdefault(target, {})[name] = verdict
    return made


def verdicts_of(run: Run) -> dict[Key, Verdict]:
    """Return the verdicts of a run: from its summary, else from its evidence.

    Raises EvidenceError when neither can be read.
    """
    found = run.read(FILE, Summary)
    if found is None:
        return verdicts(run.evidence())
    # One expression, since an index of an archive comes by here for each finding of each run.
    return {
        (step, question, check, target, name): verdict
        for step, questions in found.verdicts.items()
        for question, checks in questions.items()
        for check, targets in checks.items()
        for target, objects in targets.items()
        for name, verdict in objects.items()
    }
