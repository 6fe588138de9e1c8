"""The lab from outside: `up`, `find`, `running`, `sweep`, and the `Lab` they return."""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from contextvars import copy_context
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import psycopg

from runbooks_lib.cache import cache_directory
from runbooks_lib.errors import LabError, PreconditionFailed
from runbooks_lib.interrupts import termination_raises, uninterrupted
from runbooks_lib.lab import own_project, services
from runbooks_lib.lab.disorder import DISORDERS, Disorder
from runbooks_lib.lab.initial_state import PROJECT, leader_template
from runbooks_lib.lab.pair import Pair
from runbooks_lib.lab.registry import STATE_FILE, State, load, locked, registered
from runbooks_lib.npm.install import copy_listed, install_project
from runbooks_lib.postgres.scratch.cluster import Cluster, PortTaken, free_ports
from runbooks_lib.postgres.scratch.homes import end_leftovers, sweep_homes
from runbooks_lib.postgres.scratch.orphans import swept_without_us
from runbooks_lib.postgres.scratch.processes import Process
from runbooks_lib.postgres.scratch.programs import find_server
from runbooks_lib.postgres.scratch.storage import choose_home, create_home, is_home, remove_home
from runbooks_lib.prisma.project import NEWEST, PACKAGES

ATTEMPTS = 3  # a port chosen free may be taken a moment later
OURS = (
    services.SERVICE_FILE, services.PASS_FILE, services.API_LOG, PROJECT.name, own_project.COPY, STATE_FILE
)  # fmt: skip
API_STOPPING = ((signal.SIGTERM, 5.0), (signal.SIGKILL, 5.0))


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One line of `Lab.status`: a part of the lab, where it is, and how it is."""

    what: str
    where: str
    state: str


class Lab:
    """A lab that was started; `with` takes it down at the end."""

    def __init__(self, state: State) -> None:
        self._state = state
        self._pair = _pair(state)

    def __repr__(self) -> str:
        return f"Lab({str(self.directory)!r})"

    def __enter__(self) -> Lab:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.down()

    @property
    def directory(self) -> Path:
        """The lab's folder."""
        return self._state.directory

    @property
    def leader(self) -> Cluster:
        """The leader's cluster."""
        return self._pair.leader

    @property
    def replica(self) -> Cluster:
        """The standby's cluster."""
        return self._pair.replica

    def env(self) -> dict[str, str]:
        """Return the variables by which every other part knows the lab; no secrets among them."""
        libpq = {
            "PGSERVICEFILE": str(self.directory / services.SERVICE_FILE),
            "PGPASSFILE": str(self.directory / services.PASS_FILE),
        }
        if self._state.copied:
            return libpq | {"RUNBOOKS_PRISMA_PROJECT": str(self._state.copied)}
        return {
            **libpq,
            "RUNBOOKS_PRISMA_PROJECT": str(self.directory / PROJECT.name),
            "KEYBUZZ_API_URL": f"http://127.0.0.1:{self._state.api_port}",
            "KEYBUZZ_BACKEND_URL": f"http://127.0.0.1:{self._state.backend_port}",
        }

    def status(self) -> list[Row]:
        """Return what the lab consists of and how each part is."""
        states = {True: "ready", False: "stopped"}
        servers = [
            Row(what="leader", where=f"127.0.0.1:{self.leader.port}", state=states[self.leader.is_ready()]),
            Row(what="replica", where=f"127.0.0.1:{self.replica.port}", state=self._replica_state()),
        ]
        folder = Row(
            what="folder", where=str(self.directory), state=f"PostgreSQL {self._state.programs.version}"
        )
        if self._state.copied:
            copy = Row(
                what="Prisma project", where=str(self._state.copied), state=f"copy of {self._state.source}"
            )
            return [*servers, copy, folder]
        api_runs = self._state.api is not None and self._state.api.runs()
        backend = "answers" if services.answers(self._state.backend_port) else "not deployed"
        project = self.directory / PROJECT.name
        installed = "installed" if (project / "node_modules").exists() else "not installed"
        return [
            *servers,
            Row(what="keybuzz-api", where=self.env()["KEYBUZZ_API_URL"], state=states[api_runs]),
            Row(what="keybuzz-backend", where=self.env()["KEYBUZZ_BACKEND_URL"], state=backend),
            Row(what="Prisma project", where=str(project), state=installed),
            folder,
        ]

    def admin(self, database: str) -> psycopg.Connection[tuple[Any, ...]]:
        """Connect to the leader as superuser, in autocommit mode."""
        return self.leader.connect(database, passfile=self.env()["PGPASSFILE"])

    def down(self) -> None:
        """Stop everything and delete what the lab made. Nothing happens when that was done before.

        Raises LabError when a process cannot be ended; the files then stay.
        """
        with locked(self.directory), uninterrupted():
            current = load(self.directory)
            if current is not None and current.home == self._state.home:
                _take_down(current)

    def _replica_state(self) -> str:
        if not self.replica.is_ready():
            return "stopped"
        if not self.leader.is_ready():
            return "ready, its leader is stopped"
        with self.admin("postgres") as connection:
            row = connection.execute("SELECT state FROM pg_stat_replication").fetchone()
        return str(row[0]) if row else "ready, not streaming"


