"""A PostgreSQL cluster of our own, for as long as it is needed: the lab's servers, a scratch for proofs.

It runs in the calling user's account, or as `nobody` when root calls. It may
lose data when the machine crashes (fsync is off), not when PostgreSQL does.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import psycopg

from runbooks_lib.cache import ENV_CACHE
from runbooks_lib.errors import LabError
from runbooks_lib.postgres.binaries import clean_environment
from runbooks_lib.postgres.scratch import processes
from runbooks_lib.postgres.scratch.enclosure import enclosure
from runbooks_lib.postgres.scratch.processes import Process
from runbooks_lib.postgres.scratch.programs import ServerPrograms
from runbooks_lib.postgres.scratch.storage import write_private
from runbooks_lib.postgres.session.service_file import own_environment

SUPERUSER = "postgres"
SOCKET_PORT = 5432  # only a part of the socket's name: a cluster without a TCP port listens to none
CONFIGURATION = "runbooks.conf"
LAUNCHER_ENDS: processes.Signals = ((signal.SIGCONT, 5.0), (signal.SIGKILL, 5.0))

# synchronous_commit stays on: without it a commit reaches the WAL up to 0.6 s later, and
# pg_current_wal_flush_lsn(), by which lag is measured, says until then that nothing was written.
THROWAWAY: Mapping[str, str] = {
    "fsync": "off",
    "full_page_writes": "off",
    "dynamic_shared_memory_type": "mmap",  # in the data folder: goes with it when the server was killed
    "shared_buffers": "16MB",
    "max_connections": "40",
    "wal_init_zero": "off",
    "wal_recycle": "off",
    "min_wal_size": "2MB",  # at least two segments, which initdb made of 1 MB
    "max_wal_size": "64MB",
    "max_logical_replication_workers": "0",
    "log_min_messages": "warning",
    "lc_messages": "C",
    "timezone": "UTC",
}


class PortTaken(LabError):
    """Another process took the port between our choosing it and the server's start."""


