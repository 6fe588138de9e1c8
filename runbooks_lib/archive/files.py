"""Writing into the archive: a file is there whole, or not at all."""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from runbooks_lib.archive.redaction import masker, redact
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
    plain = _masked(json.loads(json.dumps(content, default=str)), masker())
    _write(path, json.dumps(plain, indent=2, ensure_ascii=False) + "\n")


def _masked(value: Any, mask: Callable[[str], str]) -> Any:
    if isinstance(value, str):
        return mask(value)
    if isinstance(value, list):
        return [_masked(each, mask) for each in value]
    if isinstance(value, dict):
        return {mask(key): _masked(each, mask) for key, each in value.items()}
    return value


def _write(path: Path, text: str) -> None:
    try:
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".partial")
        try:
            with os.fdopen(handle, "w", encoding="utf-8", errors="backslashreplace") as stream:
                stream.write(text)
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
