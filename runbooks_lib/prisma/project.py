"""A Prisma project on disk: where its parts are, and what is installed in it."""

from __future__ import annotations

import json
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from runbooks_lib.errors import PreconditionFailed

PROJECT_VARIABLE = "RUNBOOKS_PRISMA_PROJECT"
SUPPORTED_MAJORS = (6, 7)  # version 8 is another product, without `migrate resolve`

_CONFIGS = tuple(
    f"{stem}.{suffix}"
    for stem in ("prisma.config", ".config/prisma")
    for suffix in ("ts", "mts", "cts", "js", "mjs", "cjs")
)
_COMMENT = re.compile(r"^\s*//.*$", re.MULTILINE)
_DATASOURCE = re.compile(r"^\s*datasource\s+\w+\s*\{([^}]*)\}", re.MULTILINE)
_SCHEMA_ENV = re.compile(r'^\s*(?:url|directUrl)\s*=\s*env\(\s*"([^"]+)"\s*\)', re.MULTILINE)
_SCHEMA_LITERAL = re.compile(r'^\s*(?:url|directUrl)\s*=\s*"', re.MULTILINE)
_CONFIG_ENV = re.compile(
    r"""(?:\benv(?:<[^>]*>)?\(\s*["']|process\.env\.|process\.env\[["'])(\w*(?:URL|DSN|DATABASE)\w*)""", re.I
)
_CONFIG_SCHEMA = re.compile(r"""\bschema\s*:\s*(?:path\.join\(\s*)?["']([^"']+)["']""")
_CONFIG_MIGRATIONS = re.compile(r"""\bmigrations\s*:\s*\{[^}]*?\bpath\s*:\s*["']([^"']+)["']""")


@dataclass(frozen=True, slots=True, kw_only=True)
class PrismaProject:
    """A project with a schema, migrations and Prisma installed.

    `url_variables` are the environment variables that Prisma takes the database's address from.
    `native_engine` is Prisma's own schema engine, where it is installed.
    """

    folder: Path
    version: tuple[int, int, int]
    command: Path
    migrations: Path
    url_variables: tuple[str, ...]
    native_engine: Path | None


def find_project(explicit: str | None = None) -> Path:
    """Return the Prisma project's folder: `explicit`, else what RUNBOOKS_PRISMA_PROJECT names.

    Raises PreconditionFailed when neither is given, or the folder is no project with Prisma installed.
    """
    named = explicit or os.environ.get(PROJECT_VARIABLE)
    if not named:
        raise PreconditionFailed(
            "No Prisma project is named.",
            f"Let {PROJECT_VARIABLE} name the folder that holds its package.json and its prisma folder.",
        )
    folder = Path(named).expanduser().absolute()
    read_project(folder)
    return folder


def read_project(folder: Path) -> PrismaProject:
    """Read where the parts of the project in `folder` are.

    Raises PreconditionFailed when one is missing, or Prisma's version is neither 6 nor 7.
    """
    migrations = migrations_folder(folder)
    package = find_package(folder, "prisma")
    if package is None:
        raise PreconditionFailed(f"Prisma is not installed in {folder}.", f"Run `npm ci` in {folder}.")
    version = _version(package)
    if version[0] not in SUPPORTED_MAJORS:
        raise PreconditionFailed(
            f"The project {folder} has Prisma {'.'.join(map(str, version))}, which was never tried here.",
            "Install Prisma 6 or 7 in it: `npm install prisma@6`.",
        )
    return PrismaProject(
        folder=folder,
        version=version,
        command=package / "build" / "index.js",
        migrations=migrations,
        url_variables=_url_variables(folder),
        native_engine=_native_engine(package),
    )


def own_files(project: PrismaProject) -> tuple[Path, ...]:
    """Return the files, but the migrations, that say how Prisma works in this project."""
    folder = project.folder
    fixed = (folder / "package.json", folder / ".env", project.migrations / "migration_lock.toml")
    found = (*fixed, *filter(None, [_config(folder)]), *_schema_files(folder))
    return tuple(path for path in found if path.is_file())


def migrations_folder(folder: Path) -> Path:
    """Return the project's migrations folder: where its configuration says, else beside the schema.

    Raises PreconditionFailed when there is no project, no schema or no such folder.
    """
    if not folder.is_dir():
        raise PreconditionFailed(f"There is no folder {folder}.", "Name the folder of the Prisma project.")
    config = _config(folder)
    if named := _named_in_config(config, _CONFIG_MIGRATIONS):
        migrations = named
    else:
        schema = [path for path in _schema_files(folder) if _DATASOURCE.search(_text(path))]
        migrations = (schema[0].parent if schema else folder / "prisma") / "migrations"
    if not migrations.is_dir():
        raise PreconditionFailed(
            f"The project {folder} has no migrations folder: {migrations} is missing.",
            "Name the folder of the Prisma project, not its prisma folder, and check it out whole.",
        )
    return migrations


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


def _url_variables(folder: Path) -> tuple[str, ...]:
    """Return the variables that hold the database's address.

    `directUrl` is among them, since migrations go there: left alone, it might be filled from the project's
    own .env file, with another database.

    Raises PreconditionFailed when the schema holds the address itself.
    """
    blocks = [
        _COMMENT.sub("", block)
        for path in _schema_files(folder)
        for block in _DATASOURCE.findall(_text(path))
    ]
    if any(_SCHEMA_LITERAL.search(block) for block in blocks):
        raise PreconditionFailed(
            f"The schema of {folder} holds the database's address itself.",
            'Write `url = env("DATABASE_URL")` in its datasource block.',
        )
    in_schema = [name for block in blocks for name in _SCHEMA_ENV.findall(block)]
    config = _config(folder)
    in_config = _CONFIG_ENV.findall(_COMMENT.sub("", _text(config))) if config else []
    return tuple(dict.fromkeys([*in_schema, *in_config])) or ("DATABASE_URL",)


def _schema_files(folder: Path) -> tuple[Path, ...]:
    """Return the schema's files; a schema may be a folder of them.

    Raises PreconditionFailed when there is none.
    """
    in_package = _json(folder / "package.json").get("prisma", {}).get("schema")
    candidates = (
        _named_in_config(_config(folder), _CONFIG_SCHEMA),
        folder / in_package if in_package else None,
        folder / "schema.prisma",
        folder / "prisma" / "schema.prisma",
        folder / "prisma" / "schema",
    )
    for path in filter(None, candidates):
        if path.is_file():
            return (path,)
        if files := tuple(sorted(path.rglob("*.prisma"))):
            return files
    raise PreconditionFailed(
        f"The folder {folder} has no Prisma schema.", "Name the folder that holds prisma/schema.prisma."
    )


def _config(folder: Path) -> Path | None:
    return next((folder / name for name in _CONFIGS if (folder / name).is_file()), None)


def _named_in_config(config: Path | None, pattern: re.Pattern[str]) -> Path | None:
    """Return a path that the configuration names. It is a program, of which we read plain strings only."""
    found = pattern.search(_COMMENT.sub("", _text(config))) if config else None
    return config.parent / found[1] if config and found else None


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError as error:
        raise PreconditionFailed(
            f"{path} cannot be read: {error.strerror}.", "Check its permissions."
        ) from error


def _json(path: Path) -> dict[str, Any]:
    if not path.is_file():
        return {}
    try:
        content = json.loads(_text(path))
    except ValueError as error:
        raise PreconditionFailed(f"{path} is not JSON: {error}.", "Mend it, or check it out anew.") from error
    return content if isinstance(content, dict) else {}
