"""Writing into the archive: a file is there whole, or not at all."""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from runbooks_lib.archive.redaction import Masker, redact, redact_notebook
from runbooks_lib.errors import EvidenceError


def write_text(path: Path, text: str) -> None:
    """Write a text file atomically (temporary file, fsync, rename), with every known secret masked.

    Raises EvidenceError when the disk is full or the folder is not writable; then the old file, if any, stands.
    """
    _write(path, redact(text))


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write a JSON file atomically; times and paths become strings.

    Secrets are masked inside the texts, never across them: a password such as `1234` or `null` must not spoil
    the numbers and the syntax of the file.
    Raises EvidenceError as `write_text` does.
    """
    plain = Masker().value(json.loads(json.dumps(content, default=str)))
    _write(path, json.dumps(plain, indent=2, ensure_ascii=False) + "\n")


def write_notebook(path: Path, notebook: Mapping[str, Any]) -> None:
    """Write an executed notebook atomically, with secrets masked inside its texts, and where these are in pieces.

    Raises EvidenceError as `write_text` does.
    """
    _write(path, json.dumps(redact_notebook(notebook), indent=1, ensure_ascii=False) + "\n")


def write_bytes(path: Path, content: bytes) -> None:
    """Write a file atomically as it is: for what holds digests and signatures, which nothing may mask.

    Raises EvidenceError as `write_text` does.
    """
    _write(path, content)


def _write(path: Path, content: str | bytes) -> None:
    octets = content if isinstance(content, bytes) else content.encode("utf-8", "backslashreplace")
    try:
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".partial")
        try:
            with os.fdopen(handle, "wb") as stream:
                stream.write(octets)
                stream.flush()
                os.fsync(stream.fileno())
            os.replace(name, path)
        except BaseException:
            with suppress(OSError):
                os.unlink(name)
            raise
    except OSError as error:
        raise EvidenceError(
            f"{path} could not be written: {error.strerror or error}.",
            "Free space or choose another folder with --runs DIR; the run stops here, since what is not archived "
            "is not proved.",
        ) from error


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object back.

    Raises EvidenceError when the file is missing, unreadable or no JSON object.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise EvidenceError(
            f"{path} cannot be read: {error}.", "Check the run folder; was it moved or cut short?"
        ) from error
    if not isinstance(content, dict):
        raise EvidenceError(f"{path} holds no JSON object.", "It was not written by this software.")
    return content


def sha256_of(path: Path) -> str:
    """Return the SHA-256 (hex) of a file."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
