"""One digest for a directory of files."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping


def directory_digest(hashes: Mapping[str, str]) -> str:
    """Return a SHA-256 (hex) over the names and the SHA-256 of all files of a directory, whatever their order."""
    lines = "".join(f"{name} {sha256}\n" for name, sha256 in sorted(hashes.items()))
    return hashlib.sha256(lines.encode()).hexdigest()
