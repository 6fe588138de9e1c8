"""Can an archived run be trusted? Judged offline, from its folder alone, and a public key where one is given."""

from __future__ import annotations

import os
import shlex
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from runbooks_lib.archive import reader
from runbooks_lib.archive.manifest import (
    ATTESTATION,
    MANIFEST,
    README,
    SUMS,
    Listed,
    Manifest,
    Sealed,
    names,
    read,
)
from runbooks_lib.archive.reader import NOT_UNDERSTOOD
from runbooks_lib.archive.seal.problem import Kind, Problem
from runbooks_lib.errors import EvidenceError
from runbooks_lib.typed import Typed

if TYPE_CHECKING:
    from securesystemslib.signer import SSlibKey


class Chain(Typed):
    """The sealed runs of a phase, oldest first, by their ids; `head` is the SHA-256 of the newest one's manifest."""

    runs: tuple[str, ...]
    head: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Verification:
    """What was found out about a run. `notes` do not speak against it; `manifest` is None when it is not sealed.

    With the chain, `problems` are also those of the phase's other runs, each with its run's name before the file's.
    """

    folder: Path
    manifest: Manifest | None
    mode: str | None
    signed_by: str | None  # the id of the key, where the signature was checked
    problems: tuple[Problem, ...]
    notes: tuple[str, ...] = field(default=())
    chain: Chain | None = None  # where it was asked for, and there is one

    @property
    def trusted(self) -> bool:
        """Return whether the run is sealed and whole, and nothing speaks against it."""
        return self.manifest is not None and not self.problems


def verify(
    folder: Path,
    *,
    key: Path | None = None,
    chain: bool = False,
    head: str | None = None,
    since: str | None = None,
) -> Verification:
    """Verify a run; with `key` also its signature, with `chain` also all runs of its phase beside it.

    `head` is the SHA-256 of a manifest that was the newest of the phase once, as it was noted then: the run that
    has it must still be in the chain. `since` is the id of the oldest run that must be there: those before it were
    deleted. With either the chain is followed.
    Raises EvidenceError when the folder is none, or the key cannot be read.
    """
    from runbooks_lib.archive.seal.keys import load_public

    folder = folder.absolute()
    if not folder.is_dir():
        raise EvidenceError(f"{folder} is no folder.", "Name the folder of a run: RUNS/PHASE/RUN.")
    public = load_public(key) if key else None
    found = _alone(folder, public)
    return _with_chain(found, public, head, since) if chain or head or since else found


def _alone(folder: Path, public: SSlibKey | None) -> Verification:
    """Verify a run without the others."""
    notes: list[str] = []
    problems: list[Problem] = []
    mode = signed_by = None
    sealed = sealed_in(folder, ["runbooks", "run", _phase_of(folder), "--resume", str(folder)])
    if isinstance(sealed, Problem):
        problems.append(sealed)
    else:
        problems += file_problems(sealed)
        if not problems:  # else its files are no longer the ones that could tell one
            mode, problems = _story(sealed, notes)
        signed_by, said = signature(sealed, public, notes, None if problems else lambda: _said_of(sealed))
        told = any(problem.kind is Kind.UNSIGNED for problem in problems)
        problems += [problem for problem in said if not (told and problem.kind is Kind.UNSIGNED)]
        notes += _exported(problems)
    return Verification(
        folder=folder,
        manifest=sealed.content if isinstance(sealed, Sealed) else None,
        mode=mode,
        signed_by=signed_by,
        problems=tuple(dict.fromkeys(problems)),
        notes=tuple(notes),
    )


def _exported(problems: Iterable[Problem]) -> Iterator[str]:
    """Say where what was added is what `runbooks export` adds to a run."""
    if {SUMS, README} <= {problem.where for problem in problems if problem.kind is Kind.ADDED}:
        yield f"it looks like an export, which has no dumps: {README} has the commands that verify it"