def up(
    directory: Path | None = None,
    *,
    owner_pid: int | None = None,
    prisma: int = NEWEST,
    project: Path | None = None,
    disorder: str | None = None,
) -> Lab:
    """Start a lab in `directory`, by default `lab` in the cache; return the one already running there.

    Its project has Prisma of the major version `prisma`; or it is a copy of the one that `project` names, and the
    database has its migrations, or is in the `disorder` of this name: in a lab that runs, it is made anew for that.

    First ends the labs whose owner was killed. A lab with an owner is ended that way
    when the process `owner_pid` is gone; one without lives until it is taken down.
    What a start that fails or is interrupted has made, it takes away itself.

    Raises LabError, PreconditionFailed when programs are missing, PrismaError when
    the Prisma project cannot be installed.
    """
    target = _resolved(directory)
    source = project.expanduser().resolve() if project else None
    made = _disorder(disorder)
    sweep()
    with locked(target), termination_raises():
        found = load(target)
        if found is not None:
            if _is_whole(found):
                return _as_wanted(found, source, made)
            with uninterrupted():
                _take_down(found)
        owner = None if owner_pid is None else Process.of(owner_pid)
        for _ in range(ATTEMPTS - 1):
            with suppress(PortTaken):
                return Lab(_start(target, owner, prisma, source, made))
        return Lab(_start(target, owner, prisma, source, made))


def _disorder(name: str | None) -> Disorder | None:
    if name is not None and name not in DISORDERS:
        known = "\n".join(f"  {each:16} {found.says}" for each, found in DISORDERS.items())
        raise PreconditionFailed(f"There is no state {name!r}.", f"Choose one of these:\n{known}")
    return DISORDERS[name] if name else None


def _as_wanted(found: State, source: Path | None, disorder: Disorder | None) -> Lab:
    """Return a lab that runs, its project and database anew where a disorder is wanted."""
    if source and source != found.source:
        raise LabError(
            f"The lab in {found.directory} runs for {found.source or 'the reference phase'}.",
            "Name another folder with --dir, or end it first: runbooks lab down",
        )
    if disorder and found.source:
        _delete(found.directory / own_project.COPY)
        found = _with_project(found, found.source, disorder)
    return Lab(found)


def _with_project(state: State, source: Path, disorder: Disorder | None) -> State:
    """Copy somebody's project, and make its database; the standby has it, too, at the end."""
    copied = own_project.copy_project(source, state.directory / own_project.COPY)
    pair = _pair(state)
    own_project.fill(pair.leader, pair.passfile, copied, disorder)
    pair.wait_streaming()
    return state.changed(copied=copied)


def find(directory: Path | None = None) -> Lab | None:
    """Return the lab in `directory` if one was started there, running well or not."""
    found = load(_resolved(directory))
    return None if found is None else Lab(found)


@contextmanager
def running(directory: Path | None = None, *, prisma: int = NEWEST) -> Iterator[Lab]:
    """Run a lab for the length of the block: also an error, Ctrl-C, SIGTERM or SIGKILL takes it down.

    Without `directory` it is a fresh one in a temporary folder. A lab that was
    already running in `directory` is used and left running.
    """
    fresh = Path(tempfile.gettempdir()) / f"runbooks-lab-{secrets.token_hex(6)}"
    target = _resolved(directory or fresh)
    with termination_raises(), swept_without_us(__name__, sweep.__name__):
        before = load(target)
        lab = up(target, owner_pid=os.getpid(), prisma=prisma)
        ours = before is None or before.home != lab.leader.home
        try:
            yield lab
        finally:
            if ours:
                lab.down()


def sweep() -> tuple[Path, ...]:
    """End the labs whose owner is gone or whose folder was deleted; return their folders.

    Raises LabError when a process cannot be ended.
    """
    sweep_homes()
    swept = []
    for state in registered():
        with locked(state.directory, wait=False) as held:
            current = load(state.directory) if held else None
            if current is not None and _is_orphan(current):
                with uninterrupted():
                    _take_down(current)
                swept.append(current.directory)
    return tuple(swept)


