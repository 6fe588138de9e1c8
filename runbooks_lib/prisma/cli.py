"""Drives the real Prisma command line of a project. Every write to Prisma's history is made here, by Prisma.

The database's address exists in memory and in the child's environment only. Prisma itself hands it to its
engine as an argument, readable by every user of the machine: our stand-in for the engine therefore gets the
password apart from the address. Prisma's native engine has no such way; with it the password is in the
engine's arguments while it runs, as it is whenever a person runs Prisma.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from runbooks_lib.errors import PreconditionFailed, PrismaError
from runbooks_lib.postgres.storage import cache_directory
from runbooks_lib.prisma import ahead
from runbooks_lib.prisma.child import run_child
from runbooks_lib.prisma.install import install_packages, install_project
from runbooks_lib.prisma.node import find_node, search_path
from runbooks_lib.prisma.project import find_package, find_project, own_files, package_version, read_project
from runbooks_lib.prisma.url import DatabaseUrl, database_url

__all__ = [
    "CliResult",
    "DatabaseUrl",
    "Engine",
    "Prisma",
    "database_url",
    "find_project",
    "install_project",
]

UP_TO_DATE = "Database schema is up to date!"
TIMEOUT_S = 90.0
ENGINE_VARIABLE = "PRISMA_SCHEMA_ENGINE_BINARY"
STAND_IN = Path(__file__).with_name("schema-engine.cjs")
# The lab's project is also the list, with hashes, of the packages that the stand-in needs.
STAND_IN_PACKAGES = Path(__file__).parent.parent / "lab" / "keybuzz-backend"
_WEBASSEMBLY = "@prisma/schema-engine-wasm"
_ENGINE_PACKAGES = (_WEBASSEMBLY, "@prisma/adapter-pg", "@prisma/driver-adapter-utils")

_ANSI = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\))")
_CODE = re.compile(r"\bError(?: code)?:?\s+(P\d{4})\b")
_DATASOURCE = re.compile(r'Datasource "[^"]*": PostgreSQL database "(.*?)", schemas? "(.*?)" at "(.*?)"')


class Engine(StrEnum):
    """Which schema engine Prisma starts."""

    NATIVE = "native"
    WEBASSEMBLY = "webassembly"
    NAMED = "named by PRISMA_SCHEMA_ENGINE_BINARY"


@dataclass(frozen=True, slots=True, kw_only=True)
class CliResult:
    """One run of Prisma's command line. `code` is Prisma's own, such as P3008, where it gave one.

    `output` is stdout and stderr as they came, without colours and without secrets.
    """

    command: str
    exit_code: int
    output: str
    code: str | None
    duration_s: float

    @property
    def up_to_date(self) -> bool:
        """Return whether Prisma said so; by its own standards, which are milder than ours."""
        return self.exit_code == 0 and UP_TO_DATE in self.output

    @property
    def lines(self) -> tuple[str, ...]:
        """Return the lines of the output that are not empty."""
        return tuple(line.strip() for line in self.output.splitlines() if line.strip())

    @property
    def last_words(self) -> str:
        """Return the three lines that say what is wrong: from the first with an error on, or else the last ones."""
        lines = self.lines
        begin = next((n for n, line in enumerate(lines) if "Error" in line), max(0, len(lines) - 3))
        return " ".join(lines[begin : begin + 3]) or "Prisma said nothing."


class Prisma:
    """The Prisma command line of one project, pointed at one database."""

    def __init__(
        self, project: Path, url: DatabaseUrl | Callable[[], DatabaseUrl], *, timeout_s: float = TIMEOUT_S
    ) -> None:
        """Look up the project's parts; start nothing.

        Raises PreconditionFailed when the project, Prisma or Node.js is missing.
        """
        self.project = read_project(project)
        self.timeout_s = timeout_s
        self._url = url
        self._node = find_node()
        self._aimed_well = False
        self._said: dict[str, CliResult] = {}

    @property
    def engine(self) -> Engine:
        """Return which engine Prisma starts: Prisma's own where it is installed."""
        if os.environ.get(ENGINE_VARIABLE):
            return Engine.NAMED
        return Engine.NATIVE if self.project.native_engine else Engine.WEBASSEMBLY

    @property
    def rolled_back_is_pending(self) -> bool:
        """Return whether this engine takes a rolled-back migration as pending: from 7.9 on."""
        version: tuple[int, ...] = self.project.version
        if self.engine is Engine.WEBASSEMBLY:
            package = find_package(self._engine_packages(), _WEBASSEMBLY)
            version = tuple(map(int, re.findall(r"\d+", package_version(package))[:2])) if package else ()
        return version[:2] >= (7, 9)

    def version(self) -> str:
        """Return the version of the project's Prisma, such as 6.19.3."""
        return ".".join(map(str, self.project.version))

    def status(self, *, state: str = "") -> CliResult:
        """Run `prisma migrate status`. Exit code 1 when something is pending or failed, or on an error.

        `state` digests the migrations and the history: as long as these and everything else that the answer depends
        on are the same, it is asked for once, here or `ahead`. Errors are never kept.
        """
        if not state:
            return self._run("migrate", "status")
        key = self.key(state)
        said = self._said.get(key)
        if said is None and (found := ahead.answer(key)):
            said = CliResult(**found)
            self._check_aim(said.output, self._address())
        if said is None:
            said = self._run("migrate", "status")
        if said.code is None:
            self._said[key] = said
        return said

    def key(self, state: str) -> str:
        """Return a digest of what a status depends on: `state`, the address, Prisma, and the project's own files."""
        files = {str(path): hashlib.sha256(path.read_bytes()).hexdigest() for path in own_files(self.project)}
        parts = [state, str(self._address()), self.version(), self.engine, files]
        return hashlib.sha256(json.dumps(parts).encode()).hexdigest()

    def resolve_applied(self, name: str) -> CliResult:
        """Run `prisma migrate resolve --applied NAME`: writes one row to `_prisma_migrations`.

        Raises PrismaError when Prisma turns out to talk to another database.
        """
        return self._resolve("--applied", name)

    def resolve_rolled_back(self, name: str) -> CliResult:
        """Run `prisma migrate resolve --rolled-back NAME`: marks the rows of a failed migration.

        Raises PrismaError when Prisma turns out to talk to another database.
        """
        return self._resolve("--rolled-back", name)

    def _address(self) -> DatabaseUrl:
        return self._url() if callable(self._url) else self._url

    def _resolve(self, option: str, name: str) -> CliResult:
        """Write only where a status has shown that Prisma's configuration leads to our database."""
        if name.startswith("-"):
            raise PreconditionFailed(f"{name!r} is not a migration's name.", "Give the name of its folder.")
        if not self._aimed_well:
            self.status()
        if not self._aimed_well:
            raise PrismaError(
                "Prisma did not say which database it talks to, so it was not let to write.",
                "Run `prisma migrate status` in the project and read what it says.",
            )
        return self._run("migrate", "resolve", option, name)

    def _run(self, *arguments: str) -> CliResult:
        url = self._address()
        command = " ".join(("prisma", *arguments))
        begun = time.monotonic()
        exit_code, raw = run_child(
            (str(self._node), str(self.project.command), *arguments),
            name=command,
            cwd=self.project.folder,
            env=self._environment(url),
            timeout_s=self.timeout_s,
        )
        duration_s = time.monotonic() - begun
        output = _ANSI.sub("", raw).strip()
        self._check_aim(output, url)
        found = _CODE.search(output)
        return CliResult(
            command=command,
            exit_code=exit_code,
            output=url.redact(output),
            code=found[1] if found else None,
            duration_s=duration_s,
        )

    def _check_aim(self, output: str, url: DatabaseUrl) -> None:
        """Stop when Prisma says that it talks to another database: its configuration may name one itself."""
        said = _DATASOURCE.search(output)
        if said is None:
            return
        database, schema, at = said.groups()
        if not url.names_database(database) or (schema, at) != (url.schema, url.server):
            raise PrismaError(
                f"Prisma talks to the database {database}, schema {schema}, at {at}, "
                f"not to {url.dbname}, schema {url.schema}, at {url.server}.",
                f"Let the project's datasource take its address from one of: "
                f"{', '.join(self.project.url_variables)}.",
            )
        self._aimed_well = True

    def _environment(self, url: DatabaseUrl) -> dict[str, str]:
        """Return the child's environment: no PG* variables, and the address under the project's own names."""
        dropped = {"FORCE_COLOR", "DEBUG"}
        env = {k: v for k, v in os.environ.items() if not k.startswith("PG") and k not in dropped}
        env |= {
            "PATH": search_path(self._node),
            "CHECKPOINT_DISABLE": "1",  # no call home
            "PRISMA_HIDE_UPDATE_MESSAGE": "1",
            "PRISMA_CLIENT_ENGINE_TYPE": "client",  # else Prisma 6 downloads a query engine, which it will not use
            "NO_COLOR": "1",
            "NODE_COMPILE_CACHE": str(cache_directory() / "node"),  # Node 22+: a third of the time
        }
        address = url.reveal()
        if self.engine is Engine.WEBASSEMBLY:
            if not os.access(STAND_IN, os.X_OK):
                raise PreconditionFailed(f"{STAND_IN} is not executable.", f"Run `chmod +x {STAND_IN}`.")
            address = url.without_password()
            env |= {
                ENGINE_VARIABLE: str(STAND_IN),
                "RUNBOOKS_PRISMA_PACKAGES": str(self._engine_packages()),
                "RUNBOOKS_PRISMA_PASSWORD": url.password or "",
            }
        return env | dict.fromkeys(self.project.url_variables, address)

    def _engine_packages(self) -> Path:
        """Return the folder whose node_modules has the stand-in's packages: the project, else our own."""
        folder = self.project.folder
        if all(find_package(folder, name) for name in _ENGINE_PACKAGES):
            return folder
        return install_packages(STAND_IN_PACKAGES)
