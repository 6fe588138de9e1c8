"""The lab for tests: one for the session, and fresh ones for tests that break theirs; and archived runs without one."""

from __future__ import annotations

import json
import os
import secrets
import shutil
import signal
import subprocess
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path
from typing import Any

import psycopg
import pytest

from runbooks_lib.archive.notebooks import notebooks_folder
from runbooks_lib.archive.reader import sha256_of
from runbooks_lib.archive.run import Run
from runbooks_lib.lab.lab import Lab, running
from runbooks_lib.phase import load_phase
from runbooks_lib.postgres.scratch.account import server_account
from runbooks_lib.postgres.scratch.cluster import free_ports
from runbooks_lib.postgres.scratch.processes import POLL_S

from .faults.campaign import Campaign
from .leftovers import MARK, folders, left_behind

PGBOUNCER = shutil.which("pgbouncer") or shutil.which("pgbouncer", path="/usr/sbin:/usr/local/sbin")
IGNORED = "extra_float_digits,options"

EVIDENCE = Path(__file__).parent / "unit" / "evidence"
TABLE = """<style type="text/css">#T_1 td.PASS {{color: #00663d}}</style>
<table id="T_1" class="runbooks"><thead><tr><th class="col_heading level0 col0" >object</th></tr></thead>
<tbody><tr><td class="data row0 col0 PASS" >{}</td></tr></tbody></table>"""


pytest.register_assert_rewrite("tests.browser.desk")  # what failed there is told as in a test

BEFORE = pytest.StashKey[set[Path]]()
LEFT = pytest.StashKey[list[str]]()


def pytest_configure(config: pytest.Config) -> None:
    """Mark everything that descends from this session, workers too, and remember which folders were there before."""
    config.addinivalue_line("markers", "fault(row): the test proves a row of docs/faults.md")
    config.addinivalue_line("markers", "family(ci): CI runs so many of its cases, `make projects` all")
    config.pluginmanager.register(Campaign())
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)  # as a shell's job in the background, too
    if not hasattr(config, "workerinput"):
        os.environ[MARK] = secrets.token_hex(8)
        config.stash[BEFORE] = folders()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Take the browser last: once it is started, Playwright's event loop runs in the main thread until the end.

    Of a large family of cases CI takes some, spread evenly.
    """
    items.sort(key=lambda item: item.path.parent.name == "browser")
    if "RUNBOOKS_TEST_PROJECTS" not in os.environ:
        families = defaultdict[str, list[pytest.Item]](list)
        for item in items:
            if item.get_closest_marker("family"):
                families[item.nodeid.partition("[")[0]].append(item)
        for cases in families.values():
            _keep_some(cases)


def _keep_some(cases: list[pytest.Item]) -> None:
    marker = cases[0].get_closest_marker("family")
    assert marker is not None
    kept = {number * len(cases) // marker.args[0] for number in range(marker.args[0])}
    for number, item in enumerate(cases):
        if number not in kept:
            item.add_marker(pytest.mark.skip(reason="minutes: make projects"))


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    """Fail the session when something is left that it made: its labs are down now, and its workers gone."""
    if BEFORE in session.config.stash:
        session.config.stash[LEFT] = left_behind(session.config.stash[BEFORE])
        if session.config.stash[LEFT]:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Name what is left."""
    for left in config.stash.get(LEFT, []):
        terminalreporter.write_line(f"LEFT BEHIND by the tests: {left}", red=True)


