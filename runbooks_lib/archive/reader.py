"""The one way in which files of a run folder are read: whoever made the folder may mean us ill.

Only regular files of the folder's own are read, never what a link, a pipe or a device leads to; no more of them than
a file of its kind may have, or its seal says; and JSON only where it can be understood in one way.
"""

from __future__ import annotations

import codecs
import errno
import hashlib
import json
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from runbooks_lib.errors import EvidenceError

MIB = 1 << 20
SMALL_BYTES = 16 * MIB  # run.json, of which a list reads many
LARGE_BYTES = 256 * MIB  # a record or a notebook: one of 10,000 tables has a tenth of that
SPARSE_BYTES = 64 * MIB  # a larger file with holes in it is as long as somebody liked to say
DEEPEST = 64  # folders, and JSON
MOST_FILES = 1_000_000
CHUNK_BYTES = 4 * MIB
# What Python raises for content that nobody of ours wrote.
NOT_UNDERSTOOD = (KeyError, TypeError, ValueError, AttributeError, IndexError, RecursionError)
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


@dataclass(frozen=True, slots=True)
class Seen:
    """A file as it was read: its SHA-256 (hex) and its size."""

    sha256: str
    size_bytes: int


def names(folder: Path) -> list[str]:
    """Return the path, in a folder, of all in it that is no folder, sorted; links are not followed.

    Raises EvidenceError when a folder in it cannot be read, or there is more of it than of any run.
    """
    found: list[str] = []

    def refuse(error: OSError) -> None:
        raise _unreadable(Path(error.filename or folder), str(error.strerror or error)) from error

    for parent, folders, files in os.walk(folder, onerror=refuse):
        within = os.path.relpath(parent, folder)
        linked = [name for name in folders if Path(parent, name).is_symlink()]
        found += [name if within == "." else f"{within}/{name}" for name in (*files, *linked)]
        if len(found) > MOST_FILES or within.count("/") >= DEEPEST:
            raise _unreadable(folder, "it holds more files or folders than any run")
    return sorted(found)


@contextmanager
def opened(folder: Path, name: str) -> Iterator[BinaryIO]:
    """Open a regular file of a folder by its path in it; no part of that path may be a link.

    Raises FileNotFoundError when there is none, EvidenceError when it is something else or cannot be read.
    """
    try:
        handle = _open(folder, name)
    except FileNotFoundError:
        raise
    except OSError as error:
        if error.errno in (errno.ENOTDIR, errno.ELOOP, errno.ENXIO):
            raise _irregular(folder / name) from error
        raise _unreadable(folder / name, str(error.strerror or error)) from error
    with os.fdopen(handle, "rb") as stream:
        if os.fstat(handle).st_size > SPARSE_BYTES:
            _require_no_holes(handle, folder / name)
        yield stream


def look(folder: Path, name: str, size_bytes: int | None = None) -> Seen:
    """Return digest and size of a file, in bounded memory; one that has another size than it should is not read.

    Its digest is empty then. Raises as `opened` does.
    """
    with opened(folder, name) as stream:
        size = os.fstat(stream.fileno()).st_size
        if size_bytes not in (None, size):
            return Seen("", size)
        return Seen(*_digest(stream, size, folder / name))


def read(folder: Path, name: str, *, limit_bytes: int = LARGE_BYTES) -> bytes:
    """Return a file's content.

    Raises as `opened` does, and EvidenceError when it is larger than it may be, or grows while it is read.
    """
    with opened(folder, name) as stream:
        size = os.fstat(stream.fileno()).st_size
        if size > limit_bytes:
            raise _unreadable(folder / name, f"it has more than {limit_bytes // MIB} MiB")
        try:
            octets = stream.read(size + 1)  # and not the limit, for which room would be made each time
        except OSError as error:
            raise _unreadable(folder / name, str(error.strerror or error)) from error
    if len(octets) > size:
        raise _unreadable(folder / name, "somebody writes to it")
    return octets


def read_json(path: Path) -> dict[str, Any]:
    """Return the JSON object that a file holds, missing or not. Raises EvidenceError."""
    try:
        return read_object(path.parent, path.name)
    except FileNotFoundError as error:
        raise _unreadable(path, "No such file or directory") from error


def sha256_of(path: Path) -> str:
    """Return the SHA-256 (hex) of a file. Raises as `opened` does."""
    return look(path.parent, path.name).sha256


