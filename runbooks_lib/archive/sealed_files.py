"""What a file of a run must be to be believed: as it was sealed, or as the step that made it has noted."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from runbooks_lib.archive import manifest, reader
from runbooks_lib.errors import EvidenceError

SEE = "runbooks verify says what else was."


@dataclass(frozen=True, slots=True)
class Believed:
    """The SHA-256 of a run's files, by their path in it; of a sealed run only these are its evidence."""

    digests: Mapping[str, str]
    sealed: bool

    def read(
        self, folder: Path, name: str, *, limit_bytes: int = reader.LARGE_BYTES
    ) -> dict[str, Any] | None:
        """Return the JSON of a file if it is believed; None when there is none, nor should be.

        Raises EvidenceError.
        """
        path = folder / name
        try:
            octets = reader.read(folder, name, limit_bytes=limit_bytes)
        except FileNotFoundError:
            if name in self.digests:
                raise EvidenceError(f"{path} is gone.", f"It was removed: {SEE}") from None
            return None
        self.require(hashlib.sha256(octets).hexdigest(), folder, name)
        return reader.parsed_object(octets, path)

    def names(self, folder: Path) -> list[str]:
        """Return the files that belong to a run: those that were sealed, else all that are there.

        Raises EvidenceError as `reader.names` does.
        """
        return sorted(self.digests) if self.sealed else reader.names(folder)

    def copy(self, folder: Path, name: str, to: Path) -> None:
        """Copy a file, private, if it is believed; nothing is left of one that is not. Raises EvidenceError."""
        digest = hashlib.sha256()
        try:
            with reader.opened(folder, name) as stream, open(to, "xb", opener=_private) as copied:
                while octets := stream.read(reader.CHUNK_BYTES):
                    digest.update(octets)
                    copied.write(octets)
            self.require(digest.hexdigest(), folder, name)
        except FileNotFoundError as error:
            raise EvidenceError(f"{folder / name} is gone.", f"It was removed: {SEE}") from error
        except EvidenceError:
            to.unlink(missing_ok=True)
            raise

    def require(self, digest: str, folder: Path, name: str) -> None:
        """Refuse a file by its SHA-256. Raises EvidenceError."""
        path, want = folder / name, self.digests.get(name)
        if want is None and self.sealed:
            raise EvidenceError(f"{path} is no part of what was sealed.", f"It was added: {SEE}")
        if want not in (None, digest):
            raise EvidenceError(
                f"{path} is not as it was {'sealed' if self.sealed else 'recorded'}.",
                f"It was changed since, and is no evidence: {SEE}",
            )


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


def as_sealed(sealed: manifest.Sealed) -> Believed:
    """Return what the files of a sealed run are."""
    return Believed({name: file.sha256 for name, file in sealed.content.files.items()}, sealed=True)


def sealed_as(folder: Path) -> Believed | None:
    """Return what the files of a run are if it is sealed, else None. Raises EvidenceError for a bad manifest."""
    try:
        return as_sealed(manifest.read(folder))
    except FileNotFoundError:
        return None
