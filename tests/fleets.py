"""Databases of tenants in a lab, and a phase with a baseline that is to be carried out at each of them."""

from __future__ import annotations

import json
import os
import secrets
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

from runbooks_lib.execution.fleet.folder import FleetFolder
from runbooks_lib.lab.lab import Lab
from runbooks_lib.postgres.scratch.cluster import free_ports

ROLE = "fleet"
PHASE = """\
spec_version = 3
id = "TENANTS"
title = "Tenants: a table more"

[targets]
leader = { service = "tenant", role = "primary", database = "tenant" }

[owners]
default = "fleet"

[baseline]
target = "leader"
file = "baseline.sql"
statement_timeout_ms = 300000

[[tables]]
name = "public.invoice"
rows = 0
"""
BASELINE = """\
CREATE TABLE IF NOT EXISTS public.invoice (
  id integer PRIMARY KEY,
  customer integer NOT NULL,
  paid boolean NOT NULL DEFAULT false
);
CREATE INDEX IF NOT EXISTS invoice_customer ON public.invoice (customer);
"""

# Who creates a table waits while the gate is closed to it, and what was made and committed stands in made.log.
GATE = 8  # class of the advisory locks; the object is the pid that may pass, 0 lets nobody pass
WATCHED = f"""
CREATE SCHEMA made;
CREATE TABLE made.log (name text);
GRANT USAGE ON SCHEMA made TO {ROLE};
GRANT SELECT ON made.log TO {ROLE};
CREATE FUNCTION made.wait() RETURNS event_trigger LANGUAGE plpgsql SECURITY DEFINER AS $$
BEGIN
  WHILE EXISTS (SELECT FROM pg_catalog.pg_locks WHERE locktype = 'advisory' AND granted AND classid = {GATE}
                AND objsubid = 2 AND objid <> pg_catalog.pg_backend_pid()::oid) LOOP
    PERFORM pg_catalog.pg_sleep(0.02);
  END LOOP;
  INSERT INTO made.log SELECT object_identity FROM pg_catalog.pg_event_trigger_ddl_commands()
   WHERE object_type = 'table';
END $$;
CREATE EVENT TRIGGER made ON ddl_command_end WHEN TAG IN ('CREATE TABLE') EXECUTE FUNCTION made.wait();
"""


@dataclass(slots=True, kw_only=True)
class Tenants:
    """Databases tenant_0, tenant_1 …, by turns in each lab, each with a service of its name.

    The control database, in the first lab, lists them.
    """

    labs: tuple[Lab, ...]
    folder: Path
    names: tuple[str, ...]
    env: dict[str, str] = field(default_factory=dict)

    @property
    def lab(self) -> Lab:
        return self.labs[0]

    def lab_of(self, name: str) -> Lab:
        return self.labs[self.names.index(name) % len(self.labs)] if name in self.names else self.lab

    @property
    def phase(self) -> Path:
        return self.folder / "TENANTS" / "phase.toml"

    @property
    def runs(self) -> Path:
        return self.folder / "runs"

    def fleet_file(self, text: str = '[[patterns]]\nservices = "tenant_*"\n') -> Path:
        path = self.folder / "fleet.toml"
        path.write_text(f"spec_version = 1\n{text}")
        return path

    def has_table(self, name: str) -> bool:
        with self.lab_of(name).admin(name) as conn:
            row = conn.execute("SELECT to_regclass('public.invoice') IS NOT NULL").fetchone()
        return bool(row and row[0])

    def ask(self, name: str, question: str) -> Any:
        with self.lab_of(name).admin(name) as conn:
            cursor = conn.execute(question.encode())
            return cursor.fetchall() if cursor.description else None

    def command(self, *arguments: str | Path) -> list[str]:
        return [str(Path(sys.executable).with_name("runbooks")), "fleet", *map(str, arguments)]

    def fleet(self, *arguments: str | Path, code: int | None = 0) -> dict[str, Any]:
        """Run a command of the fleet; return what it says as JSON."""
        done = subprocess.run(
            [*self.command(*arguments), "--json"], env=self.env, capture_output=True, text=True, timeout=500
        )
        assert "Traceback" not in done.stdout + done.stderr, done.stderr
        assert code is None or done.returncode == code, done.stdout + done.stderr
        return json.loads(done.stdout) | {"said": done.stderr} if done.stdout else {"said": done.stderr}

    def plan(self, *options: str | Path, code: int | None = 0) -> dict[str, Any]:
        return self.fleet("run", self.phase, "--targets", self.folder / "fleet.toml", *options, code=code)

    def apply(self, plan: dict[str, Any], *options: str | Path, code: int | None = 0) -> dict[str, Any]:
        return self.plan("--apply", "--confirm", plan["confirmation"], *options, code=code)


