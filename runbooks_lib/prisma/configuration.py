"""What a project's configuration says, read by Prisma itself.

Prisma's command line is run with an engine that only writes down what it is handed (read-configuration.cjs,
observing-engine.cjs): no guess of ours can differ from what Prisma does. The project's configuration is a program; it
runs in a clean environment, where every database address is a placeholder, and for a limited time. What it said is
kept under digests of everything that was read.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import secrets
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, quote, urlsplit

from runbooks_lib.cache import cache_directory
from runbooks_lib.errors import PreconditionFailed
from runbooks_lib.given import read_given, read_given_text
from runbooks_lib.npm.child import clean_environment, run_child
from runbooks_lib.npm.node import find_node
from runbooks_lib.prisma.output import CliResult, datasource, plain
from runbooks_lib.temporary import temporary_folder

TIMEOUT_S = 60.0
_READER = Path(__file__).with_name("read-configuration.cjs")
_ENGINE = Path(__file__).with_name("observing-engine.cjs")
_ADDRESS = re.compile(r"(?:postgres|postgresql|prisma|prisma\+postgres)://")
_CONFIGURATION = re.compile(r"prisma7?\.config\.[cm]?[jt]s")
_ELSEWHERE = {"node_modules", ".git"}

Files = Mapping[str, str | None]  # a path from the project's folder on -> SHA-256 (hex) of what stands there


@dataclass(frozen=True, slots=True, kw_only=True)
class Address:
    """A database's address that the configuration holds itself, whatever the environment says."""

    host: str
    port: int
    database: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Configuration:
    """What Prisma works with in a project.

    `schema` is the schema's file, or the folder of its `schema_files`. Prisma keeps `_prisma_migrations` in
    `history_schema`, that of the address (`?schema=`), else public. `schemas` are those that Prisma names when it is
    asked for its status, as it prints them. `fixed` is None where the address comes from the environment.
    `digest` covers every file that was read.
    """

    schema: Path
    schema_files: tuple[Path, ...]
    migrations: Path
    history_schema: str
    schemas: str
    fixed: Address | None
    digest: str


def read_configuration(folder: Path, command: Path, *, schema: Path | None = None) -> Configuration:
    """Let the Prisma whose `command` (build/index.js) this is read the configuration of the project in `folder`.

    `schema` is what its people give as --schema, if they do.

    Runs Node.js where the files have changed since the last time; then it costs milliseconds.
    Raises PreconditionFailed with Prisma's own words when Prisma cannot read it; PrismaError when it does not end.
    """
    addresses = _placeholders(os.environ)
    options = ("--schema", str(schema)) if schema else ()
    first = _first_digest(folder, command, addresses, options)
    kept = cache_directory() / "prisma-configurations" / f"{first}.json"
    known = _recall(kept, folder)
    if known is None:
        known = _ask(folder, command, addresses, options)
        if known["files"] is not None:
            _keep(kept, known)
    return _configuration(folder, known)


def _configuration(folder: Path, known: Mapping[str, Any]) -> Configuration:
    address = known["address"]
    files = tuple(_absolute(folder, name) for name in known["schemas"])
    return Configuration(
        schema=files[0] if len(files) == 1 else Path(os.path.commonpath(files)),
        schema_files=files,
        migrations=_absolute(folder, known["migrations"]),
        history_schema=address["schema"] or "public",
        schemas=known["named"],
        fixed=None
        if address["fromEnvironment"]
        else Address(host=address["host"], port=address["port"], database=address["database"]),
        digest=hashlib.sha256(json.dumps(known, sort_keys=True).encode()).hexdigest(),
    )


_OLDER_ENTRY = (
    " Prisma 7 does not read the entry `prisma` that package.json has here: say in prisma.config.ts where schema and "
    "migrations are."
)


def _ask(folder: Path, command: Path, addresses: dict[str, str], options: Sequence[str]) -> dict[str, Any]:
    """Run Prisma with the engine that observes; every path in the answer is relative to the project's folder."""
    if not os.access(_ENGINE, os.X_OK):
        raise PreconditionFailed(f"{_ENGINE} is not executable.", f"Run `chmod +x {_ENGINE}`.")
    node = find_node()
    with temporary_folder("prisma") as private:
        seen = private / "seen"
        seen.mkdir()
        env = clean_environment(node, private) | addresses
        env |= {
            "PRISMA_SCHEMA_ENGINE_BINARY": str(_ENGINE),
            "PRISMA_QUERY_ENGINE_LIBRARY": str(_ENGINE),  # never loaded; else it may be downloaded
            "JITI_FS_CACHE": "false",  # else what it compiles is left in the project's node_modules
            "RUNBOOKS_PRISMA_SEEN": str(seen),
        }
        exit_code, raw = run_child(
            (str(node), str(_READER), str(command), "migrate", "status", *options),
            name="prisma migrate status",
            cwd=folder,
            env=env,
            timeout_s=TIMEOUT_S,
        )
        found = {part: _json(seen / f"{part}.json") for part in ("address", "schemas", "migrations", "files")}
    output, where = plain(raw), datasource(plain(raw))
    if not (found["address"] and found["schemas"] and found["migrations"] and where):
        said = CliResult(command="", exit_code=exit_code, output=output, code=None, duration_s=0)
        has_older_entry = "prisma" in (_json(folder / "package.json") or ())
        raise PreconditionFailed(
            f"Prisma cannot read the configuration of {folder}: {said.last_words}",
            "Run `prisma migrate status` in that folder and mend what Prisma complains of. Prisma is started without "
            "your environment there: whatever but a database's address is wanted from it has to have a default."
            + (_OLDER_ENTRY if has_older_entry else ""),
        )
    if not found["address"]["readable"]:
        raise PreconditionFailed(
            f"The database's address in the configuration of {folder} is no URL.",
            'Let the datasource take it from the environment: `url = env("DATABASE_URL")`.',
        )
    relative = {
        "schemas": sorted(os.path.relpath(path, folder) for path in found["schemas"]),
        "migrations": os.path.relpath(found["migrations"], folder),
    }
    return {
        **found,
        **relative,
        "named": where.schemas,
        "files": _read_files(folder, found["files"], relative),
    }