@pytest.fixture(scope="session", autouse=True)
def replays_of_the_tests(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Keep what a test with patched code finds out of the cache of whoever runs the tests: it would be believed."""
    folder = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("runbooks_lib.postgres.scratch.kept_replay.cache_directory", lambda: folder)
        yield


@pytest.fixture(autouse=True)
def signals_as_they_were() -> Iterator[None]:
    """Give signals their handlers back: those of a command that has ended take down the next test that sends one."""
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.fixture(scope="session")
def lab() -> Iterator[Lab]:
    """The session's lab, with its variables in the environment. Do not break it: see `fresh_lab`."""
    with running() as started:
        before = {name: os.environ.get(name) for name in started.env()}
        os.environ.update(started.env())
        try:
            yield started
        finally:
            for name, value in before.items():
                if value is None:
                    os.environ.pop(name, None)
                else:
                    os.environ[name] = value


@pytest.fixture
def fresh_lab(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> Iterator[Lab]:
    """A lab of the test's own, with its variables in the environment.

    The session's lab comes first: its variables, set while these are patched, would be gone with the patch.
    """
    with running() as started:
        for name, value in started.env().items():
            monkeypatch.setenv(name, value)
        yield started


@pytest.fixture(scope="session")
def make_run() -> Callable[..., Run]:
    """A function that makes the folder of a run in an archive, from the evidence in unit/evidence."""
    return _make_run


def _make_run(
    runs: Path,
    *,
    name: str = "20261124T080000Z-000001",
    evidence: str = "applied",
    shown: str = "public.OAuthState",
    notebooks: str = "*",
    change: Callable[[dict[str, Any]], None] = lambda files: None,
) -> Run:
    """Make a run: its notebooks are the shipped ones with the HTML `shown` in the cell of every table,
    those whose names fit the pattern `notebooks`.

    `change` may alter the JSON files, by name, before they are written; a file that it takes out is not written,
    nor is the notebook of that step.
    """
    files = {path.name: json.loads(path.read_text("utf-8")) for path in (EVIDENCE / evidence).glob("*.json")}
    files["run.json"]["id"] = name
    change(files)
    phase = load_phase(files["run.json"]["phase"]["id"])
    folder = runs / phase.id / name
    (folder / "plan").mkdir(parents=True)
    for source in ("phase.toml", phase.baseline.file):
        shutil.copy(phase.folder / source, folder / "plan" / source)
    answers = files.get("02_backup.json", {}).get("answers", {})
    for number, dump in enumerate(answers.get("dump", {}).get("facts", {}).get("dumps", {}).values()):
        (folder / "backup").mkdir(exist_ok=True)
        (folder / "backup" / dump["path"]).write_text(f"-- dump {number}\n", "utf-8")
        dump["sha256"] = sha256_of(folder / "backup" / dump["path"])
    for file, content in files.items():
        (folder / file).write_text(json.dumps(content), "utf-8")
    for notebook in notebooks_folder().glob(f"{notebooks}.ipynb"):
        if notebook.with_suffix(".json").name in files:
            (folder / notebook.name).write_text(_executed(notebook, shown), "utf-8")
    return Run(folder)


def _executed(notebook: Path, shown: str) -> str:
    content = json.loads(notebook.read_text("utf-8"))
    for number, cell in enumerate(c for c in content["cells"] if c["cell_type"] == "code"):
        cell["execution_count"] = number + 1
        if any("show(" in line for line in cell["source"]):
            table = {"text/html": TABLE.format(shown), "text/plain": shown}
            cell["outputs"] = [{"output_type": "display_data", "metadata": {}, "data": table}]
    return json.dumps(content)


@pytest.fixture(scope="session")
def pooler() -> Callable[..., AbstractContextManager[dict[str, str]]]:
    """A function that puts a real PgBouncer before a lab's two servers: `with pooler(lab, "transaction") as env`."""
    return _pooler


@contextmanager
def _pooler(lab: Lab, mode: str, *, ignored: str = IGNORED, more: str = "") -> Iterator[dict[str, str]]:
    """Yield PGSERVICEFILE and PGPASSFILE by which the lab's services lead through PgBouncer in this pool mode."""
    if PGBOUNCER is None:
        pytest.skip("PgBouncer is not installed (Debian: apt-get install pgbouncer)")
    services = Path(lab.env()["PGSERVICEFILE"]).read_text()
    passes = Path(lab.env()["PGPASSFILE"]).read_text()
    users = {tuple(line.split(":", 4)[3:]) for line in passes.splitlines()}
    assert lab.leader.port
    assert lab.replica.port
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="pooler-")))
        account = server_account()
        for port, own in zip((lab.leader.port, lab.replica.port), free_ports(2), strict=True):
            (folder / "users").write_text("".join(f'"{user}" "{password}"\n' for user, password in users))
            ini = folder / f"{port}.ini"
            ini.write_text(
                f"[databases]\n* = host=127.0.0.1 port={port}\n[pgbouncer]\nlisten_addr=127.0.0.1\n"
                f"listen_port={own}\nunix_socket_dir=\nauth_type=plain\nauth_file={folder}/users\n"
                f"pool_mode={mode}\nignore_startup_parameters={ignored}\nlogfile={folder}/{port}.log\n{more}\n"
            )
            for path in (folder, ini, folder / "users"):
                account.own(path)
            process = subprocess.Popen(
                [PGBOUNCER, "-q", str(ini)], cwd=folder, stderr=subprocess.DEVNULL, **account.switch
            )
            stack.callback(process.wait)
            stack.callback(process.kill)
            services = services.replace(f"port={port}\n", f"port={own}\n")
            passes = passes.replace(f"127.0.0.1:{port}:", f"127.0.0.1:{own}:")
            _wait_for_pooler(own, next(iter(users)))
        (folder / "pg_service.conf").write_text(services)
        (folder / "pgpass").write_text(passes)
        (folder / "pgpass").chmod(0o600)
        yield {"PGSERVICEFILE": str(folder / "pg_service.conf"), "PGPASSFILE": str(folder / "pgpass")}


def _wait_for_pooler(port: int, user: tuple[str, ...]) -> None:
    deadline = time.monotonic() + 10
    while True:
        try:
            psycopg.connect(
                host="127.0.0.1", port=port, user=user[0], password=user[1], dbname="postgres"
            ).close()
            return
        except psycopg.OperationalError:
            assert time.monotonic() < deadline, "PgBouncer does not answer"
            time.sleep(POLL_S)
