"""The findings of a run with where they came from, in the order in which they were made."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from runbooks_lib.checks import Check
from runbooks_lib.findings import CLOSING, Finding, Verdict, worst_of

# A dump has the time in its name: another run's dump is another file, and no difference.
_DUMP_TIME = re.compile(r"(?<=_)\d{8}_\d{6}(?=[_.]|\b)")
# Keys of run.json: why a run could not be sealed; why its pages could not be drawn.
NOT_SEALED, NOT_DRAWN = "not_sealed", "not_drawn"
Evidence = Mapping[str, Mapping[str, Any]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """A finding, the step and question that made it, and its share of the question's time in seconds."""

    step: str
    question: str
    finding: Finding
    started_at: str
    duration_s: float


def without_time(text: str) -> str:
    """Return a text of a finding so that it can be compared with another run's: without the time of a dump."""
    return _DUMP_TIME.sub("…", text)


def judged(evidence: Evidence) -> Iterator[Judged]:
    """Yield every finding of a run's evidence (`Run.evidence()`)."""
    for step, record in evidence.items():
        for question, answer in record["answers"].items():
            share = (answer["duration_s"] or 0) / max(len(answer["findings"]), 1)
            for row in answer["findings"]:
                yield Judged(
                    step=step,
                    question=question,
                    finding=Finding.from_dict(row),
                    started_at=answer["started_at"],
                    duration_s=share,
                )


def verdicts(header: Mapping[str, Any], evidence: Evidence) -> dict[str, Verdict]:
    """Return the verdict of each step that was begun; ERROR for one that never came to a verdict.

    The runner's word goes before the record's: it also knows of kernels that died.
    """
    told = {step["step"]: Verdict(step["verdict"]) for step in header.get("steps", ())}
    recorded = {step: Verdict(record["verdict"] or Verdict.ERROR) for step, record in evidence.items()}
    return recorded | told


def verdict_of(header: Mapping[str, Any], evidence: Evidence) -> Verdict:
    """Return the run's verdict; before the header has one, the worst of its steps'."""
    if header["verdict"]:
        return Verdict(header["verdict"])
    return worst_of(verdicts(header, evidence).values())


def unexplained(header: Mapping[str, Any], evidence: Evidence) -> Iterator[str]:
    """Yield the steps that ended as an ERROR which no finding tells: dead kernel, time-out, interruption."""
    closed = {each.step for each in judged(evidence) if each.finding.verdict in CLOSING}
    for step, verdict in verdicts(header, evidence).items():
        if verdict is Verdict.ERROR and step not in closed:
            yield step


def stops(header: Mapping[str, Any], evidence: Evidence) -> Iterator[tuple[str, Finding]]:
    """Yield what ended a run and stands in no record: each unexplained step with an ERROR, then the run's own end."""
    said = {step["step"]: step.get("stopped_by") for step in header.get("steps", ())}
    for step in unexplained(header, evidence):
        yield step, _stop(step, said.get(step) or "it ended without a verdict of its own")
    for key in (NOT_SEALED, NOT_DRAWN):
        if header.get(key):
            yield "-", _stop("run", header[key])


def _stop(object: str, have: str) -> Finding:
    return Finding(
        check=Check.STEP_IS_CARRIED_OUT,
        target="-",
        object=object,
        have=have,
        want="carried out to its end",
        verdict=Verdict.ERROR,
        hint="Mend what is named, then run the phase again, or take this run up: --resume RUN.",
    )


def durations_s(header: Mapping[str, Any], evidence: Evidence) -> dict[str, float]:
    """Return how long each step took: as the runner measured it, with the kernel's start; else as the step did.

    A step that was kept from before the run was taken up took what it took then.
    """
    told = {step["step"]: step["duration_s"] for step in header.get("steps", ()) if not step.get("kept")}
    recorded = {step: record["duration_s"] for step, record in evidence.items()}
    return {step: seconds for step, seconds in (recorded | told).items() if seconds is not None}


def plan_of(evidence: Evidence) -> Mapping[str, Any]:
    """Return the facts of the run's plan; empty when it has none, or none that could be confirmed."""
    answer = evidence.get("baseline_migration", {}).get("answers", {}).get("plan", {})
    facts: Mapping[str, Any] = answer.get("facts", {})
    return facts if "confirmation" in facts and answer["verdict"] not in CLOSING else {}


def lag_of(record: Mapping[str, Any]) -> dict[str, int]:
    """Return the bytes of WAL that each standby was behind, as a step measured it last."""
    lag: dict[str, int] = {}
    for answer in record["answers"].values():
        for standby, seen in (answer["facts"].get("lag") or {}).items():
            if isinstance(seen, Mapping) and seen.get("lag_bytes") is not None:
                lag[standby] = int(seen["lag_bytes"])
    return lag