def sealed_in(folder: Path, again: Sequence[str]) -> Sealed | Problem:
    """Return the seal of a run, or of a fleet run, or why there is none; `again` is the command that takes it up."""
    try:
        return read(folder)
    except FileNotFoundError:
        what = f"it is not sealed: it was killed, or still goes on; {shlex.join(again)} takes it up"
        return Problem(Kind.INCOMPLETE, MANIFEST, what)
    except EvidenceError as error:
        return Problem(Kind.CHANGED, MANIFEST, str(error))


def _phase_of(folder: Path) -> str:
    """Return what names the phase of a run that is not sealed to the command line: a path, where it is not shipped."""
    from runbooks_lib.archive.run import Run

    try:
        return Run(folder).header().phase.ref or folder.parent.name
    except (EvidenceError, *NOT_UNDERSTOOD):
        return folder.parent.name


def file_problems(sealed: Sealed) -> Iterator[Problem]:
    """Compare what is in the folder with what the manifest lists."""
    folder, listed = sealed.path, sealed.content.files
    if sealed.content.run != folder.name:
        yield Problem(Kind.REPLACED, MANIFEST, f"it is that of run {sealed.content.run}")
    try:
        there = set(names(folder))
    except EvidenceError as error:
        yield Problem(Kind.CHANGED, "-", error.what_happened)
        return
    for name in sorted(there | set(listed)):
        if name not in listed:
            yield Problem(Kind.ADDED, name, "the manifest does not list it")
        elif name not in there:
            yield Problem(Kind.REMOVED, name, "the manifest lists it")
        elif what := _changed(folder, name, listed[name]):
            yield Problem(Kind.CHANGED, name, what)


def _changed(folder: Path, name: str, listed: Listed) -> str:
    """Return how a file differs from what is listed of it; empty when it does not."""
    try:
        seen = reader.look(folder, name, listed.size_bytes)
    except FileNotFoundError:
        return "it went away while it was read"
    except EvidenceError as error:
        return error.what_happened
    if seen.size_bytes != listed.size_bytes:
        return f"it has {seen.size_bytes} bytes, and had {listed.size_bytes}"
    return "" if seen.sha256 == listed.sha256 else "its SHA-256 is another"


def _story(sealed: Sealed, notes: list[str]) -> tuple[str | None, list[Problem]]:
    """Check that the files of the run tell one story; return the run's mode."""
    from runbooks_lib.archive.seal.consistency import story_problems

    problems: list[Problem] = []
    mode: str | None = None
    try:
        for found in story_problems(sealed, notes):
            problems.append(found)
        from runbooks_lib.archive.run import Run

        mode = Run(sealed.path).header().mode
    except EvidenceError as error:
        problems.append(Problem(Kind.CONTRADICTS, "-", str(error)))
    except NOT_UNDERSTOOD as error:
        problems.append(Problem(Kind.CONTRADICTS, "-", f"what the run holds cannot be understood: {error!r}"))
    return mode, problems


def _said_of(sealed: Sealed) -> Mapping[str, Any]:
    from runbooks_lib.archive.run import Run
    from runbooks_lib.archive.seal.attestation import statement

    return statement(Run(sealed.path), sealed.content, sealed.sha256)


def signature(
    sealed: Sealed,
    public: SSlibKey | None,
    notes: list[str],
    expected: Callable[[], Mapping[str, Any]] | None,
) -> tuple[str | None, list[Problem]]:
    """Judge the attestation; return the id of the key that it is proved to be signed with.

    `expected` returns what it has to say of the files; None where these could not tell.
    """
    if public is None and not os.path.lexists(sealed.path / ATTESTATION):
        notes.append("unsigned: who may write to the folder may also have written the manifest anew")
        return None, []
    from runbooks_lib.archive.seal import attestation

    try:
        envelope, said = attestation.read_envelope(sealed.path)
    except FileNotFoundError:
        return None, [Problem(Kind.UNSIGNED, ATTESTATION, "there is none, though a key was given")]
    except EvidenceError as error:
        kind = Kind.CHANGED if public is None else Kind.WRONGLY_SIGNED
        return None, [Problem(kind, ATTESTATION, str(error))]
    if public is None:
        notes.append(
            f"signed with key {attestation.key_id(envelope)}: give --key to have the signature checked"
        )
    elif not attestation.is_signed_by(envelope, public):
        return None, [
            Problem(Kind.WRONGLY_SIGNED, ATTESTATION, f"the signature is not that of key {public.keyid}")
        ]
    problems = list(_attested(sealed, said, expected))
    return (public.keyid if public else None), problems


