"""Data folders made once and kept in the cache, so that a cluster starts from a copy."""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path

from runbooks_lib.cache import cache_directory

UNUSED_S = 30 * 24 * 3600.0


def template(kind: str, ingredients: Iterable[str], build: Callable[[Path], None]) -> Path:
    """Return the cached folder for these ingredients; `build(folder)` fills it the first time.

    `ingredients` is everything that the content depends on, versions included.
    The folder appears whole or not at all, so that two may build it at once: the
    first to finish wins. Folders that nobody used for thirty days are deleted.
    """
    digest = hashlib.sha256()
    for ingredient in ingredients:
        digest.update(
            hashlib.sha256(ingredient.encode()).digest()
        )  # of equal length: no two lists read alike
    folder = cache_directory() / "templates"
    folder.mkdir(mode=0o700, exist_ok=True)
    target = folder / f"{kind}-{digest.hexdigest()[:20]}"
    if not target.is_dir():
        _build(target, build)
        _delete_unused(folder)
    os.utime(target)
    return target


def _build(target: Path, build: Callable[[Path], None]) -> None:
    temporary = Path(tempfile.mkdtemp(prefix=f".{target.name}.", dir=target.parent))
    try:
        build(temporary)
        try:
            temporary.rename(target)
        except OSError:
            if not target.is_dir():  # else somebody was faster, with the same ingredients
                raise
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _delete_unused(folder: Path) -> None:
    oldest = time.time() - UNUSED_S
    for entry in folder.iterdir():
        if entry.stat().st_mtime < oldest:
            shutil.rmtree(entry, ignore_errors=True)
