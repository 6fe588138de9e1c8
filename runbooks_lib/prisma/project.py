"""A Prisma project on disk: where its parts are, and what is installed in it."""

from __future__ import annotations

import json
import os
import re
import shlex
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from runbooks_lib.errors import PreconditionFailed
from runbooks_lib.given import read_given_text
from runbooks_lib.npm.install import install_packages
from runbooks_lib.prisma.configuration import Configuration, read_configuration

# Of each major version that we work with: Prisma, and what the engine's stand-in needs, exact versions with hashes.
PACKAGES = {major: Path(__file__).with_name("packages") / str(major) for major in (6, 7)}
NEWEST = max(PACKAGES)
_COMMENT = re.compile(r"//.*")  # also from within an address on: what is before it is enough
_INSTALLS = {
    "package-lock.json": "npm ci",
    "pnpm-lock.yaml": "pnpm install --frozen-lockfile",
    "yarn.lock": "yarn install",
    "bun.lock": "bun install --frozen-lockfile",
    "bun.lockb": "bun install --frozen-lockfile",
}
_ADDRESS = re.compile(r"^\s*datasource\s+\w+\s*\{[^}]*^\s*url\s*=", re.MULTILINE)


@dataclass(frozen=True, slots=True, kw_only=True)
class PrismaProject:
    """A project with a schema and migrations, and the Prisma that works in it.

    `named` is what the operator named: the project's `folder`, or a schema in it. `command` is Prisma's command line, a
    script, and `version` its version: the project's own, or ours where it has none (`installed` is None), or one that
    we cannot work with. `native_engine` is Prisma's own schema engine, where it is installed.
    """

    named: Path
    folder: Path
    installed: str | None
    version: tuple[int, int, int]
    command: Path
    native_engine: Path | None
    configuration: Configuration

    @property
    def migrations(self) -> Path:
        """Return the folder that Prisma takes the migrations from."""
        return self.configuration.migrations

    @property
    def is_too_new(self) -> bool:
        """Return whether the project's own Prisma is a later one, which has no `migrate resolve`."""
        return self.installed is not None and _numbers(self.installed)[0] > NEWEST


def read_project(named: Path) -> PrismaProject:
    """Read where the parts of a project are, as Prisma itself says: of the one in a folder, or with this schema.

    Where no Prisma is installed and no package.json asks for one, and where it is later than 7, ours reads it.
    Raises PreconditionFailed when a part is missing, Prisma is older than 6, or cannot read the configuration.
    """
    if not named.exists():
        raise PreconditionFailed(f"There is no folder {named}.", "Name the folder of the Prisma project.")
    folder, schema = folder_and_schema(named)
    package = find_package(folder, "prisma")
    installed = package_version(package) if package else None
    if package is None or _numbers(installed)[0] > NEWEST:
        if package is None and (asking := _asks_for_prisma(folder)):
            raise PreconditionFailed(f"Prisma is not installed in {asking}.", f"Run `{_installing(asking)}`.")
        ours = install_packages(PACKAGES[6 if has_address(schema or folder) else 7])
        package = ours / "node_modules" / "prisma"
    version = _numbers(package_version(package))
    if version[0] not in PACKAGES:
        raise PreconditionFailed(
            f"The project {folder} has Prisma {'.'.join(map(str, version))}, which was never tried here.",
            "Install Prisma 6 or 7 in it: `npm install prisma@6`.",
        )
    command = package / "build" / "index.js"
    project = PrismaProject(
        named=named,
        folder=folder,
        installed=installed,
        version=version,
        command=command,
        native_engine=_native_engine(package),
        configuration=_configured(folder, command, schema, installed),
    )
    if not project.migrations.is_dir():
        raise PreconditionFailed(
            f"The project {folder} has no migrations folder: {project.migrations}, where Prisma looks, is missing.",
            "Name the folder of the Prisma project, not its prisma folder, and check it out whole.",
        )
    return project


def _configured(folder: Path, command: Path, schema: Path | None, installed: str | None) -> Configuration:
    """Read the configuration; where it can't be read, it may want the packages that nobody has installed."""
    try:
        return read_configuration(folder, command, schema=schema)
    except PreconditionFailed as error:
        if installed is not None or not read_package(folder):
            raise
        first = f"First install the project's packages, and Prisma with them: `{_installing(folder)}`."
        raise PreconditionFailed(error.what_happened, f"{first} {error.what_to_do}") from error


