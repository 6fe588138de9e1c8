"""A Prisma project on disk: where its parts are, and what is installed in it."""

from __future__ import annotations

import json
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from runbooks_lib.errors import PreconditionFailed
from runbooks_lib.prisma.configuration import Configuration, read_configuration

PROJECT_VARIABLE = "RUNBOOKS_PRISMA_PROJECT"
SUPPORTED_MAJORS = (6, 7)  # version 8 is another product, without `migrate resolve`


@dataclass(frozen=True, slots=True, kw_only=True)
class PrismaProject:
    """A project with a schema, migrations and Prisma installed.

    `command` is Prisma's command line, a script. `native_engine` is Prisma's own schema engine, where it is installed.
    """

    folder: Path
    version: tuple[int, int, int]
    command: Path
    native_engine: Path | None
    configuration: Configuration

    @property
    def migrations(self) -> Path:
        """Return the folder that Prisma takes the migrations from."""
        return self.configuration.migrations


def find_project(explicit: str | None = None) -> Path:
    """Return the Prisma project's folder: `explicit`, else what RUNBOOKS_PRISMA_PROJECT names.

    Reads nothing. Raises PreconditionFailed when neither is given.
    """
    named = explicit or os.environ.get(PROJECT_VARIABLE)
    if not named:
        raise PreconditionFailed(
            "No Prisma project is named.",
            f"Let {PROJECT_VARIABLE} name the folder that holds its package.json and its prisma folder.",
        )
    return Path(named).expanduser().absolute()


def read_project(folder: Path) -> PrismaProject:
    """Read where the parts of the project in `folder` are, as Prisma itself says.

    Raises PreconditionFailed when one is missing, Prisma's version is neither 6 nor 7, or Prisma cannot read the
    configuration.
    """
    if not folder.is_dir():
        raise PreconditionFailed(f"There is no folder {folder}.", "Name the folder of the Prisma project.")
    package = find_package(folder, "prisma")
    if package is None:
        raise PreconditionFailed(f"Prisma is not installed in {folder}.", f"Run `npm ci` in {folder}.")
    version = _version(package)
    if version[0] not in SUPPORTED_MAJORS:
        raise PreconditionFailed(
            f"The project {folder} has Prisma {'.'.join(map(str, version))}, which was never tried here.",
            "Install Prisma 6 or 7 in it: `npm install prisma@6`.",
        )
    command = package / "build" / "index.js"
    project = PrismaProject(
        folder=folder,
        version=version,
        command=command,
        native_engine=_native_engine(package),
        configuration=read_configuration(folder, command),
    )
    if not project.migrations.is_dir():
        raise PreconditionFailed(
            f"The project {folder} has no migrations folder: {project.migrations}, where Prisma looks, is missing.",
            "Name the folder of the Prisma project, not its prisma folder, and check it out whole.",
        )
    return project


def find_package(folder: Path, name: str) -> Path | None:
    """Return the folder of an installed package, looked up as Node does: here, then in each parent."""
    candidates = (parent / "node_modules" / name for parent in (folder, *folder.parents))
    return next((path for path in candidates if (path / "package.json").is_file()), None)


def package_version(package: Path) -> str:
    """Return the version in a package's package.json."""
    return str(_json(package / "package.json").get("version", ""))


def _version(package: Path) -> tuple[int, int, int]:
    found = re.match(r"(\d+)\.(\d+)\.(\d+)", package_version(package))
    return (int(found[1]), int(found[2]), int(found[3])) if found else (0, 0, 0)


def _native_engine(prisma: Path) -> Path | None:
    """Return Prisma's native engine. Its package lies beside the real folder of `prisma` (pnpm links it)."""
    engines = find_package(prisma.resolve(), "@prisma/engines")
    programs = sorted(engines.glob("schema-engine-*")) if engines else []
    return next((path for path in programs if path.is_file() and os.access(path, os.X_OK)), None)


def _json(path: Path) -> dict[str, Any]:
    if not path.is_file():
        return {}
    try:
        content = json.loads(path.read_text(encoding="utf-8", errors="replace"))
    except (OSError, ValueError) as error:
        raise PreconditionFailed(
            f"{path} is no JSON that can be read: {error}.", "Mend it, or check it out anew."
        ) from error
    return content if isinstance(content, dict) else {}
