"""Do the files of a run tell one story? run.json, the steps' records, the archived notebooks, the shipped ones."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping

from runbooks_lib.archive import changes
from runbooks_lib.archive.manifest import ATTESTATION, Sealed
from runbooks_lib.archive.notebooks import code_cells, code_digest, notebooks_folder
from runbooks_lib.archive.run import Run
from runbooks_lib.archive.seal.execution_order import (
    Notebook,
    code_cells_of,
    code_problems,
    digest_of,
    order_problems,
    stop_of,
)
from runbooks_lib.archive.seal.outputs import contradictions, record_problems
from runbooks_lib.archive.seal.problem import Kind, Problem
from runbooks_lib.archive.seal.recorded import recorded_problems
from runbooks_lib.evidence import HEADER, Evidence, step_name
from runbooks_lib.findings import CLOSING, Verdict, worst_of
from runbooks_lib.package import library_digest
from runbooks_lib.phase import STEPS


def story_problems(sealed: Sealed, notes: list[str]) -> Iterator[Problem]:
    """Yield where the files of a sealed run contradict each other or the notebooks that are shipped.

    Adds to `notes` what cannot be told, and does not speak against the run.
    Raises EvidenceError when a file cannot be read, and what Python raises for content that is no record of ours.
    """
    run = Run(sealed.path)
    evidence = run.evidence()
    notebooks = {
        step: notebook
        for step in STEPS
        if (notebook := run.read(run.notebook(step).name, Notebook)) is not None
    }
    yield from _header_problems(sealed, evidence)
    executed = {each.step for each in evidence.header.steps}
    for step, record in evidence.records.items():
        yield from record_problems(step_name(step), record, step, sealed.path.name, evidence.header.phase.id)
        if step in notebooks:
            digest = sealed.content.files[f"{step_name(step)}.json"].sha256
            yield from contradictions(step_name(step), notebooks[step], record, digest)
        elif step in executed:
            yield Problem(Kind.REMOVED, run.notebook(step).name, "run.json says that it was executed")
        else:
            notes.append(f"{step_name(step)}: run by hand, so no executed notebook is archived")
    for step, notebook in notebooks.items():
        yield from order_problems(run.notebook(step).name, notebook)
        if not evidence.ran(step) and stop_of(code_cells_of(notebook)) is None:
            yield Problem(Kind.REMOVED, f"{step_name(step)}.json", "its notebook came to its end")
    notes += _libraries(evidence)
    yield from _code(run, evidence, notebooks, notes)
    yield from _verdict_problems(evidence, notebooks)
    yield from _summary_problem(run, evidence)
    yield from recorded_problems(sealed.content.files, evidence)


def _header_problems(sealed: Sealed, evidence: Evidence) -> Iterator[Problem]:
    header, content = evidence.header, sealed.content
    for what, have, want in (
        ("run", header.id, content.run),
        ("phase", header.phase.id, content.phase),
        ("verdict", header.verdict, content.verdict),
        ("end", header.finished_at is not None, content.complete),
    ):
        if have != want:
            yield Problem(Kind.CONTRADICTS, HEADER, f"its {what} is {have}, and by the manifest {want}")
    if header.signed_with and not os.path.lexists(sealed.path / ATTESTATION):
        said = f"there is none, and {HEADER} says that key {header.signed_with} signed the run"
        yield Problem(Kind.UNSIGNED, ATTESTATION, said)
    if content.complete:
        for step in STEPS:
            verdict = evidence.records[step].verdict if evidence.ran(step) else None
            if verdict in {None, *CLOSING}:
                yield Problem(
                    Kind.CONTRADICTS,
                    HEADER,
                    f"the run is complete, and {step_name(step)} has not passed: {verdict}",
                )


def _summary_problem(run: Run, evidence: Evidence) -> Iterator[Problem]:
    """Yield the problem of verdicts.json, of which an archive's index is made: it does not say what the records say."""
    found = run.read(changes.FILE, changes.Summary)
    if found is not None and found != changes.summary(evidence):
        yield Problem(Kind.CONTRADICTS, changes.FILE, "its verdicts are not those of the steps' records")


def _verdict_problems(evidence: Evidence, notebooks: Mapping[str, Notebook]) -> Iterator[Problem]:
    """Yield where the verdicts of run.json are not those of the steps."""
    header, nothing = evidence.header, Notebook(cells=(), metadata={})
    noted = {each.step: each.verdict for each in header.steps}
    worst = Verdict.ERROR if header.not_drawn else worst_of((noted or evidence.verdicts).values())
    if header.verdict != worst:
        yield Problem(Kind.CONTRADICTS, HEADER, f"its verdict is {header.verdict}, and by its steps {worst}")
    for step, verdict in noted.items():
        recorded = evidence.records[step].verdict if evidence.ran(step) else None
        stopped = not evidence.ran(step) or stop_of(code_cells_of(notebooks.get(step, nothing))) is not None
        if stopped and verdict not in CLOSING:
            yield Problem(
                Kind.CONTRADICTS, HEADER, f"its step {step} is {verdict}, though its notebook was stopped"
            )
        elif not stopped and verdict not in (recorded, Verdict.ERROR):
            yield Problem(
                Kind.CONTRADICTS, HEADER, f"its step {step} is {verdict}, and by its record {recorded}"
            )


def _libraries(evidence: Evidence) -> list[str]:
    """Return what is to be known of the library that judged: whether it is this one, and one in all steps."""
    judged = {record.library for record in evidence.records.values()} | {evidence.header.library}
    others = sorted(str(library) for library in judged - {library_digest(), None})
    return [f"judged with another library than this one, or one that was edited: {each}" for each in others]


def _code(
    run: Run, evidence: Evidence, notebooks: Mapping[str, Notebook], notes: list[str]
) -> Iterator[Problem]:
    """Compare the archived notebooks with the shipped ones, or with the digest where those have changed since."""
    ours = code_digest()
    for step, notebook in notebooks.items():
        name = run.notebook(step).name
        made_with = evidence.records[step].code if evidence.ran(step) else ours
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
