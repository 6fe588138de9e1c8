"""The lab's life: starting, sharing a machine, breaking, being killed, and leaving nothing behind."""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import pytest

import runbooks_lib
from runbooks_lib.errors import LabError, PreconditionFailed
from runbooks_lib.lab import lab as lab_module
from runbooks_lib.lab import registry, services
from runbooks_lib.lab.initial_state import leader_template
from runbooks_lib.lab.lab import API_STOPPING, Lab, find, running, sweep, up
from runbooks_lib.postgres import binaries
from runbooks_lib.postgres.scratch import processes
from runbooks_lib.postgres.scratch.cluster import Cluster, PortTaken, free_ports
from runbooks_lib.postgres.scratch.homes import sweep_homes, temporary_home
from runbooks_lib.postgres.scratch.programs import find_server
from runbooks_lib.postgres.scratch.scratch import scratch
from runbooks_lib.postgres.scratch.storage import choose_home

from ..faults.campaign import fault

PACKAGE_ROOT = Path(runbooks_lib.__file__).parent.parent
KEEP_RUNNING = """
import sys, time
from pathlib import Path
from runbooks_lib.lab.lab import running
with running(Path(sys.argv[1])) as lab:
    print(lab.leader.home, flush=True)
    time.sleep(60)
"""
UP = """
import sys
from pathlib import Path
from runbooks_lib.lab.lab import up
print(up(Path(sys.argv[1])).leader.home, flush=True)
"""


def processes_in(*folders: Path) -> list[str]:
    """Return the command line of every process that lives in, or was started with, these folders."""
    found = []
    for process in psutil.process_iter(["cmdline", "cwd"]):
        text = [process.info["cwd"] or "", *(process.info["cmdline"] or [])]
        if any(part == str(folder) or f"{folder}/" in part for part in text for folder in folders):
            found.append(" ".join(text))
    return found


def wait_until(condition: Callable[[], object], what: str, timeout_s: float = 20.0) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, f"not within {timeout_s} s: {what}"
        time.sleep(0.005)