def tenants(lab: Lab, folder: Path, number: int, *others: Lab) -> Tenants:
    """Make so many databases, by turns in each lab, a control database in the first, and services for all."""
    password = secrets.token_urlsafe(18)
    names = tuple(f"tenant_{n}" for n in range(number))
    made = Tenants(labs=(lab, *others), folder=folder, names=names)
    for each in made.labs:
        with each.admin("postgres") as conn:
            role = f"CREATE ROLE {ROLE} LOGIN PASSWORD '{password}'; GRANT pg_read_all_stats TO {ROLE}"
            conn.execute(role.encode())
    for name in (*names, "control"):
        with made.lab_of(name).admin("postgres") as conn:
            conn.execute(f"CREATE DATABASE {name} OWNER {ROLE}".encode())
    with lab.admin("control") as conn:
        conn.execute("CREATE TABLE tenants (service text, database text, labels jsonb)")
        conn.execute(f"ALTER TABLE tenants OWNER TO {ROLE}".encode())
        for n, name in enumerate(names):
            conn.execute(
                "INSERT INTO tenants VALUES ('control', %s, %s)",
                (name, json.dumps({"ring": "early" if n == 1 else "late"})),
            )
    services = [
        f"[{name}]\nhost=127.0.0.1\nport={made.lab_of(name).leader.port}\nuser={ROLE}\ndbname={name}\n"
        for name in (*names, "control")
    ]
    (folder / "pg_service.conf").write_text("".join(services))
    (folder / "pgpass").write_text(f"*:*:*:{ROLE}:{password}\n")
    (folder / "pgpass").chmod(0o600)
    (folder / "TENANTS").mkdir()
    (folder / "TENANTS" / "phase.toml").write_text(PHASE)
    (folder / "TENANTS" / "baseline.sql").write_text(BASELINE)
    made.env = {
        **os.environ,
        "PGSERVICEFILE": str(folder / "pg_service.conf"),
        "PGPASSFILE": str(folder / "pgpass"),
        "RUNBOOKS_RUNS": str(made.runs),
    }
    made.fleet_file()
    return made


PRISMA = """\
spec_version = 3
id = "TENANTS"
title = "Tenants: history brought in line"

[targets]
leader = { service = "tenant", role = "primary", database = "tenant" }

[prisma]
target = "leader"
"""
MIGRATIONS = {
    "20260101000000_invoice": "CREATE TABLE invoice (id integer PRIMARY KEY, paid boolean NOT NULL);\n",
    "20260102000000_invoice_paid": "CREATE INDEX invoice_paid ON invoice (paid);\n",
}


def with_prisma(made: Tenants) -> None:
    """Have the phase be about a Prisma project, whose first migration ran at each database and is recorded at none."""
    ours, project = Path(made.lab.env()["RUNBOOKS_PRISMA_PROJECT"]), made.folder / "project"
    shutil.copytree(ours, project, ignore=shutil.ignore_patterns("node_modules", "migrations"))
    (project / "node_modules").symlink_to((ours / "node_modules").resolve())
    for name, script in MIGRATIONS.items():
        (project / "prisma" / "migrations" / name).mkdir(parents=True)
        (project / "prisma" / "migrations" / name / "migration.sql").write_text(script)
    lock = ours / "prisma" / "migrations" / "migration_lock.toml"
    shutil.copy(lock, project / "prisma" / "migrations")
    made.phase.write_text(PRISMA)
    made.env |= {
        "RUNBOOKS_PRISMA_PROJECT": str(project),
        "RUNBOOKS_CACHE": str(made.folder / "cache"),
    }
    first = next(iter(MIGRATIONS.values()))
    for name in made.names:
        made.ask(name, f"SET ROLE {ROLE}; SET search_path = public; {first}")


@contextmanager
def counting(folder: Path) -> Iterator[list[str]]:
    """Give the names of the files that are written in a folder while the block runs, one for each time."""
    seen: set[tuple[str, int]] = set()
    written: list[str] = []
    ended = threading.Event()

    def look() -> None:
        while not ended.wait(0.02):
            for path in folder.glob("*.json"):
                with suppress(OSError):
                    seen.add((path.name, path.stat().st_ino))

    thread = threading.Thread(target=look)
    thread.start()
    try:
        yield written
    finally:
        ended.set()
        thread.join()
        written += [name for name, _ in seen]


