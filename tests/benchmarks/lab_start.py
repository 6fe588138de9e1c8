"""A leader with a streaming standby, from nothing: against initdb, pg_basebackup and `pg_ctl --wait`."""

from __future__ import annotations

import secrets
import subprocess
from pathlib import Path

from measure import Figure, clocked, in_pairs

from runbooks_lib.lab.initial_state import leader_template
from runbooks_lib.lab.lab import running
from runbooks_lib.lab.pair import Pair
from runbooks_lib.postgres.binaries import clean_environment
from runbooks_lib.postgres.scratch.cluster import free_ports
from runbooks_lib.postgres.scratch.homes import temporary_home
from runbooks_lib.postgres.scratch.programs import ServerPrograms, find_server
from runbooks_lib.postgres.scratch.storage import write_private


def measure(pairs: int) -> list[Figure]:
    """Return the comparison of the two servers alone, and how long a whole lab takes, up and down."""
    programs = find_server()
    leader_template(programs)  # warm, as it is in every start but the first
    figure = in_pairs(
        "lab start to streaming standby",
        "initdb, pg_basebackup and pg_ctl --wait",
        lambda: _ours(programs),
        lambda: _plain(programs),
        pairs,
    )
    whole = [clocked(_whole_lab)() for _ in range(pairs)]
    figure.more = {"whole_lab_up_and_down_s": [round(each, 3) for each in whole]}
    return [figure]


def _whole_lab() -> None:
    with running():
        pass


def _ours(programs: ServerPrograms) -> float:
    template = leader_template(programs)
    with temporary_home(programs.account, in_memory=True) as home:
        passfile = home / "pgpass"
        write_private(passfile, f"127.0.0.1:*:*:postgres:{template.passwords()['postgres']}\n")
        leader, replica = free_ports(2)
        pair = Pair.of(
            programs=programs, home=home, leader_port=leader, replica_port=replica, passfile=passfile
        )
        try:
            return clocked(lambda: pair.start(template))()
        finally:
            pair.stop()


def _plain(programs: ServerPrograms) -> float:
    with temporary_home(programs.account, in_memory=True) as home:
        try:
            return clocked(lambda: _start_plainly(programs, home))()
        finally:
            for name in ("replica", "leader"):
                _call(
                    programs, home, "pg_ctl", "stop", "-D", str(home / name), "-m", "immediate", check=False
                )


def _start_plainly(programs: ServerPrograms, home: Path) -> None:
    """Do what the documentation of PostgreSQL says, with fsync off as in the lab."""
    password = home / "password"
    write_private(password, secrets.token_urlsafe(18), programs.account)
    leader, replica = str(home / "leader"), str(home / "replica")
    _call(programs, home, "initdb", "--no-sync", "-A", "scram-sha-256", f"--pwfile={password}", "-U", "postgres",
          "-D", leader)  # fmt: skip
    with (home / "leader" / "postgresql.conf").open("a", encoding="utf-8") as file:
        file.write(f"fsync = off\nlisten_addresses = ''\nunix_socket_directories = '{home}'\n")
    _call(programs, home, "pg_ctl", "start", "--wait", "-D", leader, "-l", f"{leader}.log", "-o", "-p 5432")
    source = f"host={home} port=5432 user=postgres password={password.read_text(encoding='utf-8')}"
    _call(programs, home, "pg_basebackup", "-c", "fast", "--no-sync", "-R", "-C", "-S", "slot", "-d", source,
          "-D", replica)  # fmt: skip
    _call(programs, home, "pg_ctl", "start", "--wait", "-D", replica, "-l", f"{replica}.log", "-o", "-p 5433")


def _call(programs: ServerPrograms, home: Path, program: str, *arguments: str, check: bool = True) -> None:
    subprocess.run(
        [str(programs.bindir / program), *arguments],
        cwd=home,
        env=clean_environment(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        check=check,
        **programs.account.switch,
    )
