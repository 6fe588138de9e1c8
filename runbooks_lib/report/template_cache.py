"""Templates that were compiled once, for every process that fills them in: compiling takes longer than filling in."""

from __future__ import annotations

import hashlib
from contextlib import suppress
from pathlib import Path

from jinja2 import FileSystemBytecodeCache
from jinja2.bccache import Bucket

from runbooks_lib.cache import cache_directory
from runbooks_lib.errors import PreconditionFailed


class _Cache(FileSystemBytecodeCache):
    """A cache that does without itself where it cannot be written."""

    def dump_bytecode(self, bucket: Bucket) -> None:
        with suppress(OSError):
            super().dump_bytecode(bucket)


def compiled(*depends_on: str | Path) -> FileSystemBytecodeCache | None:
    """Return where the compiled templates of an environment are kept; None where nothing can be.

    Jinja2 compares a template's text. What else its code is made from, `depends_on` names: the content of files, and
    texts such as versions.
    """
    digest = hashlib.sha256()
    for each in depends_on:
        digest.update(each.read_bytes() if isinstance(each, Path) else each.encode())
        digest.update(b"\0")
    try:
        folder = cache_directory() / "templates"
        folder.mkdir(mode=0o700, exist_ok=True)
    except (PreconditionFailed, OSError):
        return None
    return _Cache(str(folder), f"{digest.hexdigest()[:16]}_%s.cache")
