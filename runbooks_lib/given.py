"""Files that somebody gives us with a phase or a project: ordinary ones, of their own folder, of a bounded size."""

from __future__ import annotations

import errno
import os
import stat
from io import BufferedReader, BytesIO, TextIOWrapper
from pathlib import Path

LARGEST_BYTES = 64 << 20  # of a script that is read at once


def open_given(path: Path) -> BufferedReader:
    """Open a file to read. A pipe would keep us for ever, a device would fill the memory, and a link to somebody's
    secret would have it archived: a link may lead within its folder only, as those of a mounted ConfigMap do.

    Raises OSError, which says so, for whatever is no ordinary file of its folder.
    """
    real = path.resolve()
    if not real.is_relative_to(path.parent.resolve()):
        raise OSError(errno.ELOOP, "it is a link that leads out of its folder", str(path))
    handle = os.open(real, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    if not stat.S_ISREG(os.fstat(handle).st_mode):
        os.close(handle)
        raise OSError(errno.EINVAL, "it is no ordinary file", str(path))
    return open(handle, "rb")


def read_given(path: Path) -> bytes:
    """Return what a file holds, at most LARGEST_BYTES. Raises OSError as `open_given` does, and for a larger one."""
    with open_given(path) as stream:
        content = stream.read(LARGEST_BYTES + 1)
    if len(content) > LARGEST_BYTES:
        raise OSError(errno.EFBIG, f"it is larger than {LARGEST_BYTES >> 20} MB", str(path))
    return content


def text_of(content: bytes) -> str:
    """Return the UTF-8 text of a file; the byte order mark that editors put before it is no part of it."""
    return content.decode("utf-8-sig")


def read_given_text(path: Path, *, errors: str = "strict") -> str:
    """Return a file's UTF-8 text, each line ended by a line feed. Raises OSError and UnicodeDecodeError."""
    return TextIOWrapper(BytesIO(read_given(path)), encoding="utf-8", errors=errors).read()