def folder_and_schema(named: Path) -> tuple[Path, Path | None]:
    """Return where Prisma is to be started, and the schema when one was named: a file, or a folder of several.

    Whoever gives Prisma a --schema stands where the package.json is.
    """
    if named.suffix == ".prisma" or _is_schema_folder(named):
        above = (parent for parent in named.parents if (parent / "package.json").is_file())
        return next(above, named.parent), named
    return named, None


def _is_schema_folder(named: Path) -> bool:
    names = {path.name for path in named.iterdir()} if named.is_dir() else set()
    is_project = names & {"package.json", "prisma"} or any(
        name.startswith("prisma.config.") for name in names
    )
    schemas = {name for name in names if name.endswith(".prisma")}
    return not is_project and bool(schemas) and schemas != {"schema.prisma"}


def has_address(place: Path) -> bool:
    """Return whether a schema has the database's address, as Prisma 6 wants it and Prisma 7 refuses it."""
    if place.is_file():
        found: Iterable[Path] = [place]
    elif _is_schema_folder(place):
        found = _schemas_in(place)
    else:
        usual = [place / "schema.prisma", *_schemas_in(place / "prisma")]
        found = [path for path in usual if path.is_file()] or _schemas_in(place)
    texts = (read_given_text(path.resolve(), errors="replace") for path in found)
    return any(_ADDRESS.search(_COMMENT.sub("", text)) for text in texts)


def _schemas_in(folder: Path) -> Iterable[Path]:
    for above, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if name != "node_modules" and not name.startswith(".")]
        yield from (
            path for name in names if name.endswith(".prisma") and (path := Path(above, name)).is_file()
        )


def _asks_for_prisma(folder: Path) -> Path | None:
    """Return the nearest folder, here or above, whose package.json asks for Prisma."""
    for parent in (folder, *folder.parents):
        package = read_package(parent)
        if any("prisma" in package.get(part, {}) for part in ("dependencies", "devDependencies")):
            return parent
    return None


def _installing(folder: Path) -> str:
    """Return the command that installs a project's packages, by the lock file that is there, or above."""
    for parent in (folder, *folder.parents):
        for lock, command in _INSTALLS.items():
            if (parent / lock).is_file():
                return f"cd {shlex.quote(str(parent))} && {command}"
    return f"cd {shlex.quote(str(folder))} && npm install"


def find_package(folder: Path, name: str) -> Path | None:
    """Return the folder of an installed package, looked up as Node does: here, then in each parent."""
    candidates = (parent / "node_modules" / name for parent in (folder, *folder.parents))
    return next((path for path in candidates if (path / "package.json").is_file()), None)


def package_version(package: Path) -> str:
    """Return the version in a package's package.json."""
    return str(read_package(package).get("version", ""))


def _numbers(version: str | None) -> tuple[int, int, int]:
    found = re.match(r"(\d+)\.(\d+)\.(\d+)", version or "")
    return (int(found[1]), int(found[2]), int(found[3])) if found else (0, 0, 0)


def _native_engine(prisma: Path) -> Path | None:
    """Return Prisma's native engine. Its package lies beside the real folder of `prisma` (pnpm links it)."""
    engines = find_package(prisma.resolve(), "@prisma/engines")
    programs = sorted(engines.glob("schema-engine-*")) if engines else []
    return next((path for path in programs if path.is_file() and os.access(path, os.X_OK)), None)


def read_package(folder: Path) -> dict[str, Any]:
    """Return a folder's package.json, empty where there is none. Raises PreconditionFailed when it can't be read."""
    path = folder / "package.json"
    if not path.is_file():
        return {}
    try:
        content = json.loads(path.read_text(encoding="utf-8", errors="replace"))
    except (OSError, ValueError) as error:
        raise PreconditionFailed(
            f"{path} is no JSON that can be read: {error}.", "Mend it, or check it out anew."
        ) from error
    return content if isinstance(content, dict) else {}
