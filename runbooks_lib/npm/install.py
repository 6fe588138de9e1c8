"""Installs the packages of our own lock files, once for each: those of Prisma projects, and PostgreSQL's programs."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from runbooks_lib.cache import ENV_CACHE, cache_directory
from runbooks_lib.errors import PreconditionFailed, PrismaError
from runbooks_lib.npm.child import run_child
from runbooks_lib.npm.node import find_node, find_npm, search_path
from runbooks_lib.progress import growing

TIMEOUT_S = 600.0
_NPM_CI = ("ci", "--ignore-scripts", "--include=dev", "--no-audit", "--no-fund", "--loglevel=error")
_TOLD_LINES = 6


def install_project(project: Path) -> None:
    """Give `project` a node_modules folder: a link to a cached installation of its package-lock.json.

    Writes to the cache folder and the link; touches no node_modules that it did not make itself. Once
    installed, a call costs milliseconds.

    Raises PreconditionFailed when npm, the lock file or the registry is missing.
    """
    link = project / "node_modules"
    if link.is_dir() and not link.is_symlink():
        return
    target = install_packages(project) / "node_modules"
    if link.is_symlink() and link.readlink() == target:
        return
    temporary = project / f".node_modules.{os.getpid()}"
    try:
        temporary.symlink_to(target)
        temporary.replace(link)  # also over a link to what an older lock file asked for
    except OSError as error:
        with suppress(OSError):
            temporary.unlink()
        raise PreconditionFailed(
            f"{link} cannot be made: {error.strerror}.", "Copy the project to a folder that you may write to."
        ) from error


def install_packages(project: Path, *, room: str = "prisma") -> Path:
    """Install what the project's package-lock.json lists into a room of the cache; return the folder of node_modules.

    Two calls at once: the second waits for the first. The folder appears whole or not at all.

    Raises PreconditionFailed when npm, the lock file or the registry is missing.
    """
    folder = cached(project, room=room)
    if folder.is_dir():
        return folder
    with _alone(folder):
        if not folder.is_dir():
            _install(project, folder)
    return folder


def cached(project: Path, *, room: str) -> Path:
    """Return the folder in a room of the cache where what the project's package-lock.json lists is installed, if it is.

    Raises PreconditionFailed when there is no lock file.
    """
    lock_file = project / "package-lock.json"
    try:
        digest = hashlib.sha256(lock_file.read_bytes()).hexdigest()[:16]
    except OSError as error:
        raise PreconditionFailed(
            f"{lock_file} cannot be read: {error.strerror}.",
            "Name a project with a package-lock.json, or install its packages yourself.",
        ) from error
    return cache_directory() / room / digest


def _install(project: Path, folder: Path) -> None:
    partial = folder.with_suffix(".partial")  # what a killed installation left is removed here
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir()
    try:
        copy_listed(project, partial)
        with growing("installing packages from npm, once", partial):
            _npm_ci(partial)
        partial.rename(folder)
    except OSError as error:
        raise PreconditionFailed(
            f"{folder} cannot be written: {error.strerror}.",
            f"Make room there (110 MB), or let {ENV_CACHE} name another folder.",
        ) from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def copy_listed(project: Path, folder: Path) -> None:
    """Copy what `npm ci` works from: package.json, the lock file, and the folders that the lock file links to."""
    for name in ("package.json", "package-lock.json"):
        shutil.copyfile(project / name, folder / name)
    packages = json.loads((project / "package-lock.json").read_text("utf-8")).get("packages", {})
    for linked in {each["resolved"] for each in packages.values() if each.get("link")}:
        shutil.copytree(project / linked, folder / linked)


def _npm_ci(folder: Path) -> None:
    """Run `npm ci`, without the packages' install scripts: they would download Prisma's native programs."""
    npm = find_npm()
    env = os.environ | {"PATH": search_path(find_node())}
    try:
        exit_code, output = run_child(
            (*npm, *_NPM_CI), name="npm ci", cwd=folder, env=env, timeout_s=TIMEOUT_S
        )
    except PrismaError as error:
        raise PreconditionFailed(
            error.what_happened, "Check that npm's registry can be reached, then try again."
        ) from error
    if exit_code != 0:
        said = " ".join(line.removeprefix("npm error").strip() for line in output.splitlines()[:_TOLD_LINES])
        raise PreconditionFailed(
            f"`npm ci` failed with exit code {exit_code}: {said or 'it said nothing'}",
            "Check that npm's registry can be reached (`npm ping`), then try again.",
        )


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Hold a lock beside `folder`; the system lets go of it when the process dies."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with folder.with_suffix(".lock").open("w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
