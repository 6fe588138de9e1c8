"""Writing into the archive: a file is there whole, or not at all."""

from __future__ import annotations

import hashlib
import json
import os
import re
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from json.encoder import encode_basestring
from pathlib import Path
from typing import Any

from runbooks_lib.archive.masking.mask import Masker, redact, redact_notebook
from runbooks_lib.errors import EvidenceError

FIELDS_OF_A_LINE = 10
_encode = json.JSONEncoder(ensure_ascii=False).encode
_HALF = re.compile("[\ud800-\udfff]")


def write_text(path: Path, text: str) -> str:
    """Write a text file atomically (temporary file, fsync, rename), with every known secret masked.

    Returns the SHA-256 (hex) of what was written, as all of these do.
    Raises EvidenceError when the disk is full or the folder is not writable; then the old file, if any, stands.
    """
    return _write(path, redact(text))


def write_json(path: Path, content: Mapping[str, Any]) -> str:
    """Write a JSON file atomically; times and paths become strings.

    Secrets are masked inside the texts, never across them: a password such as `1234` or `null` must not spoil
    the numbers and the syntax of the file.
    Raises EvidenceError as `write_text` does.
    """
    plain = json.loads(json.dumps(content, default=str), parse_constant=str)  # JSON has no NaN
    return _write(path, _json(Masker().value(plain), indent=2))


def write_notebook(path: Path, notebook: Mapping[str, Any]) -> str:
    """Write an executed notebook atomically, with secrets masked inside its texts, and where these are in pieces.

    Raises EvidenceError as `write_text` does.
    """
    return _write(path, _json(redact_notebook(notebook), indent=1))


def write_bytes(path: Path, content: bytes) -> str:
    """Write a file atomically as it is: for what holds digests and signatures, which nothing may mask.

    Raises EvidenceError as `write_text` does.
    """
    return _write(path, content)


def _json(content: Any, *, indent: int) -> str:
    """Return content as JSON that any reader takes: half a character, of a name that is no UTF-8, is spelled out."""
    text = _indented(content, " " * indent, "\n") + "\n"
    return text if text.isascii() else _HALF.sub(lambda half: f"\\\\u{ord(half[0]):04x}", text)


def _indented(value: Any, step: str, end: str) -> str:
    """Return a value of JSON as json.dumps prints it with an indent, which is slow there; one line for a record.

    A finding is such a record: on lines of its own each of its fields would take more room than what it says.
    """
    if isinstance(value, str):
        return encode_basestring(value)
    begin = end + step
    if isinstance(value, dict) and value:
        fields = [f"{encode_basestring(key)}: {_within(each, step, begin)}" for key, each in value.items()]
        return f"{{{begin}{f',{begin}'.join(fields)}{end}}}"
    if isinstance(value, list) and value:
        return f"[{begin}{f',{begin}'.join(_within(each, step, begin) for each in value)}{end}]"
    return _encode(value)


def _within(value: Any, step: str, end: str) -> str:
    is_record = isinstance(value, dict) and len(value) <= FIELDS_OF_A_LINE
    if is_record and not any(isinstance(each, dict | list) for each in value.values()):
        return _encode(value)
    return _indented(value, step, end)


def _write(path: Path, content: str | bytes) -> str:
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
    return hashlib.sha256(octets).hexdigest()
