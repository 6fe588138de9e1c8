"""Look a route up in a JavaScript or TypeScript source tree.

Prefixes that are mounted elsewhere are not followed: a route that ends as the wanted path does, in two segments
or more, is reported as a suffix.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from runbooks_lib.api.routes_in_source import Declared, declared_routes
from runbooks_lib.errors import PreconditionFailed
from runbooks_lib.facts.contents import Hit, Match

SKIPPED_FOLDERS = frozenset({"node_modules", ".git", "dist", ".next", "__tests__", "__mocks__"})
SUFFIXES = (".js", ".ts", ".mjs", ".cjs", ".mts", ".cts", ".jsx", ".tsx")
NOT_THE_SERVICE = (".test", ".spec", ".d")  # before the suffix: tests and type declarations
MAX_FILE_BYTES = 500_000
MAX_TEXT_CHARS = 200


@dataclass(slots=True)
class SourceTree:
    """The routes of a tree, with file and line's text, and the files that could not be read whole."""

    routes: list[tuple[str, str, Declared]] = field(default_factory=list)
    unread: list[str] = field(default_factory=list)

    def find(self, method: str, path: str) -> tuple[Hit, ...]:
        """Return every declaration of a route, by file and line."""
        wanted = _segments(path)
        hits = [
            Hit(file=file, line=route.line, text=text, path=route.path, match=match)
            for file, text, route in self.routes
            if (match := _compare(wanted, route, method.upper())) is not None
        ]
        return tuple(sorted(hits, key=lambda hit: (hit.file, hit.line)))


def read_tree(root: Path) -> SourceTree:
    """Read the routes of all sources below a folder, one file at a time; links are not followed.

    Not read whole are files over 500 KB, and those with syntax that the grammar does not know.

    Raises PreconditionFailed when the tree or a source in it cannot be read: not found would be untrue.
    """
    if not root.is_dir():
        raise PreconditionFailed(
            f"The source tree {root} is not a folder.", "Name the folder that holds the service's source."
        )
    tree = SourceTree()
    for file in _sources(root):
        name = file.relative_to(root).as_posix()
        text = _read(file) if file.stat().st_size <= MAX_FILE_BYTES else None
        routes, whole = ([], False) if text is None else declared_routes(text, PurePosixPath(name))
        lines = (text or "").split("\n")
        tree.routes += [(name, lines[route.line - 1].strip()[:MAX_TEXT_CHARS], route) for route in routes]
        tree.unread += [] if whole else [name]
    return tree


def _sources(root: Path) -> Iterator[Path]:
    for folder, folders, files in os.walk(root, onerror=_stop):
        folders[:] = sorted(name for name in folders if name not in SKIPPED_FOLDERS)
        for name in sorted(files):
            stem, suffix = os.path.splitext(name)
            if suffix in SUFFIXES and not stem.endswith(NOT_THE_SERVICE):
                file = Path(folder, name)
                if not file.is_symlink() and file.is_file():
                    yield file


def _stop(error: OSError) -> None:
    raise _unreadable(error) from error


def _unreadable(error: OSError) -> PreconditionFailed:
    return PreconditionFailed(
        f"The source {error.filename} cannot be read: {error.strerror}.",
        "Make it readable for this user, or name a tree that is.",
    )


def _read(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8", errors="replace")
    except OSError as error:
        raise _unreadable(error) from error


def _segments(path: str) -> tuple[str, ...]:
    """Split a path; every parameter (`:id`, `{id}`, `${id}`) becomes `:`."""
    return tuple(":" if s.startswith(":") or "{" in s else s for s in path.split("?")[0].split("/") if s)


def _compare(wanted: tuple[str, ...], route: Declared, method: str) -> Match | None:
    if route.method not in (method, "ALL"):
        return None
    rooted = not route.path.startswith("${")
    have = _segments(route.path if rooted else route.path.partition("}")[2])
    if not have or len(have) > len(wanted):
        return None
    pairs = list(zip(have, wanted[-len(have) :], strict=True))
    if any(mine not in (other, ":") for mine, other in pairs):
        return None
    words = sum(mine == other != ":" for mine, other in pairs)
    if len(have) < len(wanted) or not rooted:
        return Match.SUFFIX if words >= 2 else None
    if all(mine == other for mine, other in pairs):
        return Match.EXACT
    return Match.PARAMETER if words else None
