"""What stands around the lab's servers: service file, pass file, the stand-in API, the ports."""

from __future__ import annotations

import os
import random
import socket
import subprocess
import sys
import time
from collections.abc import Collection, Mapping
from pathlib import Path

from runbooks_lib.errors import LabError
from runbooks_lib.lab.initial_state import (
    BACKEND_DATABASE,
    LEGACY_DATABASE,
    OPERATOR,
    OWN_DATABASE,
    OWNER,
    READONLY,
)
from runbooks_lib.lab.registry import State
from runbooks_lib.package import own_python
from runbooks_lib.postgres.scratch import processes
from runbooks_lib.postgres.scratch.cluster import SUPERUSER
from runbooks_lib.postgres.scratch.processes import Process
from runbooks_lib.postgres.scratch.storage import write_private

SERVICE_FILE = "pg_service.conf"
PASS_FILE = "pgpass"
API_MODULE = "runbooks_lib.lab.api"
API_LOG = "api.log"
OWN_SERVICE = "lab_leader"  # of a lab for somebody's own project
API_TIMEOUT_S = 30.0
QUIET_PORTS = range(20_000, 30_000)  # below those that systems give out by themselves


def write_service_file(state: State) -> None:
    """Write the libpq services; passwords are in the pass file only."""
    leader, replica = state.leader_port, state.replica_port
    services = {
        "keybuzz_leader": (leader, BACKEND_DATABASE, OPERATOR),
        "keybuzz_replica": (replica, BACKEND_DATABASE, OPERATOR),
        "keybuzz_legacy": (leader, LEGACY_DATABASE, OPERATOR),
        "keybuzz_readonly": (leader, BACKEND_DATABASE, READONLY),
        "keybuzz_admin": (leader, BACKEND_DATABASE, SUPERUSER),
    }
    if state.source:
        services = {
            OWN_SERVICE: (leader, OWN_DATABASE, OWNER),
            "lab_replica": (replica, OWN_DATABASE, OWNER),
            "lab_admin": (leader, OWN_DATABASE, SUPERUSER),
        }
    sections = [
        f"[{name}]\nhost=127.0.0.1\nport={port}\ndbname={database}\nuser={user}\n"
        for name, (port, database, user) in services.items()
    ]
    write_private(state.directory / SERVICE_FILE, "\n".join(sections))


def write_pass_file(state: State, passwords: Mapping[str, str]) -> None:
    """Write the passwords of all roles at both servers, in libpq's form."""
    lines = [
        f"127.0.0.1:{port}:*:{role}:{password}\n"
        for port in (state.leader_port, state.replica_port)
        for role, password in passwords.items()
    ]
    write_private(state.directory / PASS_FILE, "".join(lines))


def quiet_port() -> int:
    """Return a port of 127.0.0.1 where nothing listens, and where nothing soon will by chance."""
    for port in random.sample(QUIET_PORTS, 200):
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise LabError(f"No free port between {QUIET_PORTS.start} and {QUIET_PORTS.stop} on 127.0.0.1.")


def start_api(directory: Path, port: int, keeps: Collection[int] = ()) -> Process:
    """Start the stand-in for keybuzz-api as a process of its own and return at once; it `keeps` descriptors open."""
    with (directory / API_LOG).open("ab") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", API_MODULE, "--port", str(port)],
            cwd=directory,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
            pass_fds=keeps,
            env=own_python(os.environ),
        )
    return Process.of(processes.detached(process))


def find_api(port: int) -> Process | None:
    """Return the stand-in API of this port: for when its starter was killed before writing it down."""
    for pid, line in processes.command_lines().items():
        if line.endswith(f"-m {API_MODULE} --port {port}"):
            return Process.of(pid)
    return None


def wait_for_api(directory: Path, process: Process, port: int) -> None:
    """Wait until the stand-in API takes connections. Raises LabError with the end of its log."""
    deadline = time.monotonic() + API_TIMEOUT_S
    while time.monotonic() < deadline and process.runs():
        if answers(port):
            return
        time.sleep(processes.POLL_S)
    log = (directory / API_LOG).read_text(errors="replace")[-1000:].strip()
    raise LabError(
        f"The stand-in keybuzz-api does not answer on port {port}. Its log ends: {log or '(empty)'}"
    )


def answers(port: int) -> bool:
    """Tell whether something takes connections on this port of 127.0.0.1."""
    with socket.socket() as probe:
        probe.settimeout(2)
        return probe.connect_ex(("127.0.0.1", port)) == 0
