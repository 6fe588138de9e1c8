"""manifest.json: every file of a run by size and SHA-256, and the run before it. Where it stands, the run is sealed."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from runbooks_lib.archive import reader
from runbooks_lib.errors import EvidenceError
from runbooks_lib.findings import Verdict
from runbooks_lib.typed import Moment, Sha256, Typed, plain, typed

MANIFEST = "manifest.json"
ATTESTATION = "attestation.dsse.json"
SEAL = frozenset({MANIFEST, ATTESTATION})
SUMS, README = "SHA256SUMS", "README.txt"  # what an export has besides
SCHEMA_VERSION = 1


class Listed(Typed):
    """A file as the manifest lists it."""

    sha256: Sha256
    size_bytes: int


class Previous(Typed):
    """The run that was sealed before, and the SHA-256 of its manifest."""

    run: str
    sha256: Sha256


class Manifest(Typed):
    """manifest.json."""

    schema_version: int
    run: str
    phase: str
    previous: Previous | None
    sealed_at: Moment
    verdict: Verdict
    complete: bool
    files: dict[str, Listed]


@dataclass(frozen=True, slots=True)
class Sealed:
    """A sealed run: its folder, its manifest, and the manifest's SHA-256."""

    path: Path
    content: Manifest
    sha256: str

    @property
    def order(self) -> tuple[str, str]:
        """Return what puts the runs of a phase in order."""
        return self.content.sealed_at, self.content.run

    @property
    def follows(self) -> str | None:
        """Return the id of the run that this one has chained onto."""
        previous = self.content.previous
        return None if previous is None else previous.run


def canonical(content: Any) -> bytes:
    """Return the one way in which a seal's JSON is written, so that no byte of it can change unnoticed."""
    content = plain(content)
    try:
        text = msgspec.json.format(
            json.dumps(content), indent=2
        )  # json.dumps indents in Python: half as fast
    except msgspec.DecodeError:  # half a character, as names of files have them
        text = json.dumps(content, indent=2)
    return f"{text}\n".encode("ascii")


def read(folder: Path) -> Sealed:
    """Read the manifest of a run.

    Raises FileNotFoundError when the run is not sealed, EvidenceError when its manifest is none of ours.
    """
    path = folder / MANIFEST
    octets = reader.read(folder, MANIFEST)
    try:
        content = typed(reader.parsed_object(octets, path, halves=True), Manifest, path)
    except EvidenceError as error:
        raise EvidenceError(f"{path} is no manifest: {error.what_happened}", error.what_to_do) from error
    if canonical(content) != octets:
        raise EvidenceError(
            f"{path} is no manifest: it is not as it was written.", "It was changed or cut short."
        )
    if content.schema_version != SCHEMA_VERSION:
        raise EvidenceError(
            f"{path} is a manifest of another version.", "Use the version that sealed the run."
        )
    return Sealed(folder, content, hashlib.sha256(octets).hexdigest())


def digests(folder: Path) -> dict[str, Listed]:
    """Return SHA-256 and size of every file of a run, by its path in it, without the seal itself.

    Raises EvidenceError when one is a symbolic link or another thing that is no file of the folder's own.
    """
    found = {}
    for name in names(folder):
        seen = reader.look(folder, name)
        found[name] = Listed(sha256=seen.sha256, size_bytes=seen.size_bytes)
    return found


def names(folder: Path) -> list[str]:
    """Return the path, in a run, of all that is no folder, without the seal itself; links are not followed.

    Raises EvidenceError as `reader.names` does.
    """
    return [name for name in reader.names(folder) if name not in SEAL]


def of_phase(phase_folder: Path) -> list[Sealed]:
    """Return the sealed runs of a phase, in the order in which they were sealed; unreadable manifests are left out."""
    found = []
    for path in phase_folder.glob(f"*/{MANIFEST}"):
        with suppress(FileNotFoundError, EvidenceError):
            found.append(read(path.parent))
    return sorted(found, key=lambda sealed: sealed.order)


def followers(folder: Path) -> list[str]:
    """Return the ids of the runs that have chained onto a run."""
    return [sealed.path.name for sealed in of_phase(folder.parent) if sealed.follows == folder.name]


@contextmanager
def alone(phase_folder: Path) -> Iterator[None]:
    """Keep every other process from sealing and unsealing runs of the phase within this block."""
    handle = os.open(phase_folder, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)
