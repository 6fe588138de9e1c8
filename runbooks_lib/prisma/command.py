"""Drives the real Prisma command line of a project. Every write to Prisma's history is made here, by Prisma.

Prisma is run with a configuration of ours, which has the schema, the migrations and the address and nothing else; the
project's own, which is a program, was asked what it says before (configuration.py) and is not run here.

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
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from msgspec.structs import replace as replace_struct

from runbooks_lib.cache import cache_directory
from runbooks_lib.errors import PreconditionFailed, PrismaError
from runbooks_lib.given import read_given_text
from runbooks_lib.npm.child import clean_environment, run_child
from runbooks_lib.npm.node import find_node
from runbooks_lib.prisma import ahead
from runbooks_lib.prisma.engine import (
    ENGINE_VARIABLE,
    ROLLED_BACK_IS_PENDING,
    STAND_IN,
    Engine,
    engine_of,
    engine_version,
    stand_in_packages,
)
from runbooks_lib.prisma.many import EACH_S, Names, Written, check_names
from runbooks_lib.prisma.output import UP_TO_DATE, CliResult, Datasource, datasource, error_code, plain
from runbooks_lib.prisma.project import PrismaProject, read_project
from runbooks_lib.prisma.url import DatabaseUrl, aim, database_url
from runbooks_lib.temporary import temporary_folder

__all__ = [
    "UP_TO_DATE",
    "CliResult",
    "DatabaseUrl",
    "Engine",
    "Prisma",
    "Written",
    "aim",
    "database_url",
]

TIMEOUT_S = 90.0
DEPLOY_TIMEOUT_S = 3600.0
ADDRESS_VARIABLE = "RUNBOOKS_PRISMA_URL"
_CONFIGURED_FROM = (6, 18)  # the first version whose configuration may hold the address
_SCHEMA_VARIABLE = re.compile(r'\benv\(\s*"([^"]+)"')


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
        return engine_of(self.project)

    @property
    def rolled_back_is_pending(self) -> bool:
        """Return whether this engine takes a rolled-back migration as pending: from 7.9 on."""
        return engine_version(self.project) >= ROLLED_BACK_IS_PENDING

    @property
    def can_write(self) -> bool:
        """Return whether Prisma can record or deploy here; `writing_refused` says why not."""
        return not self.writing_refused

    @property
    def writing_refused(self) -> str:
        """Return, as a sentence, why nothing is written through Prisma in this project; empty where it is."""
        if not self.project.is_too_new:
            return ""
        return (
            f"The project has Prisma {self.project.installed}, which has no `migrate resolve`: nothing is recorded or "
            f"deployed. Its migrations and the history are read, by Prisma {self.version()} of ours, and compared."
        )

    def version(self) -> str:
        """Return the version of the Prisma that is run, such as 6.19.3."""
        return ".".join(map(str, self.project.version))

    def redact(self, text: str) -> str:
        """Return a text as the output shows it: without the password."""
        return self._address().redact(text)

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
        """Return a digest of what a status depends on: `state`, the address, Prisma, and what the project says."""
        names = (*self.project.configuration.schema_files, self.project.migrations / "migration_lock.toml")
        files = {str(path): hashlib.sha256(path.read_bytes()).hexdigest() for path in names if path.is_file()}
        parts = [
            state,
            str(self._address()),
            self.version(),
            self.engine,
            self.project.configuration.digest,
            files,
        ]
        return hashlib.sha256(json.dumps(parts).encode()).hexdigest()

    def resolve(
        self, applied: Sequence[str] = (), rolled_back: Sequence[str] = (), *, role: str | None = None
    ) -> Written:
        """Record migrations as rolled back, then others as applied, in the order that is given: by Prisma alone.

        One is recorded by `prisma migrate resolve`; of several, one start of it records all, by the very requests
        that it makes of its engine. Stops at the first that Prisma refuses. `role` is the one to act as, else the
        address's own: where Prisma has to make its table, that one owns it.
        Raises PrismaError when Prisma turns out to talk to another database, or does not end in time: what it recorded
        until then stands in its table. PreconditionFailed where a name is none, or stands twice.
        """
        check_names((*applied, *rolled_back))
        done: list[str] = []
        said: list[CliResult] = []
        for option, names in (("--rolled-back", tuple(rolled_back)), ("--applied", tuple(applied))):
            if not names:
                continue
            result, recorded = self._record(option, names, _settings(role))
            said.append(result)
            done += recorded
            if len(recorded) < len(names):
                return Written(done=tuple(done), said=tuple(said), failed=names[len(recorded)])
        return Written(done=tuple(done), said=tuple(said), failed=None)

    def deploy(
        self,
        *,
        role: str | None = None,
        lock_timeout_ms: int | None = None,
        timeout_s: float = DEPLOY_TIMEOUT_S,
    ) -> CliResult:
        """Run `prisma migrate deploy`: runs and records every pending migration of the folder, in its order.

        The caller has seen that what is pending is what it planned. `role` is the one to act as, else the address's
        own: it owns what is made. No statement waits for a lock longer than `lock_timeout_ms`, where that is given.
        The result's code is P3005 without a history in a database that is not empty, P3009 after a failed migration,
        P3018 when one fails now, P1002 when Prisma's own lock is held.
        Raises PrismaError when Prisma turns out to talk to another database, or does not end within `timeout_s`: the
        migration that it was at then counts as failed.
        """
        settings = _settings(role)
        if lock_timeout_ms is not None:
            settings["lock_timeout"] = str(lock_timeout_ms)
        return self._write("migrate", "deploy", settings=settings, timeout_s=timeout_s)

    def _address(self, settings: Mapping[str, str] | None = None) -> DatabaseUrl:
        """Return the address that Prisma is given: with the schema that the project's own configuration has."""
        url = self._url() if callable(self._url) else self._url
        return replace(url, schema=self.project.configuration.history_schema).with_settings(settings or {})

    def _record(
        self, option: str, names: tuple[str, ...], settings: Mapping[str, str]
    ) -> tuple[CliResult, tuple[str, ...]]:
        """Let one start of Prisma record all names; return what it said, and those that were recorded."""
        if len(names) == 1:
            result = self._write("migrate", "resolve", option, names[0], settings=settings)
            return result, names if result.exit_code == 0 else ()
        with temporary_folder("prisma") as folder:
            many = Names(folder=folder, names=names)
            timeout_s = self.timeout_s + len(names) * EACH_S
            result = self._write(
                *("migrate", "resolve", option, names[0]), settings=settings, timeout_s=timeout_s, many=many
            )
            return replace_struct(
                result, command=f"{result.command} (and {len(names) - 1} more)"
            ), many.done()

    def _write(
        self,
        *arguments: str,
        settings: Mapping[str, str],
        timeout_s: float | None = None,
        many: Names | None = None,
    ) -> CliResult:
        """Write only where a status, by the very configuration that writes, has shown which database it leads to.

        Our stand-in for the engine looks once more, before its first statement, at what it is connected to. Prisma's
        own engine can't, and so the status is asked for directly before.
        """
        if self.writing_refused:
            raise PreconditionFailed(
                self.writing_refused, "Record and deploy with Prisma 6 or 7, or by hand as its makers say."
            )
        if self.engine is not Engine.WEBASSEMBLY:
            self._aimed_well = False
        if not self._aimed_well:
            self._run("migrate", "status", settings=settings)
        if not self._aimed_well:
            raise PrismaError(
                "Prisma did not say which database it talks to, so it was not let to write.",
                "Run `prisma migrate status` in the project and read what it says.",
            )
        return self._run(*arguments, settings=settings, timeout_s=timeout_s, many=many)

    def _run(
        self,
        *arguments: str,
        settings: Mapping[str, str] | None = None,
        timeout_s: float | None = None,
        many: Names | None = None,
    ) -> CliResult:
        url = self._address(settings)
        self._check_fixed(url)
        command = " ".join(("prisma", *arguments))
        begun = time.monotonic()
        with temporary_folder("prisma") as private:
            exit_code, raw = run_child(
                (str(self._node), str(self.project.command), *arguments, *self._configured(private)),
                name=command,
                cwd=private,
                env=self._environment(url, private, many),
                timeout_s=timeout_s or self.timeout_s,
            )
        duration_s = time.monotonic() - begun
        output = plain(raw)
        self._check_aim(output, url)
        return CliResult(
            command=command,
            exit_code=exit_code,
            output=url.redact(output),
            code=error_code(output),
            duration_s=duration_s,
        )

    def _configured(self, private: Path) -> tuple[str, ...]:
        """Write the configuration that Prisma is to run with; return the options that name it.

        Early versions of Prisma 6 know no address in it: the schema is named to them, and its variables are set.
        """
        found = self.project.configuration
        if self.project.version < _CONFIGURED_FROM:
            return ("--schema", str(found.schema))
        ours = {"schema": str(found.schema), "migrations": {"path": str(found.migrations)}}
        engine = 'engine: "classic", ' if self.project.version[0] == 6 else ""
        path = private / "prisma.config.cjs"
        path.write_text(
            f"module.exports = {{ ...{json.dumps(ours)}, {engine}"
            f"datasource: {{ url: process.env.{ADDRESS_VARIABLE} }} }}\n",
            encoding="utf-8",
        )
        return ("--config", str(path))

    def _check_fixed(self, url: DatabaseUrl) -> None:
        """Stop when the project's configuration leads elsewhere, whatever the environment says."""
        fixed = self.project.configuration.fixed
        if fixed is None or (fixed.host, fixed.port, fixed.database) == (url.host, url.port, url.dbname):
            return
        server = replace(url, host=fixed.host, port=fixed.port).server
        self._refuse(Datasource(database=fixed.database, schemas=url.schema, server=server), url)

    def _check_aim(self, output: str, url: DatabaseUrl) -> None:
        """Stop when Prisma says that it talks to another database, or of other schemas than the project has."""
        said = datasource(output)
        if said is None:
            return
        expected = (self.project.configuration.schemas, url.server)
        if not url.names_database(said.database) or (said.schemas, said.server) != expected:
            self._refuse(said, url)
        self._aimed_well = True

    def _refuse(self, said: Datasource, url: DatabaseUrl) -> None:
        raise PrismaError(
            f"Prisma talks to the database {said.database}, schema {said.schemas}, at {said.server}, "
            f"not to {url.dbname}, schema {self.project.configuration.schemas}, at {url.server}.",
            "Let the project's datasource take its address from the environment, "
            "and the phase's target be the database that the project is for.",
        )

    def _environment(self, url: DatabaseUrl, private: Path, many: Names | None) -> dict[str, str]:
        """Return the child's environment: the address, under whatever names the schema has, and little else."""
        env = clean_environment(self._node, private) | {
            "NODE_COMPILE_CACHE": str(cache_directory() / "node"),  # Node 22+: a third of the time
            "RUNBOOKS_PRISMA_CALLER": str(os.getpid()),
        }
        address = url.reveal()
        if self.engine is Engine.WEBASSEMBLY:
            if not os.access(STAND_IN, os.X_OK):
                raise PreconditionFailed(f"{STAND_IN} is not executable.", f"Run `chmod +x {STAND_IN}`.")
            address = url.without_password()
            env |= {
                ENGINE_VARIABLE: str(STAND_IN),
                "PRISMA_QUERY_ENGINE_LIBRARY": str(STAND_IN),  # never loaded; else early versions download it
                "RUNBOOKS_PRISMA_PACKAGES": str(stand_in_packages(self.project)),
                "RUNBOOKS_PRISMA_PASSWORD": url.password or "",
                "RUNBOOKS_PRISMA_EXPECTED": url.expected(),
            }
        elif self.engine is Engine.NAMED:
            env[ENGINE_VARIABLE] = os.environ[ENGINE_VARIABLE]
        if many:
            env |= many.around(env.get(ENGINE_VARIABLE) or str(self.project.native_engine))
        names = [ADDRESS_VARIABLE, *_schema_variables(self.project)]
        return env | dict.fromkeys(names, address)


def _settings(role: str | None) -> dict[str, str]:
    return {} if role is None else {"role": role}


def _schema_variables(project: PrismaProject) -> set[str]:
    """Return every name that may stand for an address in the schema: Prisma 6 wants them set, whatever it uses."""
    texts = [read_given_text(path.resolve(), errors="replace") for path in project.configuration.schema_files]
    return {name for text in texts for name in _SCHEMA_VARIABLE.findall(text)}
