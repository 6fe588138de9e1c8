"""Does a step's record say what its archived notebook shows? Counts of verdicts, and the record's own SHA-256."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping

from runbooks_lib.archive.seal.execution_order import Cell, Notebook, code_cells_of, stop_of
from runbooks_lib.archive.seal.problem import Kind, Problem
from runbooks_lib.evidence import Record
from runbooks_lib.findings import CLOSING, Finding, Verdict, worst

_ASK = re.compile(r"^(\w+) = (?:step\.ask\(|decide\(\s*step,)\s*\w+\.(\w+)", re.MULTILINE)
_GATE = re.compile(r"^gate\((\w+)\.findings(, at_end=True)?\)$", re.MULTILINE)
_CLOSE = re.compile(r"^show\(step\.close\(\)\)$", re.MULTILINE)
_COUNT = re.compile(rf"(\d+) ({'|'.join(Verdict)})\b")
_TAG = re.compile(r"<[^>]*>")
_SHA256 = re.compile(r"\b[0-9a-f]{64}\b")


def contradictions(name: str, notebook: Notebook, record: Record, record_sha256: str) -> Iterator[Problem]:
    """Yield where the record of a step and its archived notebook tell different stories."""
    cells = code_cells_of(notebook)
    stop = stop_of(cells)
    asked: dict[str, str] = {}
    for number, cell in enumerate(cells, start=1):
        reached = stop is None or number <= stop + 1
        ended = stop is None or number <= stop
        code = cell.code
        if (ask := _ASK.search(code)) and reached:
            asked[ask[1]] = ask[2]
            if ended:
                yield from _compare(name, number, cell, _findings(record, ask[2]), f"to {ask[2]}")
        elif (gate := _GATE.search(code)) and reached and gate[1] in asked:
            question = asked[gate[1]]
            found = _findings(record, question)
            if gate[2] and ended:
                yield from _compare(name, number, cell, found, f"at the gate of {question}")
            else:
                yield from _judge_gate(name, number, cell, found, question, ended=ended)
        elif _CLOSE.search(code) and ended:
            yield from _compare(name, number, cell, record.findings, "in all")
            yield from _compare_close(name, cell, record, record_sha256)
    for question in sorted(set(record.answers) - set(asked.values())):
        yield Problem(
            Kind.CONTRADICTS,
            f"{name}.json",
            f"it has an answer to {question}, which {name}.ipynb never asked",
        )
    if stop is None and record.verdict in {None, *CLOSING}:
        yield Problem(
            Kind.CONTRADICTS, f"{name}.json", "it does not say that the step passed, as its notebook does"
        )


def record_problems(name: str, record: Record, step: str, run: str, phase: str) -> Iterator[Problem]:
    """Yield where a record contradicts itself: verdicts that are not those of its findings, another run's id."""
    for key, have, want in (
        ("step", record.step, step),
        ("run", record.run, run),
        ("phase", record.phase, phase),
    ):
        if have != want:
            yield Problem(Kind.REPLACED, f"{name}.json", f"its {key} is {have}, not {want}")
    for question, answer in record.answers.items():
        verdict = worst(answer.findings)
        if answer.verdict != verdict:
            yield Problem(
                Kind.CONTRADICTS,
                f"{name}.json",
                f"its answer to {question} is {answer.verdict}, and by its findings {verdict}",
            )
    if record.verdict is not None and record.verdict != worst(record.findings):
        yield Problem(
            Kind.CONTRADICTS,
            f"{name}.json",
            f"its verdict is {record.verdict}, and by its findings {worst(record.findings)}",
        )


def _findings(record: Record, question: str) -> tuple[Finding, ...]:
    answer = record.answers.get(question)
    return () if answer is None else answer.findings


def _compare(
    name: str, number: int, cell: Cell, findings: Iterable[Finding], about: str
) -> Iterator[Problem]:
    """Compare the line of counts that a cell shows with the findings of the record."""
    shown = next(iter(_texts(cell, "text/markdown")), "")
    counts = {verdict: int(count) for count, verdict in _COUNT.findall(shown)}
    recorded = Counter(finding.verdict.value for finding in findings)
    if counts != recorded:
        yield Problem(
            Kind.CONTRADICTS,
            f"{name}.ipynb",
            f"code cell {number} shows {_in_words(counts)} {about}; {name}.json has {_in_words(recorded)}",
        )


def _judge_gate(
    name: str, number: int, cell: Cell, findings: tuple[Finding, ...], question: str, *, ended: bool
) -> Iterator[Problem]:
    closing = worst(findings) in CLOSING
    if ended:
        yield from _compare(name, number, cell, findings, f"at the gate of {question}")
        if closing:
            yield Problem(
                Kind.CONTRADICTS,
                f"{name}.ipynb",
                f"the gate of {question} is open, and {name}.json closes it",
            )
    elif not closing and any(output.ename == "GateClosed" for output in cell.outputs):
        yield Problem(
            Kind.CONTRADICTS, f"{name}.ipynb", f"the gate of {question} is closed, and {name}.json opens it"
        )


def _compare_close(name: str, cell: Cell, record: Record, record_sha256: str) -> Iterator[Problem]:
    """Compare the row that closing the step shows with the record's file, in each form in which it is shown."""
    for kind in ("text/plain", "text/html"):
        row = _TAG.sub(" ", "\n".join(_texts(cell, kind)))
        if record_sha256 not in _SHA256.findall(row):
            yield Problem(
                Kind.CONTRADICTS,
                f"{name}.json",
                f"its SHA-256 is not the one that {name}.ipynb shows ({kind})",
            )
        said = re.search(rf"\b{name}\s+({'|'.join(Verdict)})\b", row)
        if said is None or said[1] != record.verdict:
            yield Problem(
                Kind.CONTRADICTS,
                f"{name}.ipynb",
                f"it shows the verdict {said[1] if said else '-'} ({kind}); {name}.json says {record.verdict}",
            )


def _texts(cell: Cell, kind: str) -> Iterator[str]:
    yield from (output.shown(kind) for output in cell.outputs if kind in output.data)


def _in_words(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{counts[v]} {v}" for v in reversed(Verdict) if v in counts) or "no findings"
