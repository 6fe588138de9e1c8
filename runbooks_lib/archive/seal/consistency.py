"""Do the files of a run tell one story? run.json, the steps' records, the archived notebooks, the shipped ones."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from runbooks_lib.archive import changes, shapes
from runbooks_lib.archive.judged import NOT_DRAWN
from runbooks_lib.archive.manifest import Sealed
from runbooks_lib.archive.notebooks import code_cells, code_digest, notebooks_folder
from runbooks_lib.archive.run import HEADER, Run, step_name
from runbooks_lib.archive.seal.execution_order import (
    code_cells_of,
    code_problems,
    digest_of,
    order_problems,
    stop_of,
)
from runbooks_lib.archive.seal.outputs import contradictions, record_problems
from runbooks_lib.archive.seal.problem import Kind, Problem
from runbooks_lib.archive.seal.recorded import recorded_problems
from runbooks_lib.findings import CLOSING, Verdict, worst_of
from runbooks_lib.package import library_digest
from runbooks_lib.phase import STEPS

Evidence = Mapping[str, Mapping[str, Any]]


def story_problems(sealed: Sealed, notes: list[str]) -> Iterator[Problem]:
    """Yield where the files of a sealed run contradict each other or the notebooks that are shipped.

    Adds to `notes` what cannot be told, and does not speak against the run.
    Raises EvidenceError when a file cannot be read, and what Python raises for content that is no record of ours.
    """
    run = Run(sealed.path)
    header, evidence = run.header(), run.evidence()
    notebooks = {step: notebook for step in STEPS if (notebook := run.executed(step)) is not None}
    yield from _header_problems(sealed, header, evidence)
    executed = {step["step"] for step in header.get("steps", ())}
    for step, record in evidence.items():
        yield from record_problems(step_name(step), record, step, sealed.path.name, header["phase"]["id"])
        if step in notebooks:
            digest = sealed.content["files"][f"{step_name(step)}.json"]["sha256"]
            yield from contradictions(step_name(step), notebooks[step], record, digest)
        elif step in executed:
            yield Problem(Kind.REMOVED, run.notebook(step).name, "run.json says that it was executed")
        else:
            notes.append(f"{step_name(step)}: run by hand, so no executed notebook is archived")
    for step, notebook in notebooks.items():
        yield from order_problems(run.notebook(step).name, notebook)
        if step not in evidence and stop_of(code_cells_of(notebook)) is None:
            yield Problem(Kind.REMOVED, f"{step_name(step)}.json", "its notebook came to its end")
    notes += _libraries(header, evidence)
    yield from _code(run, evidence, notebooks, notes)
    yield from _verdict_problems(header, evidence, notebooks)
    yield from _summary_problem(run, evidence)
    yield from recorded_problems(sealed.content["files"], header, evidence)


def _header_problems(sealed: Sealed, header: Mapping[str, Any], evidence: Evidence) -> Iterator[Problem]:
    content = sealed.content
    for what, have, want in (
        ("run", header["id"], content["run"]),
        ("phase", header["phase"]["id"], content["phase"]),
        ("verdict", header["verdict"], content["verdict"]),
        ("end", header["finished_at"] is not None, content["complete"]),
    ):
        if have != want:
            yield Problem(Kind.CONTRADICTS, HEADER, f"its {what} is {have}, and by the manifest {want}")
    if content["complete"]:
        for step in STEPS:
            verdict = evidence.get(step, {}).get("verdict")
            if verdict is None or Verdict(verdict) in CLOSING:
                yield Problem(
                    Kind.CONTRADICTS,
                    HEADER,
                    f"the run is complete, and {step_name(step)} has not passed: {verdict}",
                )


def _summary_problem(run: Run, evidence: Evidence) -> Iterator[Problem]:
    """Yield the problem of verdicts.json, of which an archive's index is made: it does not say what the records say."""
    found = run.read(changes.FILE, shapes.VERDICTS)
    if found is not None and found != changes.summary(evidence):
        yield Problem(Kind.CONTRADICTS, changes.FILE, "its verdicts are not those of the steps' records")


def _verdict_problems(
    header: Mapping[str, Any], evidence: Evidence, notebooks: Mapping[str, Mapping[str, Any]]
) -> Iterator[Problem]:
    """Yield where the verdicts of run.json are not those of the steps."""
    noted = {step["step"]: Verdict(step["verdict"]) for step in header.get("steps", ())}
    verdicts = noted or {step: Verdict(r["verdict"] or Verdict.ERROR) for step, r in evidence.items()}
    worst = Verdict.ERROR if header.get(NOT_DRAWN) else worst_of(verdicts.values())
    if header["verdict"] != worst:
        yield Problem(
            Kind.CONTRADICTS, HEADER, f"its verdict is {header['verdict']}, and by its steps {worst}"
        )
    for step, verdict in noted.items():
        stopped = (
            step not in evidence or stop_of(code_cells_of(notebooks.get(step, {"cells": []}))) is not None
        )
        if stopped and verdict not in CLOSING:
            yield Problem(
                Kind.CONTRADICTS, HEADER, f"its step {step} is {verdict}, though its notebook was stopped"
            )
        elif not stopped and verdict not in (evidence[step]["verdict"], Verdict.ERROR):
            recorded = evidence[step]["verdict"]
            yield Problem(
                Kind.CONTRADICTS, HEADER, f"its step {step} is {verdict}, and by its record {recorded}"
            )


def _libraries(header: Mapping[str, Any], evidence: Evidence) -> list[str]:
    """Return what is to be known of the library that judged: whether it is this one, and one in all steps."""
    judged = {record.get("library") for record in evidence.values()} | {header.get("library")}
    others = sorted(str(library) for library in judged - {library_digest(), None})
    return [f"judged with another library than this one, or one that was edited: {each}" for each in others]


def _code(
    run: Run, evidence: Evidence, notebooks: Mapping[str, Mapping[str, Any]], notes: list[str]
) -> Iterator[Problem]:
    """Compare the archived notebooks with the shipped ones, or with the digest where those have changed since."""
    ours = code_digest()
    for step, notebook in notebooks.items():
        name = run.notebook(step).name
        made_with = evidence[step]["code"] if step in evidence else ours
        if made_with == ours:
            yield from code_problems(name, notebook, code_cells(notebooks_folder() / name))
            continue
        proved = digest_of(notebooks)
        if proved is None:
            notes.append(f"{name}: made by another version of the notebooks; its code could not be compared")
        elif proved == made_with:
            notes.append(
                f"{name}: made by another version of the notebooks; its code is as that version's digest says"
            )
        else:
            yield Problem(
                Kind.OTHER_CODE, name, "made by another version of the notebooks, and not by the one it names"
            )
