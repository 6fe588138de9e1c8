"""Sealing a run: the manifest, chained onto the run before it, and the signed attestation where there is a key."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

from runbooks_lib.archive.files import write_bytes
from runbooks_lib.archive.manifest import (
    ATTESTATION,
    MANIFEST,
    SCHEMA_VERSION,
    Manifest,
    Previous,
    Sealed,
    alone,
    canonical,
    digests,
    of_phase,
)
from runbooks_lib.archive.run import Run, now
from runbooks_lib.archive.seal.problem import Kind
from runbooks_lib.archive.seal.recorded import recorded_problems
from runbooks_lib.errors import EvidenceError
from runbooks_lib.findings import Verdict
from runbooks_lib.typed import Moment

LEFTOVERS = (".*.partial", ".*.partial.ipynb", ".*.saving")  # of writes that were cut short


def seal(run: Run, *, key: Path | None = None) -> Manifest:
    """Seal a run as it is now, signed when a key is given; return its manifest.

    The manifest is written last: a run that is cut short before is not sealed.
    Raises EvidenceError when the key is none, when the folder holds a link or a file that is not as its step recorded
    it, or when it cannot be written.
    """
    for pattern in LEFTOVERS:
        for path in run.path.rglob(pattern):
            path.unlink()
    with alone(run.path.parent):
        _note_key(run, key)
        header = run.header()
        content = chained(
            run.path,
            phase=header.phase.id,
            verdict=header.verdict or Verdict.ERROR,
            complete=header.finished_at is not None,
        )
        _require_as_recorded(run, content)

        def said(manifest_sha256: str) -> dict[str, Any]:
            from runbooks_lib.archive.seal.attestation import statement

            return statement(run, content, manifest_sha256)

        write_seal(run.path, content, said, key)
    return content


def _note_key(run: Run, key: Path | None) -> None:
    """Note in run.json which key signs the run: who takes the signature away later can't say that there was none."""
    from runbooks_lib.archive.seal.keys import load_private

    signed_with = None if key is None else load_private(key).public_key.keyid
    if run.header().signed_with != signed_with:
        run.update(signed_with=signed_with)


def write_seal(
    folder: Path, content: Manifest, said: Callable[[str], Mapping[str, Any]], key: Path | None
) -> None:
    """Write a manifest, and with a key what is `said` of its SHA-256, signed; the manifest is last.

    Raises EvidenceError when the key is none, or when it cannot be written.
    """
    octets = canonical(content)
    if key is not None:
        from runbooks_lib.archive.seal.attestation import sign

        write_bytes(folder / ATTESTATION, sign(said(hashlib.sha256(octets).hexdigest()), key))
    write_bytes(folder / MANIFEST, octets)


def chained(folder: Path, *, phase: str, verdict: Verdict, complete: bool) -> Manifest:
    """Return the manifest of a folder as it is now, which follows what was sealed beside it last.

    Raises EvidenceError when the folder holds a link.
    """
    others = [sealed for sealed in of_phase(folder.parent) if sealed.path != folder]
    previous = others[-1] if others else None
    return Manifest(
        schema_version=SCHEMA_VERSION,
        run=folder.name,
        phase=phase,
        previous=None if previous is None else Previous(run=previous.content.run, sha256=previous.sha256),
        sealed_at=_later_than(previous),
        verdict=verdict,
        complete=complete,
        files=digests(folder),
    )


def _require_as_recorded(run: Run, content: Manifest) -> None:
    for problem in recorded_problems(content.files, run.evidence()):
        happened = "is gone" if problem.kind is Kind.REMOVED else "was changed"
        raise EvidenceError(
            f"{run.path / problem.where} {happened} since it was recorded: {problem.what}.",
            "What the run did with it is not proved any more, so it is not sealed: who writes to its folder?",
        )


def _later_than(previous: Sealed | None) -> Moment:
    """Return the present time, and never one before the previous seal: a clock may have been set back."""
    if previous is None:
        return now()
    after = previous.content.sealed_at.time + timedelta(milliseconds=1)
    return max(now(), Moment(after.isoformat(timespec="milliseconds").replace("+00:00", "Z")))
