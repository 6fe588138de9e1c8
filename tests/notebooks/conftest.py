"""An operator who sends cells to a kernel; and two signed runs, a plan and its apply, in a lab with odd passwords:
they hold everything that needs quoting somewhere.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from queue import Empty
from typing import Any

import pytest
from jupyter_client.blocking.client import BlockingKernelClient
from jupyter_client.manager import KernelManager

from runbooks_lib.archive.notebooks import notebooks_folder
from runbooks_lib.archive.seal.keys import generate
from runbooks_lib.lab.lab import Lab, running

RUNBOOKS = Path(sys.executable).with_name("runbooks")
PHASE = "PH15-AMAZON-DB-FOUNDATION-01"
PASSWORDS = {
    "keybuzz_operator": "p@ss/w:rd'\"$é",
    "keybuzz_readonly": "a&b<c>%41 +\\;#?=é€",
    "kb_backend": "tab\\tnot{one}`ü`|!*",
}
TOKEN = "tok/en+'é\"=="  # in the environment, under a name that looks secret


PATIENCE_S = 120


class Operator:
    """A person at a front end, without the front end: sends a notebook's cells to a kernel as JupyterLab does.

    What JupyterLab adds to that, its drawing and its clicks, is tested in tests/browser. `with` ends the kernel.
    """

    def __init__(self, name: str, folder: Path) -> None:
        self.cells = [
            cell
            for cell in json.loads((notebooks_folder() / f"{name}.ipynb").read_text("utf-8"))["cells"]
            if cell["cell_type"] == "code"
        ]
        self.shown: list[dict[str, Any]] = []
        self._seen = 0
        self._folder = folder

    def __enter__(self) -> Operator:
        self._manager = KernelManager(kernel_name="python3")
        self._manager.start_kernel(cwd=str(self._folder))
        self._client: BlockingKernelClient = self._manager.blocking_client()
        self._client.start_channels()
        self._client.wait_for_ready(timeout=PATIENCE_S)
        return self

    def __exit__(self, *_: object) -> None:
        self._client.stop_channels()
        self._manager.shutdown_kernel(now=True)
        self._manager.cleanup_resources()

    def cell(self, text: str) -> int:
        """Return the place of the cell that holds a text."""
        (place,) = [n for n, cell in enumerate(self.cells) if text in "".join(cell["source"])]
        return place

    def run_all(self, *, start: int = 0, changed: dict[int, str] | None = None) -> str | None:
        """Run the cells one by one from `start` on; stop at the first error and return what it says."""
        for place, cell in enumerate(self.cells[start:], start=start):
            source = (changed or {}).get(place, "".join(cell["source"]))
            if said := self.execute(source, cell_id=cell["id"]):
                return said
        return None

    def execute(self, source: str, *, cell_id: str = "", silent: bool = False) -> str | None:
        """Run one cell, as somebody who can answer; return what its error says, None when it ended well."""
        session = self._client.session
        content = {
            "code": source,
            "silent": silent,
            "store_history": not silent,
            "user_expressions": {},
            "allow_stdin": True,
            "stop_on_error": True,
        }
        message = session.msg("execute_request", content, metadata={"cellId": cell_id})
        self._client.shell_channel.send(message)
        return self._listen(message["header"]["msg_id"])

    def form(self, name: str, action: str) -> None:
        """Do something with the form of a decision, as a click would: between two cells."""
        assert self.execute(f"{name}.form.{action}", silent=True) is None

    def see(self, pattern: str) -> str:
        """Wait until what fits a pattern is shown in plain text, after what was seen last; return that one output."""
        deadline = time.monotonic() + PATIENCE_S
        while True:
            while self._seen < len(self.shown):
                said = str(self.shown[self._seen].get("text/plain", ""))
                self._seen += 1
                if re.search(pattern, said):
                    return said
            assert time.monotonic() < deadline, f"{pattern} is not shown; the last that is: {said}"
            with suppress(Empty):
                message = self._client.get_iopub_msg(timeout=1)
                if message["msg_type"] in ("display_data", "update_display_data"):
                    self.shown.append(message["content"]["data"])

    def text(self) -> str:
        """Return everything that was shown as plain text and as Markdown."""
        kinds = ("text/plain", "text/markdown")
        return "\n".join(data.get(kind, "") for data in self.shown for kind in kinds)

    def _listen(self, request: str) -> str | None:
        while True:
            try:
                message = self._client.get_iopub_msg(timeout=PATIENCE_S)
            except Empty as silence:
                raise AssertionError("the kernel says nothing") from silence
            if message["parent_header"].get("msg_id") != request:
                continue
            content = message["content"]
            if message["msg_type"] in ("display_data", "update_display_data"):
                self.shown.append(content["data"])
            elif message["msg_type"] == "status" and content["execution_state"] == "idle":
                return self._stopped(request)

    def _stopped(self, request: str) -> str | None:
        """Return what stopped a cell; a cell that waits for a person shows no error, and stops all the same."""
        while True:
            reply = self._client.get_shell_msg(timeout=PATIENCE_S)
            if reply["parent_header"].get("msg_id") == request:
                content = reply["content"]
                stopped = content["status"] == "error"
                return f"{content['ename']}: {content['evalue']}" if stopped else None


@pytest.fixture(scope="session")
def operator() -> type[Operator]:
    """The class: `with operator("01_preflight", folder) as me: me.run_all()`."""
    return Operator


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
    lab._pair.wait_streaming()
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
