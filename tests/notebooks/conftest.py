"""Two signed runs, a plan and its apply, in a lab whose passwords hold everything that needs quoting somewhere."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from runbooks_lib.archive.keys import generate
from runbooks_lib.lab.lab import Lab, running

RUNBOOKS = Path(sys.executable).with_name("runbooks")
PHASE = "PH15-AMAZON-DB-FOUNDATION-01"
PASSWORDS = {
    "keybuzz_operator": "p@ss/w:rd'\"$é",
    "keybuzz_readonly": "a&b<c>%41 +\\;#?=é€",
    "kb_backend": "tab\\tnot{one}`ü`|!*",
}
TOKEN = "tok/en+'é\"=="  # in the environment, under a name that looks secret


@dataclass(frozen=True, slots=True, kw_only=True)
class OddRuns:
    """What the two runs left: folders, terminal output, command lines seen meanwhile, the servers' logs; the keys."""

    plan: Path
    apply: Path
    terminal: str
    command_lines: str
    server_logs: str
    public: Path
    private: Path
    secrets: tuple[str, ...]


@pytest.fixture(scope="session")
def odd_runs(tmp_path_factory: pytest.TempPathFactory) -> OddRuns:
    """Make the two runs; about thirty seconds."""
    folder = tmp_path_factory.mktemp("odd")
    private, public = generate(folder / "keys")
    with running() as lab:
        change_passwords(lab)
        env = {
            **os.environ,
            **lab.env(),
            "RUNBOOKS_SIGNING_KEY": str(private),
            "KEYBUZZ_API_TOKEN": TOKEN,
        }
        with command_lines() as seen:
            planned = run(env, "--runs", str(folder / "runs"))
            found = re.search(r"--confirm (\S+)", planned)
            assert found, planned
            applied = run(env, "--runs", str(folder / "runs"), "--apply", "--confirm", found[1])
        logs = "".join(c.log.read_text("utf-8", "replace") for c in (lab.leader, lab.replica))
    plan, apply = sorted((folder / "runs" / PHASE).iterdir(), key=lambda path: path.name)
    return OddRuns(
        plan=plan,
        apply=apply,
        terminal=planned + applied,
        command_lines="\n".join(seen),
        server_logs=logs,
        public=public,
        private=private,
        secrets=(*PASSWORDS.values(), TOKEN),
    )


def run(env: dict[str, str], *options: str) -> str:
    """Run the phase to its end; return everything that it printed."""
    done = subprocess.run(
        [str(RUNBOOKS), "run", PHASE, *options],
        env=env,
        capture_output=True,
        encoding="utf-8",
        timeout=180,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def change_passwords(lab: Lab) -> None:
    """Give the roles other passwords, in the servers and in the pass file; wait until the standby has them."""
    with lab.admin("postgres") as conn:
        for role, password in PASSWORDS.items():
            verifier = conn.pgconn.encrypt_password(password.encode(), role.encode(), b"scram-sha-256")
            conn.execute(f"ALTER ROLE {role} PASSWORD '{verifier.decode()}'")
        deadline = time.monotonic() + 30
        while conn.execute(
            "SELECT count(*) FROM pg_stat_replication WHERE replay_lsn >= pg_current_wal_lsn()"
        ).fetchone() != (1,):
            assert time.monotonic() < deadline
            time.sleep(0.05)
    path = Path(lab.env()["PGPASSFILE"])
    lines = [line.split(":") for line in path.read_text("utf-8").splitlines()]
    for fields in lines:
        if fields[3] in PASSWORDS:
            fields[4:] = [PASSWORDS[fields[3]].replace("\\", "\\\\").replace(":", "\\:")]
    path.write_text("".join(":".join(fields) + "\n" for fields in lines), "utf-8")


@contextmanager
def command_lines() -> Iterator[set[str]]:
    """Collect the command lines of every process that runs meanwhile."""
    seen: set[str] = set()
    done = threading.Event()

    def look() -> None:
        while not done.wait(0.01):
            for path in Path("/proc").glob("[0-9]*/cmdline"):
                try:
                    seen.add(path.read_bytes().replace(b"\0", b" ").decode("utf-8", "replace"))
                except (FileNotFoundError, ProcessLookupError):
                    continue  # it ended while we looked

    watcher = threading.Thread(target=look)
    watcher.start()
    try:
        yield seen
    finally:
        done.set()
        watcher.join()
