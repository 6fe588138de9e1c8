"""The record of a run: its header, and what each of its steps recorded. Read once from disk, and passed on."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, TypeVar

import msgspec

from runbooks_lib.checks import Check
from runbooks_lib.errors import EvidenceError
from runbooks_lib.facts import FACTS
from runbooks_lib.facts.base import Facts
from runbooks_lib.facts.contents import LastLook
from runbooks_lib.facts.databases import Lag, Replication
from runbooks_lib.facts.writing import Applied, Plan
from runbooks_lib.findings import CLOSING, Finding, Verdict, worst, worst_of
from runbooks_lib.phase import STEPS
from runbooks_lib.typed import Moment, Sha256, Typed, plain, typed

HEADER = "run.json"
SCHEMA_VERSION = 1  # of run.json and of a step's record
# A dump has the time in its name: another run's dump is another file, and no difference.
_DUMP_TIME = re.compile(r"(?<=_)\d{8}_\d{6}(?=[_.]|\b)")
Mode = Literal["plan", "apply"]
F = TypeVar("F", bound=Facts)


class PhaseOfRun(Typed):
    """The phase that a run is of: its id, digest and title (by language); `ref` names it to the loader."""

    id: str
    title: dict[str, str]
    digest: str
    ref: str = ""


class Operator(Typed):
    """Who carries a run out, and where."""

    user: str
    host: str


class TargetOfRun(Typed):
    """A target, and the service at which it is in this run."""

    name: str
    service: str
    role: str
    database: str


class StepEnd(Typed):
    """How a step ended, as the runner saw it; `kept` says why it was not executed again."""

    step: str
    verdict: Verdict
    duration_s: float | None
    kept: str | None = None
    stopped_by: str | None = None


class Resumed(Typed):
    """When a run was taken up again, and which of its steps were repeated, and why."""

    at: Moment
    steps: tuple[dict[str, Any], ...] = ()


class Header(Typed, omit_defaults=True):
    """run.json: which phase, when, by whom, with what, at which services; then how the run ended.

    `prisma_project` was named when it began, a folder or a schema. `superuser_objects` may be made by a superuser of
    the run's scratch servers. `digests` are the SHA-256 of complete files. `signed_with` is the id of the seal's key.
    `not_sealed` and `not_drawn` say why there is no seal, or no page.
    """

    schema_version: int
    id: str
    phase: PhaseOfRun
    mode: Mode
    started_at: Moment
    finished_at: Moment | None
    verdict: Verdict | None
    operator: Operator
    versions: dict[str, str]
    targets: tuple[TargetOfRun, ...]
    library: Sha256 | None = None
    prisma_project: str | None = None
    stopped_at: Moment | None = None
    exit_code: int | None = None
    steps: tuple[StepEnd, ...] = ()
    resumed: tuple[Resumed, ...] = ()
    digests: dict[str, Sha256] = {}
    superuser_objects: tuple[str, ...] = ()
    signed_with: str | None = None
    not_sealed: str | None = None
    not_drawn: str | None = None

    @property
    def ended_at(self) -> Moment | None:
        """Return when the run ended or was stopped; None while it goes on, or when it was killed."""
        return self.finished_at or self.stopped_at

    @property
    def duration_s(self) -> float | None:
        """Return how long the run took; None when it has not ended, or when that is not known."""
        return None if self.ended_at is None else (self.ended_at.time - self.started_at.time).total_seconds()


class Answered(Typed, kw_only=True):
    """What was recorded of one question; `asked` is the question in words."""

    asked: str = ""
    started_at: Moment
    duration_s: float | None
    verdict: Verdict
    findings: tuple[Finding, ...]
    facts: Any  # the question's own type (`FACTS`), else what stands there

    @property
    def lags(self) -> Mapping[str, Lag]:
        """Return the lag of each standby that was measured for it."""
        return self.facts.lag if isinstance(self.facts, Replication | LastLook) else {}


class Record(Typed, kw_only=True):
    """What a step recorded: its answers by question, in the order in which they were asked."""

    schema_version: int
    step: str
    run: str
    phase: str
    mode: Mode
    code: str
    library: Sha256 | None = None
    started_at: Moment
    finished_at: Moment | None
    duration_s: float | None
    verdict: Verdict | None
    answers: dict[str, Answered]

    @property
    def findings(self) -> tuple[Finding, ...]:
        """Return all findings of the step."""
        return tuple(finding for answer in self.answers.values() for finding in answer.findings)

    @property
    def lag_bytes(self) -> dict[str, int]:
        """Return how far behind each standby was, as the step measured it last."""
        found = (each for answer in self.answers.values() for each in answer.lags.items())
        return {standby: lag.lag_bytes for standby, lag in found}

    def facts(self, kind: type[F]) -> F:
        """Return the facts of the question that has this kind; empty ones when it was not asked."""
        answer = self.answers.get(kind.QUESTION[1])
        return kind() if answer is None else answer.facts

    def to_json(self) -> dict[str, Any]:
        """Return the record as it is written."""
        answers = {
            question: {**msgspec.structs.asdict(answer), "findings": [f.to_dict() for f in answer.findings]}
            for question, answer in self.answers.items()
        }
        written: dict[str, Any] = plain({**msgspec.structs.asdict(self), "answers": answers})
        return written


def step_name(step: str) -> str:
    """Return the numbered name that a step's notebook and its files share: 01_preflight.

    Raises EvidenceError for a step that no phase has.
    """
    if step not in STEPS:
        raise EvidenceError(f"There is no step {step!r}.", f"The steps are {', '.join(STEPS)}.")
    return f"{STEPS.index(step) + 1:02d}_{step}"


def header_of(content: Any, path: Path) -> Header:
    """Return run.json as a record. Raises EvidenceError."""
    return typed(content, Header, path)


def record_of(content: Any, path: Path) -> Record:
    """Return the JSON of a step's record, each answer's facts in their own type. Raises EvidenceError."""
    record = typed(content, Record, path)
    if step_name(record.step) != path.stem:  # its facts would be taken for another question's
        raise EvidenceError(
            f"{path} says that it is the record of step {record.step}.",
            "Verify the run: its file was changed.",
        )
    answers = {
        question: msgspec.structs.replace(
            answer, facts=typed(answer.facts, FACTS.get((record.step, question), dict[str, Any]), path)
        )
        for question, answer in record.answers.items()
    }
    return msgspec.structs.replace(record, answers=answers)


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """A finding, the step and question that made it, and its share of the question's time in seconds."""

    step: str
    question: str
    finding: Finding
    duration_s: float