def read_object(folder: Path, name: str, *, limit_bytes: int = LARGE_BYTES) -> dict[str, Any]:
    """Return the JSON object that a file holds. Raises as `read` does, and EvidenceError when it holds none."""
    return parsed_object(read(folder, name, limit_bytes=limit_bytes), folder / name)


def parsed_object(octets: bytes, path: Path, *, halves: bool = False) -> dict[str, Any]:
    """Return the JSON object that octets hold; `path` is where they come from. Raises EvidenceError."""
    try:
        content = parsed(octets, halves=halves)
    except (ValueError, RecursionError, MemoryError) as error:
        raise _unreadable(path, str(error) or type(error).__name__) from error
    if not isinstance(content, dict):
        raise EvidenceError(f"{path} holds no JSON object.", "It was not written by this software.")
    return content


def parsed(octets: bytes, *, halves: bool = False) -> Any:
    """Return what JSON says, where it says one thing only.

    Raises ValueError for keys that stand twice, numbers that are none, nesting deeper than any record's, and halves
    of characters, unless these may be there: names of files hold them; and what the parser raises.
    """
    if octets.startswith(codecs.BOM_UTF8):
        raise ValueError("it begins with a BOM")
    content = _STRICT.decode(octets.decode("utf-8"))
    _require_shallow(content)
    if not halves and (b"\\ud" in octets or b"\\uD" in octets):
        json.dumps(content, ensure_ascii=False).encode("utf-8")
    return content


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    content = dict(pairs)
    if len(content) < len(pairs):
        keys = [key for key, _ in pairs]
        twice = next(key for key in keys if keys.count(key) > 1)
        raise ValueError(f"the key {twice[:80]!r} stands in it twice")
    return content


def _refused(constant: str) -> None:
    raise ValueError(f"{constant} is no number of JSON")


def _number(text: str) -> float:
    number = float(text)
    if number in (float("inf"), float("-inf")):
        raise ValueError(f"{text[:40]} is no number that can be held")
    return number


_STRICT = json.JSONDecoder(object_pairs_hook=_object, parse_constant=_refused, parse_float=_number)


def _require_shallow(content: Any) -> None:
    level: list[Any] = [[content]]
    for _ in range(DEEPEST + 1):
        level = [  # one expression, since an index of an archive comes by here for each finding of each run
            each
            for value in level
            for each in (value.values() if value.__class__ is dict else value)
            if each.__class__ is dict or each.__class__ is list
        ]
        if not level:
            return
    raise ValueError(f"it is nested deeper than {DEEPEST}")


def _open(folder: Path, name: str) -> int:
    """Return a descriptor of a regular file, opened part by part below the folder."""
    parts = name.split("/")
    if "\0" in name or not all(part not in ("", ".", "..") for part in parts):
        raise _irregular(folder / name.replace("\0", "�"))
    at = os.open(folder, _FOLDER)
    try:
        for part in parts[:-1]:
            inner = os.open(part, _FOLDER | os.O_NOFOLLOW, dir_fd=at)
            os.close(at)
            at = inner
        if not stat.S_ISREG(os.stat(parts[-1], dir_fd=at, follow_symlinks=False).st_mode):
            raise _irregular(folder / name)  # before it is opened: opening a device may do something
        handle = os.open(parts[-1], _FILE, dir_fd=at)
    finally:
        os.close(at)
    if not stat.S_ISREG(os.fstat(handle).st_mode):
        os.close(handle)
        raise _irregular(folder / name)
    return handle


def _require_no_holes(handle: int, path: Path) -> None:
    size = os.fstat(handle).st_size
    if os.lseek(handle, 0, os.SEEK_HOLE) < size:
        raise _unreadable(path, "it has holes, which nothing has that we write")
    os.lseek(handle, 0, os.SEEK_SET)


def _digest(stream: BinaryIO, size: int, path: Path) -> tuple[str, int]:
    digest, seen = hashlib.sha256(), 0
    try:
        while seen <= size and (octets := stream.read(CHUNK_BYTES)):
            digest.update(octets)
            seen += len(octets)
    except OSError as error:
        raise _unreadable(path, str(error.strerror or error)) from error
    return digest.hexdigest(), seen


def _irregular(path: Path) -> EvidenceError:
    return EvidenceError(
        f"{path} is no ordinary file.",
        "A run holds its own files only: remove it, or put a copy in its place.",
    )


def _unreadable(path: Path, why: str) -> EvidenceError:
    return EvidenceError(
        f"{path} cannot be read: {why}.", "Check the run folder; was it changed, or cut short?"
    )