class Cluster:
    """One data folder and, while it runs, its server.

    `home` is a folder of `programs.account` (`storage.make_home`); the data lies in
    `home/name`, the log beside it. With a `port` the server listens on 127.0.0.1;
    without one on a socket in `home` alone. One that is `enclosed` may execute foreign code.
    Several processes may hold an object for the same cluster: what runs is read from
    postmaster.pid each time.
    """

    def __init__(
        self,
        *,
        programs: ServerPrograms,
        home: Path,
        name: str,
        port: int | None = None,
        enclosed: bool = False,
    ) -> None:
        self.programs = programs
        self.enclosed = enclosed
        self.home = home
        self.name = name
        self.port = port
        self.data = home / name
        self.log = home / f"{name}.log"
        self.expired = False  # ended by us, since what ran in it took too long
        self._process: Process | None = None
        self._launcher: Process | None = None  # what we started: the server, or a program that starts it

    def __repr__(self) -> str:
        return f"Cluster({self.name!r}, data={str(self.data)!r}, port={self.port})"

    # -- making ----------------------------------------------------------------

    def initdb(self, password: str, *, superuser: str = SUPERUSER, quick_logins: bool = False) -> None:
        """Make the data folder: SCRAM for everybody, data checksums, UTF-8, one superuser.

        Raises LabError with initdb's own words. `quick_logins` leaves out the iterations of SCRAM (3 ms a session),
        which protect passwords that somebody thought up, and not those that are drawn by lot.
        """
        password_file = self.home / f"{self.name}.password"
        options = ["--username", superuser, "--auth=scram-sha-256", f"--pwfile={password_file}"]
        options += ["--data-checksums", "--encoding=UTF8", "--locale=C", "--wal-segsize=1", "--no-sync"]
        options += ["--no-instructions"]
        if quick_logins and self.programs.major >= 16:
            options += ["--set", "scram_iterations=1"]
        if self.programs.major >= 17:
            options += ["--locale-provider=builtin", "--builtin-locale=C.UTF-8"]
        write_private(password_file, f"{password}\n", self.programs.account)
        try:
            self._run("initdb", "--pgdata", str(self.data), *options)
        finally:
            password_file.unlink(missing_ok=True)
        with (self.data / "postgresql.conf").open("a", encoding="utf-8") as file:
            file.write(f"\ninclude = '{CONFIGURATION}'\n")

    def configure(self, settings: Mapping[str, str] | None = None) -> None:
        """Write the settings: those of a throwaway cluster, the address, then `settings`."""
        merged = {
            **THROWAWAY,
            "listen_addresses": "" if self.port is None else "127.0.0.1",
            "port": str(self.port or SOCKET_PORT),
            "unix_socket_directories": str(self.home) if self.port is None else "",
            "cluster_name": self.name,
            **({"io_method": "sync"} if self.programs.major >= 18 else {}),  # no I/O worker processes
            **(settings or {}),
        }
        lines = [f"{name} = '{value.replace(chr(39), chr(39) * 2)}'\n" for name, value in merged.items()]
        write_private(self.data / CONFIGURATION, "".join(lines), self.programs.account)

    # -- running ---------------------------------------------------------------

    def start(self) -> None:
        """Start the server and return at once; `wait_ready` waits for it."""
        if self.is_running():
            return
        log = os.open(self.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        try:
            account = self.programs.account
            around = enclosure(account).command(self.home) if self.enclosed else []
            process = subprocess.Popen(
                [*around, self.programs.bindir / "postgres", "-D", self.data],
                cwd=self.home,
                env=self._environment(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,  # Ctrl-C in the terminal is for us, not for the server
                **account.switch,
            )
            self._process = self._launcher = Process.of(processes.detached(process))
        finally:
            os.close(log)

    def wait_ready(self, timeout_s: float = 60.0) -> None:
        """Wait until the server, primary or hot standby, lets clients in.

        Watches postmaster.pid, whose eighth line becomes `ready`: ten times as
        quick as `pg_ctl --wait`, which looks every 100 ms.

        Raises PortTaken, or LabError with the end of the server's log.
        """
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline:
            pid = self.pid()
            if pid is None:
                raise self._failure("ended while starting")
            if self._pid_file() == (pid, "ready"):
                return
            time.sleep(processes.POLL_S)
        raise self._failure(f"is not ready after {timeout_s:.0f} s")

    def is_ready(self) -> bool:
        """Tell whether the server runs and lets clients in."""
        return self.is_running() and self._pid_file()[1] == "ready"

    def is_running(self) -> bool:
        """Tell whether the server's main process runs."""
        return self.pid() is not None

    def pid(self) -> int | None:
        """Return the number of the server's main process; None when it does not run."""
        launched = self._launcher if self._launcher and self._launcher.runs() else None
        if self._process is None or self._process == launched or not self._process.runs():
            self._process = self._find_process() or launched
        return None if self._process is None else self._process.pid

    def begin_stop(self) -> None:
        """Ask the server to stop and return at once: for stopping several together."""
        if (pid := self.pid()) is not None:
            os.kill(pid, signal.SIGINT)

    def stop(self) -> None:
        """Stop the server and wait until it has ended; harder signals follow when it does not.

        Raises LabError when it cannot be ended.
        """
        if self.is_running() and self._process and not self._process.end(processes.STOPPING_POSTGRES):
            raise LabError(f"The PostgreSQL server {self.name} ({self._process}) cannot be ended.")
        if self._launcher:  # it ends by itself when the server has, and is collected here
            self._launcher.end(LAUNCHER_ENDS)

    @contextmanager
    def ended_after(self, seconds: float) -> Iterator[None]:
        """End the server when the block takes longer: what runs in it may be foreign code, which no time-out stops."""

        def end() -> None:
            self.expired = True
            self.begin_stop()

        timer = threading.Timer(seconds, end)
        timer.daemon = True
        timer.start()
        try:
            yield
        finally:
            timer.cancel()

    # -- using -----------------------------------------------------------------

    def address(self) -> dict[str, str]:
        """Return libpq's `host` and `port` of this cluster."""
        if self.port is None:
            return {"host": str(self.home), "port": str(SOCKET_PORT)}
        return {"host": "127.0.0.1", "port": str(self.port)}

    def connect(self, dbname: str, **parameters: Any) -> psycopg.Connection[tuple[Any, ...]]:
        """Connect in autocommit mode, as superuser unless `user` says otherwise.

        `parameters` are libpq's (user, password, passfile). What the environment
        says of encryption, options or sessions is overridden.
        """
        ours = {"user": SUPERUSER, "application_name": "runbooks", "connect_timeout": "10"}
        plain = {"sslmode": "disable", "options": "", "hostaddr": "", "target_session_attrs": "any"}
        merged = ours | plain | self.address() | parameters
        with own_environment():
            return psycopg.connect("", dbname=dbname, autocommit=True, **merged)

    # -- inside ----------------------------------------------------------------

    def _environment(self) -> dict[str, str]:
        return clean_environment({"HOME": str(self.home), "TZ": "UTC"})

    def _run(self, program: str, *arguments: str) -> None:
        """Run one of the server's programs to its end, as the servers' account."""
        ran = subprocess.run(
            [self.programs.bindir / program, *arguments],
            cwd=self.home,
            env=self._environment(),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            **self.programs.account.switch,
        )
        if ran.returncode != 0:
            raise LabError(f"{program} failed ({ran.returncode}): {ran.stderr.strip()[-1000:]}")

    def _find_process(self) -> Process | None:
        """Return the server's main process by its pid file, which may be an old one.

        Not for a process just started: its command line can be empty for a moment.
        """
        pid = self._pid_file()[0]
        if pid is None or not processes.command_line(pid).endswith(f" -D {self.data}"):
            return None
        return Process.of(pid)

    def _pid_file(self) -> tuple[int | None, str]:
        """Return process number and status from postmaster.pid, as far as it is written."""
        try:
            lines = (self.data / "postmaster.pid").read_text().splitlines()
            return int(lines[0]), lines[7].strip() if len(lines) > 7 else ""
        except (OSError, IndexError, ValueError):
            return None, ""

    def _failure(self, what: str) -> LabError:
        """Return the error for a server that did not start, with the end of its log."""
        log = self.log.read_text(errors="replace")[-1500:].strip() if self.log.exists() else "no log"
        kind = PortTaken if "could not bind" in log else LabError
        return kind(f"The PostgreSQL server {self.name} {what}. Its log ends: {log}")


def copy_data(source: Path, targets: Sequence[Path]) -> None:
    """Copy the data folder of a cleanly stopped cluster to each target, at the same time.

    Owners and permissions stay; blocks are shared where the file system can.

    Raises LabError when a copy is not complete.
    """
    command = ["cp", "-Rpc"] if sys.platform == "darwin" else ["cp", "-a"]
    with ExitStack() as stack:
        copies = [
            stack.enter_context(subprocess.Popen([*command, source, target], stderr=subprocess.PIPE))
            for target in targets
        ]
        errors = [copy.communicate()[1].decode(errors="replace") for copy in copies]
    if any(copy.returncode for copy in copies):
        places = ", ".join(dict.fromkeys(str(target.parent) for target in targets))
        raise LabError(
            f"The data folder {source} was not copied: {' '.join(errors)[-500:]}",
            f"Free space in {places}, and see that it can be written to; {ENV_CACHE} names another cache folder.",
        )


def free_ports(count: int) -> tuple[int, ...]:
    """Return different TCP ports of 127.0.0.1 that are free at this moment."""
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return tuple(int(each.getsockname()[1]) for each in sockets)