# Whoever asks who a server is, or whether somebody is at work there, is no run.
AT_WORK = """
SELECT count(DISTINCT datname), count(*) FROM pg_stat_activity
WHERE usename = %s AND datname LIKE 'tenant%%' AND application_name <> 'runbooks fleet'
"""


@contextmanager
def watching(lab: Lab) -> Iterator[list[int]]:
    """Give how many databases of tenants, and how many sessions there, were at work in a lab's leader at most."""
    most = [0, 0]
    ended = threading.Event()

    def look() -> None:
        with lab.admin("postgres") as conn:
            while not ended.wait(0.02):
                found = conn.execute(AT_WORK, (ROLE,)).fetchone()
                most[:] = map(max, most, found or (0, 0))

    thread = threading.Thread(target=look)
    thread.start()
    try:
        yield most
    finally:
        ended.set()
        thread.join()


def folder_of(told: dict[str, Any]) -> FleetFolder:
    return FleetFolder(Path(told["folder"]))


@contextmanager
def cluster(
    env: dict[str, str], *, workers: int = 2, ttl: str = "300s", nanny: bool = True
) -> Iterator[Cluster]:
    """A dask scheduler and worker processes, each with one thread and a nanny that starts it anew."""
    (port,) = free_ports(1)
    env = {
        **env,
        "DASK_DISTRIBUTED__SCHEDULER__WORKER_TTL": ttl,
        "DASK_DISTRIBUTED__COMM__TIMEOUTS__CONNECT": "5s",
    }
    scheme = "tls" if "DASK_DISTRIBUTED__COMM__TLS__CA_FILE" in env else "tcp"
    found = Cluster(address=f"{scheme}://127.0.0.1:{port}", env=env, nanny=nanny)
    try:
        found.start_scheduler()
        for _ in range(workers):
            found.start_worker()
        found.wait_for(workers)
        yield found
    finally:
        found.end()


@dataclass(slots=True, kw_only=True)
class Cluster:
    """A cluster's processes; `start_scheduler` may be called again after it was killed."""

    address: str
    env: dict[str, str]
    nanny: bool = True
    scheduler: subprocess.Popen[bytes] | None = None
    workers: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def start_scheduler(self) -> None:
        host, port = self.address.split("://")[1].split(":")
        self.scheduler = self._start(
            "scheduler", "--host", self.address.split(":")[0] + "://" + host, "--port", port, "--no-dashboard"
        )
        deadline = time.monotonic() + 60
        while True:
            with suppress(OSError), socket.create_connection((host, int(port)), 1):
                return
            assert self.scheduler.poll() is None
            assert time.monotonic() < deadline, "the scheduler does not listen"
            time.sleep(0.1)

    def wait_for(self, workers: int) -> None:
        wait = "Client(sys.argv[1]).wait_for_workers(int(sys.argv[2]), 90)"
        program = f"import sys; from distributed import Client; {wait}"
        subprocess.run(
            [sys.executable, "-c", program, self.address, str(workers)], env=self.env, check=True, timeout=120
        )

    def start_worker(self) -> None:
        options = ["--nthreads", "1", "--no-dashboard", "--death-timeout", "60"]
        options += [] if self.nanny else ["--no-nanny"]
        self.workers.append(self._start("worker", self.address, *options))

    def _start(self, *arguments: str) -> subprocess.Popen[bytes]:
        command = [str(Path(sys.executable).with_name("dask")), *arguments]
        return subprocess.Popen(
            command,
            env=self.env,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )

    def processes(self) -> list[psutil.Process]:
        """The worker processes themselves, which their nannies start where they have some."""
        if not self.nanny:
            return [psutil.Process(each.pid) for each in self.workers]
        found = []
        for nanny in self.workers:
            with suppress(psutil.NoSuchProcess):
                found += [p for p in psutil.Process(nanny.pid).children() if "spawn" in " ".join(p.cmdline())]
        return found

    def end(self) -> None:
        for process in [*self.workers, *filter(None, [self.scheduler])]:
            with suppress(psutil.NoSuchProcess):
                parent = psutil.Process(process.pid)
                for each in (*parent.children(recursive=True), parent):
                    with suppress(psutil.NoSuchProcess):
                        each.kill()
            process.wait(10)