def _resolved(directory: Path | None) -> Path:
    return (directory or cache_directory() / "lab").expanduser().resolve()


def _is_orphan(state: State) -> bool:
    """Tell whether a lab is nobody's: its owner is gone, or its folder, and its home is not in another container."""
    if not state.directory.exists():
        return is_home(state.home) or not state.alive
    return state.owner is not None and not state.alive


def _is_whole(state: State) -> bool:
    """Tell whether everything that was started still runs."""
    return state.ready and state.api is not None and state.api.runs() and _pair(state).is_ready()


def _pair(state: State) -> Pair:
    return Pair.of(
        programs=state.programs,
        home=state.home,
        leader_port=state.leader_port,
        replica_port=state.replica_port,
        passfile=state.directory / services.PASS_FILE,
    )


def _plan(directory: Path, source: Path | None, *, in_memory: bool) -> State:
    """Choose where everything of a new lab will be; nothing is made yet."""
    created = _check_directory(directory)
    programs = own_project.programs_for(source) if source else find_server()
    leader_port, replica_port, api_port = free_ports(3)
    return State(
        directory=directory,
        created=created,
        programs=programs,
        home=choose_home(programs.account, in_memory=in_memory),
        leader_port=leader_port,
        replica_port=replica_port,
        api_port=api_port,
        backend_port=services.quiet_port(),
        owner=Process.this(),  # until it is ready, it belongs to the process that starts it
        source=source,
    )


def _start(
    directory: Path, owner: Process | None, prisma: int, source: Path | None, disorder: Disorder | None
) -> State:
    """Start a lab; on failure and interruption nothing of it remains."""
    state = _plan(directory, source, in_memory=owner is not None)
    template = leader_template(state.programs, bare=source is not None)
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        held = state.keep_alive()  # before it is written down, and so could be swept
        state.save()
        create_home(state.home, state.programs.account)
        keeps = () if owner else (held,)  # a lab without an owner lives as long as its API
        with uninterrupted():  # between its start and its being written down nobody would know of it
            state = state.changed(api=services.start_api(directory, state.api_port, keeps))
        services.write_service_file(state)
        services.write_pass_file(state, template.passwords())
        if source:
            _pair(state).start(template)
            state = _with_project(state, source, disorder)
        else:
            with ThreadPoolExecutor(max_workers=1) as pool:
                project = pool.submit(copy_context().run, make_project, directory / PROJECT.name, prisma)
                _pair(state).start(template)
                project.result()
        assert state.api is not None
        services.wait_for_api(directory, state.api, state.api_port)
        if owner != Process.this():
            state.let_go()
        return state.changed(owner=owner, ready=True)
    except BaseException:
        with uninterrupted():
            _take_down(state)
        raise


def _check_directory(directory: Path) -> bool:
    """Return whether the folder is yet to be made. Raises LabError when it is somebody else's."""
    if not directory.exists():
        return True
    if directory.is_dir() and not any(directory.iterdir()):
        return False
    raise LabError(
        f"{directory} exists and holds something that is not a lab.",
        "Name a folder that is empty or does not exist, or delete this one.",
    )


def make_project(project: Path, prisma: int = NEWEST) -> None:
    """Copy the stand-in for the keybuzz-backend repository and install Prisma of that major version in it."""
    shutil.copytree(PROJECT, project, ignore=shutil.ignore_patterns("__pycache__"))
    copy_listed(PACKAGES[prisma], project)
    if prisma < NEWEST:  # the database's address stands in the schema
        (project / "prisma.config.ts").unlink()
        schema = project / "prisma" / "schema.prisma"
        with_address = 'provider = "postgresql"\n  url      = env("DATABASE_URL")'
        schema.write_text(schema.read_text("utf-8").replace('provider = "postgresql"', with_address), "utf-8")
    install_project(project)


def _end_api(state: State) -> None:
    api = state.api or services.find_api(state.api_port)
    if api is not None and not api.end(API_STOPPING):
        raise LabError(f"The stand-in keybuzz-api (process {api.pid}) cannot be ended.")


def _take_down(state: State) -> None:
    """End the lab's processes, then delete its files; a stranger's file in the folder stays."""
    _end_api(state)
    _pair(state).stop()
    end_leftovers(state.home)
    remove_home(state.home)
    for name in OURS:
        for path in (state.directory / name, *state.directory.glob(f".{name}.*")):  # half-written ones too
            _delete(path)
    if state.created and state.directory.is_dir() and not any(state.directory.iterdir()):
        state.directory.rmdir()
    state.forget()


def _delete(path: Path) -> None:
    """Delete a file or a folder that may be gone already."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
