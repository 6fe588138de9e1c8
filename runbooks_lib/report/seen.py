"""What the steps of a run recorded, as the report looks it up."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import Any

from runbooks_lib.findings import CLOSING, Finding, Verdict, worst
from runbooks_lib.phase import STEPS

Evidence = Mapping[str, Mapping[str, Any]]


class Seen:
    """The answers of a run by step and question; what was not asked has no facts and no findings."""

    def __init__(self, evidence: Evidence) -> None:
        self._evidence = evidence
        self._findings = {
            step: {
                question: tuple(Finding.from_dict(row) for row in answer["findings"])
                for question, answer in self._answers(step).items()
            }
            for step in evidence
        }

    def ran(self, step: str) -> bool:
        """Tell whether a step left a record in this run."""
        return step in self._evidence

    def asked(self, step: str, question: str) -> bool:
        """Tell whether a step asked a question in this run."""
        return question in self._answers(step)

    def facts(self, step: str, question: str) -> Mapping[str, Any]:
        """Return the facts of an answer; none when there is no answer, or when it found none."""
        facts: Mapping[str, Any] = self._answers(step).get(question, {}).get("facts", {})
        return facts

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
            for name, findings in self._findings.get(step, {}).items()
            if question in (None, name)
            for finding in findings
            if (not checks or finding.check in checks)
            and (not targets or finding.target in targets)
            and object in (None, finding.object)
        )

    def all_findings(self) -> Iterator[tuple[str, Finding]]:
        """Yield every finding of the run with its step, in the order of the steps."""
        for step in STEPS:
            yield from ((step, finding) for finding in self.findings(step))

    def questions(self, step: str) -> dict[str, tuple[Finding, ...]]:
        """Return a step's questions in the order in which they were asked, each with its findings."""
        return dict(self._findings.get(step, {}))

    @property
    def failures(self) -> tuple[tuple[str, Finding], ...]:
        """Return every FAIL and ERROR with its step."""
        return tuple(pair for pair in self.all_findings() if pair[1].verdict in CLOSING)

    @property
    def steps(self) -> tuple[str, ...]:
        """Return the steps that left a record in this run."""
        return tuple(step for step in STEPS if step in self._evidence)

    @property
    def missing_steps(self) -> tuple[str, ...]:
        """Return the steps that left no record in this run."""
        return tuple(step for step in STEPS if step not in self._evidence)

    @property
    def unfinished_steps(self) -> tuple[str, ...]:
        """Return the steps that began and did not come to their end; the last one is still writing the report."""
        begun = (step for step in self.steps if step != STEPS[-1])
        return tuple(step for step in begun if self._evidence[step].get("finished_at", "") is None)

    def _answers(self, step: str) -> Mapping[str, Any]:
        answers: Mapping[str, Any] = self._evidence.get(step, {}).get("answers", {})
        return answers


def judged(findings: Collection[Finding]) -> Verdict | None:
    """Return the worst verdict; None when nothing was judged."""
    return worst(findings) if findings else None


def standing(findings: Collection[Finding]) -> Verdict | None:
    """Return the worst verdict of what is looked at in an object; PASS only when nothing is left to be judged later."""
    verdict = judged(findings)
    later = any(finding.verdict is Verdict.SKIP for finding in findings)
    return Verdict.SKIP if later and verdict is Verdict.PASS else verdict


def passed(findings: Collection[Finding]) -> int:
    """Return how many findings are PASS."""
    return sum(finding.verdict is Verdict.PASS for finding in findings)


def evidence_file(step: str) -> str:
    """Return the name of the file in which a step's answers are recorded."""
    return f"{STEPS.index(step) + 1:02d}_{step}.json"