def _placeholders(environ: Mapping[str, str]) -> dict[str, str]:
    """Return an address that leads nowhere for each variable that has one; of the real one its `schema` alone."""
    return {
        name: _placeholder(value)
        for name, value in environ.items()
        if _ADDRESS.match(value) and not name.startswith("RUNBOOKS_")
    }


def _placeholder(address: str) -> str:
    try:
        schema = parse_qs(urlsplit(address).query).get("schema", [""])[0]
    except ValueError:
        schema = ""
    query = f"?schema={quote(schema, safe='')}" if schema else ""
    return f"postgresql://runbooks-placeholder@127.0.0.1:9/placeholder{query}"


# --- what was read, kept ------------------------------------------------------------------------------------------


def _first_digest(folder: Path, command: Path, addresses: Mapping[str, str], options: Sequence[str]) -> str:
    """Return a digest of what is known before Prisma is asked: Prisma, our scripts, the folder's own names."""
    package = command.parent.parent / "package.json"
    try:
        names = sorted(entry.name for entry in folder.iterdir() if entry.name != "node_modules")
    except OSError as error:
        raise PreconditionFailed(
            f"The folder {folder} cannot be read: {error.strerror}.",
            "Name the folder of the Prisma project, and check its permissions.",
        ) from error
    scripts = [_digest(path) for path in (_READER, _ENGINE, Path(__file__), package)]
    return hashlib.sha256(
        json.dumps([scripts, names, sorted(addresses.items()), options]).encode()
    ).hexdigest()[:32]


def _read_files(folder: Path, files: Iterable[str], relative: Mapping[str, Any]) -> Files | None:
    """Return the digests of the project's files that were read; None where some may have been read unseen.

    Node.js loads modules of the newer kind (.mjs) by itself: then nothing is kept.
    """
    migrations = (folder / relative["migrations"]).resolve()
    inside = [path for path in map(Path, files) if migrations not in path.parents and _concerns(path, folder)]
    unseen = {name for name in os.listdir(folder) if _CONFIGURATION.fullmatch(name)} - {
        p.name for p in inside
    }
    if unseen or any(path.suffix == ".mjs" for path in inside):
        return None
    noted: dict[str, str | None] = {os.path.relpath(path, folder): _digest(path) for path in inside}
    for schema in relative["schemas"]:
        beside = os.path.dirname(schema) or os.curdir
        noted[f"{beside}/"] = _listing(folder / beside)
    return noted


def _concerns(path: Path, folder: Path) -> bool:
    """Leave out what every Node.js program reads: the system's files, and those of the home that was private."""
    return path.exists() and not any(
        path.is_relative_to(part) for part in ("/etc", "/proc", "/sys", "/usr/etc")
    )


def _listing(folder: Path) -> str:
    """Return a digest of the names that would change what Prisma reads: schemas, at any depth, and .env."""
    found = []
    for parent, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if name not in _ELSEWHERE)
        found += [os.path.join(parent, n)[len(str(folder)) :] for n in sorted(names) if _is_schema(n)]
    return hashlib.sha256(json.dumps(found).encode()).hexdigest()


def _is_schema(name: str) -> bool:
    return name.endswith(".prisma") or name == ".env"


def _recall(kept: Path, folder: Path) -> dict[str, Any] | None:
    known: dict[str, Any] | None = _json(kept)
    if known is None:
        return None
    for name, digest in known["files"].items():
        path = _absolute(folder, name)
        if (_listing(path) if name.endswith("/") else _digest(path)) != digest:
            return None
    return known


def _keep(kept: Path, known: Mapping[str, Any]) -> None:
    """Write it for the next time; where that can't be, the next time takes longer."""
    with suppress(OSError):
        kept.parent.mkdir(mode=0o700, exist_ok=True)
        unfinished = kept.with_suffix(f".{secrets.token_hex(4)}")
        unfinished.write_text(json.dumps(known), encoding="utf-8")
        unfinished.replace(kept)


def _digest(path: Path) -> str | None:
    try:
        return hashlib.sha256(read_given(path.resolve())).hexdigest()
    except OSError:
        return None


def _json(path: Path) -> Any:
    try:
        return json.loads(read_given_text(path.resolve()))
    except (OSError, ValueError):
        return None


def _absolute(folder: Path, name: str) -> Path:
    return Path(os.path.normpath(folder / name))