def child(code: str, *arguments: str) -> subprocess.Popen[str]:
    """Start Python with `code` in a process group of its own."""
    return subprocess.Popen(
        [sys.executable, "-c", code, *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def first_line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    line = process.stdout.readline().strip()
    assert line, process.communicate()[1]
    return line


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """The path of a lab that is taken down after the test, whatever the test did."""
    yield tmp_path / "lab"
    if (left := find(tmp_path / "lab")) is not None:
        left.down()


@pytest.fixture
def own_registry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A registry of labs of the test's own; template and npm's packages come from the real cache."""
    cache = registry.cache_directory()
    own = tmp_path / "cache"
    own.mkdir(mode=0o700)
    leader_template(find_server())  # so that there are templates
    (own / "templates").symlink_to(cache / "templates")
    for entry in cache.iterdir():
        if entry.name not in ("labs", "lab", "templates"):
            (own / entry.name).symlink_to(entry)
    monkeypatch.setenv("RUNBOOKS_CACHE", str(own))
    return own


# -- up and down -------------------------------------------------------------------


def test_down_leaves_no_process_and_no_folder(folder: Path) -> None:
    lab = up(folder, owner_pid=os.getpid())
    home = lab.leader.home
    assert len(processes_in(home, folder)) >= 10  # two servers with their processes, the API
    lab.down()
    assert processes_in(home, folder) == []
    assert not home.exists()
    assert not folder.exists()
    assert find(folder) is None
    assert not registry.registry_entry(folder).exists()
    lab.down()  # a second time changes nothing


def test_up_returns_the_lab_that_runs(folder: Path) -> None:
    first = up(folder, owner_pid=os.getpid())
    second = up(folder, owner_pid=os.getpid())
    assert (second.leader.pid(), second.env()) == (first.leader.pid(), first.env())
    found = find(folder)
    assert found is not None
    assert found.env() == first.env()
    with running(folder) as used:
        assert used.leader.pid() == first.leader.pid()
    assert first.leader.is_ready()  # who only used it has not taken it down


def test_two_labs_side_by_side(lab: Lab, fresh_lab: Lab) -> None:
    assert not set(lab.env().values()) & set(fresh_lab.env().values())
    with fresh_lab.admin("keybuzz") as connection:
        connection.execute("DROP TABLE tenants")
    with lab.admin("keybuzz") as connection:
        assert connection.execute("SELECT count(*) FROM tenants").fetchone() == (2,)
    with lab.admin("postgres") as one, fresh_lab.admin("postgres") as other:
        assert one.info.port != other.info.port


def test_two_starts_at_once_in_one_folder_make_one_lab(folder: Path) -> None:
    with ThreadPoolExecutor() as pool:
        labs = list(pool.map(lambda _: up(folder, owner_pid=os.getpid()), range(2)))
    assert labs[0].leader.home == labs[1].leader.home


def test_a_template_built_twice_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RUNBOOKS_CACHE", str(tmp_path / "cache"))
    programs = find_server()
    with ThreadPoolExecutor() as pool:
        first, second = pool.map(lambda _: leader_template(programs), range(2))
    assert first == second
    assert [path.name for path in first.data.parent.parent.iterdir()] == [first.data.parent.name]
    assert first.passwords_file.stat().st_mode & 0o777 == 0o600
    assert first.data.stat().st_mode & 0o777 == 0o700


def test_a_folder_of_somebody_else_is_refused_and_kept(folder: Path) -> None:
    folder.mkdir()
    (folder / "letter.txt").write_text("dear")
    with pytest.raises(LabError, match="holds something that is not a lab"):
        up(folder, owner_pid=os.getpid())
    assert [path.name for path in folder.iterdir()] == ["letter.txt"]


def test_a_strangers_file_in_the_lab_stays(folder: Path) -> None:
    lab = up(folder, owner_pid=os.getpid())
    (folder / "letter.txt").write_text("dear")
    lab.down()
    assert [path.name for path in folder.iterdir()] == ["letter.txt"]


def test_a_lab_whose_folder_was_deleted_is_ended(folder: Path, own_registry: Path) -> None:
    home = up(folder, owner_pid=os.getpid()).leader.home
    shutil.rmtree(folder)
    assert sweep() == (folder,)
    assert processes_in(home, folder) == []
    assert not home.exists()


def stop_replica(lab: Lab) -> None:
    lab.replica.stop()


def stop_api(lab: Lab) -> None:
    api = services.find_api(int(lab.env()["KEYBUZZ_API_URL"].rpartition(":")[2]))
    assert api is not None
    assert api.end(API_STOPPING)


def test_parts_stop_and_start(fresh_lab: Lab) -> None:
    fresh_lab.replica.stop()
    stop_api(fresh_lab)
    states = {row.what: row.state for row in fresh_lab.status()}
    assert (states["leader"], states["replica"], states["keybuzz-api"]) == ("ready", "stopped", "stopped")
    with fresh_lab.admin("keybuzz_backend") as connection:
        connection.execute("CREATE TABLE later (i int)")
    fresh_lab.replica.start()
    fresh_lab.replica.wait_ready()
    with fresh_lab.replica.connect("keybuzz_backend", passfile=fresh_lab.env()["PGPASSFILE"]) as connection:
        arrived = "SELECT to_regclass('later') IS NOT NULL"
        wait_until(lambda: connection.execute(arrived).fetchone() == (True,), "what the leader did arrives")


# -- broken, killed, interrupted -----------------------------------------------------


def break_leader(lab: Lab) -> None:
    pid = lab.leader.pid()
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    wait_until(lambda: not lab.leader.is_running(), "the leader ends")


@pytest.mark.parametrize("break_it", [break_leader, stop_replica, stop_api])
def test_a_half_dead_lab_is_started_anew(folder: Path, break_it: Callable[[Lab], None]) -> None:
    broken = up(folder, owner_pid=os.getpid())
    break_it(broken)
    whole = up(folder, owner_pid=os.getpid())
    assert whole.leader.home != broken.leader.home
    assert not broken.leader.home.exists()
    assert processes_in(broken.leader.home) == []
    assert {row.what: row.state for row in whole.status()}["replica"] == "streaming"


def kill_all(owner: subprocess.Popen[str]) -> None:
    """SIGKILL a process and what is to sweep after it."""
    watchers = [each for each in psutil.Process(owner.pid).children() if each.name() == "sh"]
    assert watchers
    for each in (*watchers, owner):
        each.kill()


@fault(
    kind="processes",
    fault="SIGKILL to whoever runs a lab for as long as it lives",
    injected="kill -9 of the process group",
    seen="a shell outside of the group waits at a pipe, which the system closes",
    told="nothing: its servers are ended and its folders deleted at once",
    goes_on="nothing has to be done",
    fast=True,
)
def test_the_lab_of_a_killed_process_is_gone_at_once(folder: Path) -> None:
    with child(KEEP_RUNNING, str(folder)) as owner:
        home = Path(first_line(owner))
        assert processes_in(home)
        os.killpg(owner.pid, signal.SIGKILL)
    wait_until(lambda: not folder.exists() and find(folder) is None, "the lab is taken down")
    assert processes_in(home, folder) == []
    assert not home.exists()


def test_the_lab_of_a_killed_process_is_swept_by_the_next_start(folder: Path, tmp_path: Path) -> None:
    with child(KEEP_RUNNING, str(folder)) as owner:
        home = Path(first_line(owner))
        assert sweep() == ()  # its owner lives
        kill_all(owner)
    assert processes_in(home)
    up(tmp_path / "other", owner_pid=os.getpid()).down()
    assert processes_in(home, folder) == []
    assert not home.exists()
    assert not folder.exists()


def test_a_lab_without_owner_outlives_its_starter(folder: Path) -> None:
    with child(UP, str(folder)) as starter:
        home = Path(first_line(starter))
    assert starter.returncode == 0
    assert sweep() == ()
    lab = find(folder)
    assert lab is not None
    assert lab.leader.home == home
    assert lab.leader.is_ready()


def test_a_number_given_out_again_is_not_believed() -> None:
    me = processes.Process.of(os.getpid())
    assert me.runs()
    assert not processes.Process(pid=me.pid, started="boot/1").runs()
    with subprocess.Popen(["true"]) as ended:
        ended.wait()
    assert not processes.Process.of(ended.pid).runs()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
@pytest.mark.parametrize("moment", ["while starting", "while running"])
def test_interrupted(folder: Path, number: signal.Signals, moment: str) -> None:
    with child(KEEP_RUNNING, str(folder)) as process:
        running_home = Path(first_line(process)) if moment == "while running" else None
        home = running_home or started_home(folder, process)
        process.send_signal(number)
        process.communicate(timeout=30)
    assert process.returncode in (-number, 130, 128 + number)
    assert processes_in(folder, home) == []
    assert not folder.exists()
    assert not home.exists()


def started_home(folder: Path, process: subprocess.Popen[str]) -> Path:
    """Wait until the process that starts a lab has made its servers' folder, and return that."""

    def home() -> Path | None:
        assert process.poll() is None, process.communicate()[1]
        found = registry.load(folder)
        return found.home if found and found.home.exists() else None

    wait_until(home, "the servers' folder is made")
    made = home()
    assert made is not None
    return made


@pytest.mark.parametrize("delay_s", [0.0, 0.03, 0.1])
def test_killed_while_starting(folder: Path, delay_s: float, own_registry: Path) -> None:
    with child(KEEP_RUNNING, str(folder)) as process:
        home = started_home(folder, process)
        time.sleep(delay_s)
        process.kill()
    wait_until(lambda: find(folder) is None, "the lab is swept")
    assert processes_in(folder, home) == []
    assert not folder.exists()
    assert not home.exists()


def test_a_start_that_fails_leaves_nothing(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(services, "API_TIMEOUT_S", 0.0)
    homes: list[Path] = []

    def choose(*arguments: object, **options: bool) -> Path:
        homes.append(choose_home(*arguments, **options))
        return homes[-1]

    monkeypatch.setattr(lab_module, "choose_home", choose)
    with pytest.raises(LabError, match="stand-in keybuzz-api does not answer"):
        up(folder, owner_pid=os.getpid())
    assert not folder.exists()
    assert processes_in(folder, *homes) == []
    assert [home.exists() for home in homes] == [False]


# -- clusters ------------------------------------------------------------------------


def test_a_port_that_was_taken_is_told_apart() -> None:
    programs = find_server()
    with (
        temporary_home(programs.account, in_memory=True) as home,
        socket.create_server(("127.0.0.1", 0)) as other,
    ):
        cluster = Cluster(programs=programs, home=home, name="late", port=other.getsockname()[1])
        cluster.initdb("secret-of-late")
        cluster.configure()
        cluster.start()
        with pytest.raises(PortTaken, match="late ended while starting"):
            cluster.wait_ready()


def test_scratch_is_reached_by_its_socket_and_gone_afterwards() -> None:
    with scratch() as copy:
        with copy.connect("postgres") as connection:
            assert connection.execute("SHOW listen_addresses").fetchone() == {"listen_addresses": ""}
        assert copy.password not in repr(copy)
    assert not copy.cluster.home.exists()
    assert processes_in(copy.cluster.home) == []


SCRATCH = """
import time
from runbooks_lib.postgres.scratch.scratch import scratch
with scratch() as copy:
    print(copy.cluster.home, flush=True)
    time.sleep(60)
"""


@fault(
    kind="processes",
    fault="SIGKILL to whoever has a scratch server",
    injected="kill -9 of the process group, while the server runs in its enclosure",
    seen="a shell outside of the group waits at a pipe, which the system closes",
    told="nothing: the server is ended and its folder deleted at once",
    goes_on="nothing has to be done",
    fast=True,
)
def test_the_scratch_of_a_killed_process_is_gone_at_once() -> None:
    """No command of ours has to be started for that: the next one may come hours later, or never."""
    with child(SCRATCH) as owner:
        home = Path(first_line(owner))
        assert processes_in(home)
        os.killpg(owner.pid, signal.SIGKILL)
        wait_until(
            lambda: not home.exists(), "its home is deleted"
        )  # its parent has not yet asked how it ended
    assert processes_in(home) == []


def test_the_scratch_of_a_killed_process_is_swept() -> None:
    with child(SCRATCH) as owner:
        home = Path(first_line(owner))
        sweep_homes()
        assert processes_in(home)  # its owner lives
        kill_all(owner)
    assert processes_in(home)
    sweep_homes()
    assert processes_in(home) == []
    assert not home.exists()


def test_initdb_that_fails_is_an_error_in_its_own_words() -> None:
    programs = find_server()
    with temporary_home(programs.account, in_memory=True) as home:
        cluster = Cluster(programs=programs, home=home, name="full")
        cluster.data.mkdir()
        (cluster.data / "file").touch()
        programs.account.own(cluster.data)
        with pytest.raises(LabError, match="exists but is not empty"):
            cluster.initdb("secret-of-full")
        assert not list(home.glob("*.password"))


def test_no_server_programs(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv(binaries.ENV_BINDIR, raising=False)
    monkeypatch.setattr(binaries, "DEBIAN_ROOT", tmp_path)
    monkeypatch.setattr(binaries, "WHEEL", "no_such_package")
    with pytest.raises(PreconditionFailed, match="were found on this machine"):
        find_server()


def test_the_lab_on_the_systems_own_postgresql(monkeypatch: pytest.MonkeyPatch) -> None:
    installed = [place for place in binaries.from_debian() if place.has("initdb", "postgres")]
    if not installed:
        pytest.skip("no PostgreSQL below /usr/lib/postgresql on this machine")
    monkeypatch.setenv(binaries.ENV_BINDIR, str(installed[0].bindir))
    with running() as lab:
        assert lab.leader.programs.bindir == installed[0].bindir
        with lab.admin("keybuzz_backend") as connection:
            connection.execute("SET SESSION AUTHORIZATION keybuzz_operator")
            right = "SELECT has_table_privilege('\"OAuthState\"', 'DELETE')"
            assert connection.execute(right).fetchone() == (False,)
            connection.execute("SET ROLE kb_backend")
            assert connection.execute(right).fetchone() == (True,)


# -- accounts ------------------------------------------------------------------------

AS_NOBODY = """
import os
from runbooks_lib.lab import lab as module
module.install_project = lambda project: None  # npm's packages are no matter of accounts
with module.running() as lab:
    with lab.admin("keybuzz_backend") as connection:
        print(os.geteuid(), connection.execute('SELECT count(*) FROM "OAuthState"').fetchone()[0], lab.leader.home)
"""


@pytest.fixture
def nobody_home() -> Iterator[Path]:
    """A home directory of the account `nobody`."""
    nobody = pwd.getpwnam("nobody")
    home = Path(tempfile.mkdtemp(prefix="nobody-"))
    os.chown(home, nobody.pw_uid, nobody.pw_gid)
    yield home
    shutil.rmtree(home)


def run_as_nobody(python: str, code: str, home: Path) -> subprocess.CompletedProcess[str]:
    """Run `code` as `nobody`; the packages are those of the running Python."""
    nobody = pwd.getpwnam("nobody")
    packages = os.pathsep.join([str(PACKAGE_ROOT), *(p for p in sys.path if p.endswith("site-packages"))])
    return subprocess.run(
        [python, "-W", "error", "-c", code],
        cwd=home,
        env={"PATH": os.environ["PATH"], "HOME": str(home), "PYTHONPATH": packages},
        capture_output=True,
        text=True,
        user=nobody.pw_uid,
        group=nobody.pw_gid,
        extra_groups=[],
    )


def python_for_nobody(home: Path) -> str:
    """Return a Python of our version that `nobody` can run; skip the test when there is none."""
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    for python in (sys.executable, f"/usr/bin/{version}", f"/usr/local/bin/{version}"):
        with contextlib.suppress(OSError):
            if run_as_nobody(python, "import psycopg, runbooks_lib", home).returncode == 0:
                return python
    pytest.skip(f"nobody can run neither {sys.executable} nor another {version} with our packages")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can start a lab as somebody else")
def test_as_an_ordinary_user(nobody_home: Path) -> None:
    ran = run_as_nobody(python_for_nobody(nobody_home), AS_NOBODY, nobody_home)
    assert ran.returncode == 0, ran.stderr
    uid, count, servers = ran.stdout.split()
    assert (int(uid), count) == (pwd.getpwnam("nobody").pw_uid, "5")
    assert not Path(servers).exists()
    assert (nobody_home / ".cache" / "runbooks" / "templates").is_dir()


@pytest.mark.skipif(os.geteuid() != 0, reason="an ordinary user's servers run as that user")
def test_programs_below_a_closed_folder_are_copied_for_the_servers_account(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = next(place for place in binaries.from_wheel() if place.has("initdb", "postgres"))
    package = place.bindir.parent.parent
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    for name in (package.name, f"{package.name}.libs"):
        shutil.copytree(package.parent / name, closed / name, symlinks=True)
    monkeypatch.setenv(binaries.ENV_BINDIR, str(closed / package.name / "pginstall" / "bin"))
    shared = Path(tempfile.mkdtemp(prefix="open-"))
    shared.chmod(0o755)
    monkeypatch.setenv("RUNBOOKS_CACHE", str(shared))
    try:
        programs = find_server()
        assert programs.bindir.is_relative_to(shared)
        assert find_server() == programs  # and not copied again
        with scratch(programs) as copy, copy.connect("postgres") as session:
            assert session.execute("SELECT 1 AS one").fetchone() == {"one": 1}
    finally:
        shutil.rmtree(shared)


def test_a_signal_that_is_not_heard_is_followed_by_a_harder_one() -> None:
    with subprocess.Popen(["sh", "-c", "trap '' TERM; echo; sleep 60"], stdout=subprocess.PIPE) as deaf:
        assert deaf.stdout is not None
        deaf.stdout.readline()
        signals = ((signal.SIGTERM, 0.05), (signal.SIGKILL, 5.0))
        assert processes.end(deaf.pid, lambda: deaf.poll() is None, by=signals)
    assert deaf.returncode == -signal.SIGKILL


def test_a_port_taken_meanwhile_is_replaced(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        taken = other.getsockname()[1]
        answers = [(taken, *free_ports(2)), free_ports(3)]
        monkeypatch.setattr(lab_module, "free_ports", lambda count: answers.pop(0))
        assert up(folder, owner_pid=os.getpid()).leader.port != taken
    assert answers == []