def _attested(
    sealed: Sealed, said: Mapping[str, Any], expected: Callable[[], Mapping[str, Any]] | None
) -> Iterator[Problem]:
    """Compare the attestation with the manifest, and so with the files."""
    try:
        subjects = {subject["name"]: subject["digest"]["sha256"] for subject in said["subject"]}
        listed = {name: file.sha256 for name, file in sealed.content.files.items()}
        for name in sorted(set(subjects) | set(listed) - {MANIFEST}):
            if name == MANIFEST:
                continue
            if name not in listed:
                yield Problem(Kind.REMOVED, name, "the attestation lists it, and the manifest does not")
            elif name not in subjects:
                yield Problem(Kind.ADDED, name, "the manifest lists it, and the attestation does not")
            elif listed[name] != subjects[name]:
                yield Problem(
                    Kind.CHANGED, name, "the attestation has another SHA-256 for it than the manifest"
                )
        if subjects.get(MANIFEST) != sealed.sha256:
            yield Problem(Kind.CHANGED, MANIFEST, "the attestation has another SHA-256 for it")
        elif expected is not None and said != expected():
            yield Problem(
                Kind.CONTRADICTS, ATTESTATION, "it says something else about the run than its files"
            )
    except (*NOT_UNDERSTOOD, EvidenceError) as error:
        yield Problem(Kind.CHANGED, ATTESTATION, f"its Statement cannot be understood: {error!r}")


def _with_chain(
    found: Verification, public: SSlibKey | None, head: str | None, since: str | None
) -> Verification:
    """Add to what was found about a run what is wrong with the chain of its phase, and with each other run in it."""
    from runbooks_lib.archive.seal.chain import chain

    phase_folder = found.folder.parent
    runs, problems, unsealed = chain(phase_folder, since=since)
    others = {run.path.name: _alone(run.path, public) for run in runs if run.path != found.folder}
    vouched = {} if problems else _made_before_the_key([run.path.name for run in runs], others, found)
    for name, other in others.items():
        if name not in vouched:
            problems += [Problem(p.kind, f"{name}/{p.where}", p.what) for p in other.problems]
    if head is not None and head not in {run.sha256 for run in runs}:
        gone = f"no run has the manifest {head}: the one that had it was removed, replaced or opened again"
        problems.append(Problem(Kind.CHAIN, phase_folder.name, gone))
    notes = [f"run {name} is not sealed, and so not in the chain" for name in unsealed]
    notes += [
        f"run {name} was made before there was a key: run {by}, which is signed, follows it and vouches for it"
        for name, by in vouched.items()
    ]
    return replace(
        found,
        problems=tuple(dict.fromkeys((*found.problems, *problems))),
        notes=(*found.notes, *notes),
        chain=Chain(runs=tuple(run.path.name for run in runs), head=runs[-1].sha256) if runs else None,
    )


def _made_before_the_key(
    runs: list[str], others: Mapping[str, Verification], found: Verification
) -> dict[str, str]:
    """Return the runs without a signature that are older than the first signed one, each with that one's id.

    That one's manifest holds the digest of the manifest before, and so on: where no link is broken it vouches for them.
    """
    from runbooks_lib.archive.run import Run

    each = {**others, found.folder.name: found}
    first = next((n for n, run in enumerate(runs) if each[run].signed_by and each[run].trusted), 0)
    return {
        run: runs[first]
        for run in runs[:first]
        if run in others
        and {p.kind for p in others[run].problems} == {Kind.UNSIGNED}
        and Run(others[run].folder).header().signed_with is None
    }
