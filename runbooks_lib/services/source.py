"""Look a route up in a JavaScript or TypeScript source tree.

Understands Express (`router.get('/x', ...)`, `.route('/x').get(...)`), Fastify (`.route({ method, url })`)
and Nest (`@Get('x')` below `@Controller('y')`). Comments and the insides of strings are no code.
Prefixes that are mounted in another file are not followed: a route that ends as the wanted path does,
in two segments or more, is reported as a suffix.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from runbooks_lib.errors import PreconditionFailed
from runbooks_lib.services.javascript import Declared, declared_routes

SKIPPED_FOLDERS = frozenset({"node_modules", ".git", "dist"})
SUFFIXES = (".js", ".ts", ".mjs", ".cjs", ".tsx")
NOT_THE_SERVICE = (".test", ".spec", ".d")  # before the suffix: tests and type declarations
MAX_FILE_BYTES = 2_000_000
MAX_TEXT_CHARS = 200


class Match(StrEnum):
    """How the route in the source resembles the wanted one, the surest first."""

    EXACT = "exact"
    PARAMETER = "parameter"  # a parameter in the source stands where the wanted path has a word
    SUFFIX = "suffix"  # the source has the end of the path; its prefix is registered elsewhere


@dataclass(frozen=True, slots=True, kw_only=True)
class Hit:
    """One place that declares the route: `file` is relative to the tree, `path` is as found there."""

    file: str
    line: int
    text: str
    path: str
    match: Match


def find_route(root: Path, method: str, path: str) -> tuple[Hit, ...]:
    """Return every declaration of a route below `root`, by file and line.

    Reads the tree's sources one at a time; links are not followed, nor files over 2 MB read.

    Raises PreconditionFailed when the tree or a source in it cannot be read: not found would be untrue.
    """
    if not root.is_dir():
        raise PreconditionFailed(
            f"The source tree {root} is not a folder.", "Name the folder that holds the service's source."
        )
    wanted = _segments(path)
    hits = []
    for file in _sources(root):
        text = _read(file)
        lines = text.split("\n")
        for route in declared_routes(text):
            match = _compare(wanted, route, method.upper())
            if match is not None:
                hits.append(_hit(root, file, lines, route, match))
    return tuple(sorted(hits, key=lambda hit: (hit.file, hit.line)))


def _hit(root: Path, file: Path, lines: list[str], route: Declared, match: Match) -> Hit:
    return Hit(
        file=file.relative_to(root).as_posix(),
        line=route.line,
        text=lines[route.line - 1].strip()[:MAX_TEXT_CHARS],
        path=route.path,
        match=match,
    )


def _sources(root: Path) -> Iterator[Path]:
    for folder, folders, files in os.walk(root, onerror=_stop):
        folders[:] = sorted(name for name in folders if name not in SKIPPED_FOLDERS)
        for name in sorted(files):
            stem, suffix = os.path.splitext(name)
            if suffix in SUFFIXES and not stem.endswith(NOT_THE_SERVICE):
                file = Path(folder, name)
                if not file.is_symlink() and file.is_file() and file.stat().st_size <= MAX_FILE_BYTES:
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
    have = _segments(route.path)
    if not have or len(have) > len(wanted):
        return None
    pairs = list(zip(have, wanted[-len(have) :], strict=True))
    if any(mine not in (other, ":") for mine, other in pairs):
        return None
    words = sum(mine == other != ":" for mine, other in pairs)
    if len(have) < len(wanted) or not route.rooted:
        return Match.SUFFIX if words >= 2 else None
    if all(mine == other for mine, other in pairs):
        return Match.EXACT
    return Match.PARAMETER if words else None