@dataclass(frozen=True, slots=True)
class Evidence:
    """What a run recorded so far: its header, and the records of its steps in their order.

    What was not asked has no findings, and empty facts.
    """

    header: Header
    records: Mapping[str, Record] = field(default_factory=dict)

    @classmethod
    def from_json(cls, header: Any, records: Mapping[str, Any], folder: Path) -> Evidence:
        """Return what run.json and the steps' records say; `folder` is where they stand. Raises EvidenceError."""
        read = {
            step: record_of(records[step], folder / f"{step_name(step)}.json")
            for step in STEPS
            if records.get(step) is not None
        }
        return cls(header_of(header, folder / HEADER), read)

    def without(self, step: str, question: str) -> Evidence:
        """Return the evidence as it was before a question was asked."""
        if not self.asked(step, question):
            return self
        record = self.records[step]
        answers = {name: answer for name, answer in record.answers.items() if name != question}
        return replace(self, records={**self.records, step: msgspec.structs.replace(record, answers=answers)})

    def unjudged(self) -> Evidence:
        """Return the evidence of a run that has no verdict yet."""
        return replace(self, header=msgspec.structs.replace(self.header, verdict=None))

    def ran(self, step: str) -> bool:
        """Tell whether a step left a record in this run."""
        return step in self.records

    def asked(self, step: str, question: str) -> bool:
        """Tell whether a step asked a question in this run."""
        return step in self.records and question in self.records[step].answers

    def facts(self, kind: type[F]) -> F:
        """Return the facts of the question that has this kind; empty ones when it was not asked."""
        record = self.records.get(kind.QUESTION[0])
        return kind() if record is None else record.facts(kind)

    @property
    def plan(self) -> Plan | None:
        """Return the run's plan; None when it has none, or none that could be confirmed."""
        answer = self.questions("baseline_migration").get("plan")
        closed = answer is not None and worst(answer) in CLOSING
        found = self.facts(Plan)
        return found if found.confirmation and not closed else None

    @property
    def applied(self) -> bool:
        """Tell whether this run applied the baseline; without that step's record it did not."""
        return bool(self.facts(Applied).applied)

    def questions(self, step: str) -> dict[str, tuple[Finding, ...]]:
        """Return a step's questions in the order in which they were asked, each with its findings."""
        record = self.records.get(step)
        return {} if record is None else {name: answer.findings for name, answer in record.answers.items()}

    def findings(
        self,
        step: str,
        question: str | None = None,
        *,
        checks: Collection[str] = (),
        targets: Collection[str] = (),
        object: str | None = None,
    ) -> tuple[Finding, ...]:
        """Return a step's findings, of one question or all; `checks`, `targets` and `object` narrow them down."""
        return tuple(
            finding
            for name, findings in self.questions(step).items()
            if question in (None, name)
            for finding in findings
            if (not checks or finding.check in checks)
            and (not targets or finding.target in targets)
            and object in (None, finding.object)
        )

    def judged(self) -> Iterator[Judged]:
        """Yield every finding of the run with where it came from, in the order in which they were made."""
        for step, record in self.records.items():
            for question, answer in record.answers.items():
                share = (answer.duration_s or 0) / max(len(answer.findings), 1)
                for finding in answer.findings:
                    yield Judged(step=step, question=question, finding=finding, duration_s=share)

    def all_findings(self) -> Iterator[tuple[str, Finding]]:
        """Yield every finding of the run with its step, in the order of the steps."""
        yield from ((each.step, each.finding) for each in self.judged())

    @property
    def failures(self) -> tuple[tuple[str, Finding], ...]:
        """Return every FAIL and ERROR with its step."""
        return tuple(pair for pair in self.all_findings() if pair[1].verdict in CLOSING)

    @property
    def steps(self) -> tuple[str, ...]:
        """Return the steps that left a record in this run."""
        return tuple(self.records)

    @property
    def missing_steps(self) -> tuple[str, ...]:
        """Return the steps that left no record in this run."""
        return tuple(step for step in STEPS if step not in self.records)

    @property
    def unfinished_steps(self) -> tuple[str, ...]:
        """Return the steps that began and did not come to their end; the last one is still writing the report."""
        return tuple(s for s in self.steps if s != STEPS[-1] and self.records[s].finished_at is None)

    @property
    def verdicts(self) -> dict[str, Verdict]:
        """Return the verdict of each step that was begun; ERROR for one that never came to a verdict.

        The runner's word goes before the record's: it also knows of kernels that died.
        """
        recorded = {step: record.verdict or Verdict.ERROR for step, record in self.records.items()}
        return recorded | {each.step: each.verdict for each in self.header.steps}

    @property
    def verdict(self) -> Verdict:
        """Return the run's verdict; before the header has one, the worst of its steps'."""
        return self.header.verdict or worst_of(self.verdicts.values())

    @property
    def durations_s(self) -> dict[str, float]:
        """Return how long each step took: as the runner measured it, with the kernel's start; else as the step did.

        A step that was kept from before the run was taken up took what it took then.
        """
        recorded = {step: record.duration_s for step, record in self.records.items()}
        told = {each.step: each.duration_s for each in self.header.steps if not each.kept}
        return {step: seconds for step, seconds in (recorded | told).items() if seconds is not None}

    @property
    def unexplained(self) -> tuple[str, ...]:
        """Return the steps that ended as an ERROR which no finding tells: dead kernel, time-out, interruption."""
        closed = {step for step, _ in self.failures}
        return tuple(
            s for s, verdict in self.verdicts.items() if verdict is Verdict.ERROR and s not in closed
        )

    def stops(self) -> Iterator[tuple[str, Finding]]:
        """Yield what ended the run and stands in no record: each unexplained step with an ERROR, then the run's end."""
        said = {each.step: each.stopped_by for each in self.header.steps}
        for step in self.unexplained:
            yield step, _stop(step, said.get(step) or "it ended without a verdict of its own")
        for why in filter(None, (self.header.not_sealed, self.header.not_drawn)):
            yield "-", _stop("run", why)


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


def without_time(text: str) -> str:
    """Return a text of a finding so that it can be compared with another run's: without the time of a dump."""
    return _DUMP_TIME.sub("…", text)
