"""A fleet run loses its workers, its scheduler, its client, a server, in the middle of an apply: each database ends
applied exactly once, or is named with its reason, and `fleet resume` completes.

All but the first need minutes: `make faults`.
"""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import psutil
import psycopg
import pytest

from runbooks_lib.execution.fleet.verify import verify_fleet
from runbooks_lib.lab.lab import Lab, running
from runbooks_lib.postgres.queries import query
from runbooks_lib.postgres.script.apply import LOCK_KEY

from ..fleets import GATE, ROLE, WATCHED, Tenants, cluster, folder_of, tenants
from .campaign import fault

PATIENCE_S = 180
TTL_S = 8
DOCS = Path(__file__).parents[2] / "docs" / "fleet.md"


@pytest.fixture
def two(tmp_path: Any) -> Iterator[Tenants]:
    """Two databases, in a lab of the test's own, whose tables wait at the gate and are counted."""
    with running() as lab:
        made = tenants(lab, tmp_path, 2)
        for name in made.names:
            made.ask(name, WATCHED)
        yield made


def until(condition: Callable[[], Any]) -> Any:
    deadline = time.monotonic() + PATIENCE_S
    while not (found := condition()):
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.05)
    return found


def holder(conn: psycopg.Connection[Any]) -> int:
    row = conn.execute(query("lock_holder"), {"key": LOCK_KEY}).fetchone()
    return row[0] if row else 0


@contextmanager
def in_the_middle_of_an_apply(lab: Lab, name: str, command: list[str], env: dict[str, str]) -> Iterator[Any]:
    """Start the command, and run the block while its apply at a database has made its table and not committed."""
    with lab.admin(name) as conn:
        conn.execute("SELECT pg_advisory_lock(%s, 0)", (GATE,))
        process = subprocess.Popen(
            command, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        try:
            rehearsing = until(lambda: holder(conn))
            conn.execute("SELECT pg_advisory_lock(%s, %s)", (GATE, rehearsing))
            conn.execute("SELECT pg_advisory_unlock(%s, 0)", (GATE,))
            until(lambda: holder(conn) not in (0, rehearsing))
            yield process
        except BaseException:
            process.kill()
            process.communicate()
            raise
        finally:
            with suppress(psycopg.OperationalError):  # the server is gone, in one of the tests
                conn.execute("SELECT pg_advisory_unlock_all()")


def applying(two: Tenants, *options: str) -> list[str]:
    plan = two.plan("--workers", "2")
    return two.command(
        "run", two.phase, "--targets", two.folder / "fleet.toml", "--apply", "--confirm", plan["confirmation"],
        *options, "--json",
    )  # fmt: skip


def told(process: subprocess.Popen[str]) -> dict[str, Any]:
    said, err = process.communicate(timeout=PATIENCE_S)
    assert "Traceback" not in err, err
    found: dict[str, Any] = json.loads(said)
    return found


def ended(found: dict[str, Any]) -> dict[str, Any]:
    return {each["place"]["name"]: each["ended"] for each in found["members"]}


def require_once(two: Tenants, found: dict[str, Any]) -> None:
    """Each database is done, and its table was made by one transaction; all of it verifies."""
    assert {each["state"] for each in ended(found).values()} == {"done"}, ended(found)
    assert [two.ask(name, "SELECT name FROM made.log") for name in two.names] == [[("public.invoice",)]] * 2
    assert verify_fleet(folder_of(found)).problems == ()


def carriers(process: psutil.Process) -> list[psutil.Process]:
    return [each for each in alive_below(process) if "runbooks_lib.execution.fleet.carrier" in each.cmdline()]


def alive_below(process: psutil.Process) -> list[psutil.Process]:
    found = []
    for each in process.children(recursive=True):
        with suppress(psutil.Error):
            if each.status() != psutil.STATUS_ZOMBIE:
                found.append(each)
    return found


@fault(
    kind="processes",
    fault="SIGKILL to a fleet's process in the middle of an apply",
    injected="kill -9 of the carrier while its table is made and not committed",
    seen="the worker's pipe ends",
    told="done, at the second attempt",
    goes_on="the fleet goes on by itself",
    fast=True,
)
def test_a_process_that_is_killed_in_the_middle_is_replaced(two: Tenants) -> None:
    command = applying(two, "--workers", "1")
    with in_the_middle_of_an_apply(two.lab, "tenant_0", command, two.env) as process:
        (carrier,) = carriers(psutil.Process(process.pid))
        carrier.kill()
    found = told(process)
    require_once(two, found)
    assert ended(found)["tenant_0"]["attempts"] == 2
    assert ended(found)["tenant_1"]["attempts"] == 1


@fault(
    kind="processes",
    fault="SIGKILL to a dask worker in the middle of an apply",
    injected="kill -9 of the worker whose carrier applies",
    seen="dask loses the worker",
    told="each database done, once",
    goes_on="the fleet goes on by itself",
)
def test_a_cluster_says_the_same_and_a_killed_worker_is_replaced(two: Tenants) -> None:
    here = two.plan("--workers", "2")
    with cluster(two.env) as found:
        there = two.plan("--scheduler", found.address)
        assert same(here) == same(there)
        command = applying(two, "--scheduler", found.address, "--canary", "1")
        with in_the_middle_of_an_apply(two.lab, "tenant_0", command, two.env) as process:
            (worker,) = [each for each in found.processes() if at_work(each)]
            worker.kill()
        require_once(two, told(process))


@fault(
    kind="network",
    fault="a fleet's scheduler wants TLS, and the client has none",
    injected="certificates of dask's own configuration, taken away from the client",
    seen="the connection is refused",
    told="the scheduler does not answer, with its address (exit 3)",
    goes_on="dask's own TLS configuration on the client, then the same command",
)
def test_a_cluster_is_reached_by_tls_alone(two: Tenants, tmp_path: Path) -> None:
    """By dask's own configuration, with certificates as the documentation has them made."""
    (program,) = re.findall(r"```python\n(.*?)```", DOCS.read_text(), re.DOTALL)
    subprocess.run([sys.executable, "-c", program], cwd=tmp_path, check=True)
    common = {"CA_FILE": tmp_path / "ca.pem"}
    for side in ("CLIENT", "SCHEDULER", "WORKER"):
        common |= {f"{side}__CERT": tmp_path / "cert.pem", f"{side}__KEY": tmp_path / "key.pem"}
    plain = two.env
    two.env = {
        **plain,
        "DASK_DISTRIBUTED__COMM__REQUIRE_ENCRYPTION": "true",
        **{f"DASK_DISTRIBUTED__COMM__TLS__{name}": str(path) for name, path in common.items()},
    }
    with cluster(two.env, workers=1) as found:
        assert found.address.startswith("tls://")
        assert two.plan("--scheduler", found.address)["confirmation"]
        two.env = plain
        assert "does not answer" in two.plan("--scheduler", found.address, code=3)["said"]


def same(found: dict[str, Any]) -> Any:
    return [(each["place"], each["ended"]["steps"], each["ended"]["verdict"]) for each in found["members"]]


def at_work(worker: psutil.Process) -> bool:
    """Its carrier has more than the process that forks kernels: a kernel."""
    return any(len(alive_below(carrier)) > 1 for carrier in carriers(worker))


@fault(
    kind="processes",
    fault="SIGSTOP to a dask worker for longer than the scheduler waits",
    injected="SIGSTOP in the middle of an apply, beyond worker-ttl, then SIGCONT",
    seen="the scheduler gives the database to another worker, which finds the lock held",
    told="each database done, once",
    goes_on="the fleet goes on by itself",
)
def test_a_worker_that_is_stopped_beyond_its_time_out_goes_on_and_nobody_applies_again(two: Tenants) -> None:
    with cluster(two.env, ttl=f"{TTL_S}s", nanny=False) as found:
        command = applying(two, "--scheduler", found.address, "--canary", "1")
        with in_the_middle_of_an_apply(two.lab, "tenant_0", command, two.env) as process:
            (worker,) = [each for each in found.processes() if at_work(each)]
            worker.suspend()
            other = [each for each in found.processes() if each.pid != worker.pid]
            until(lambda: any(carriers(each) for each in other))
            time.sleep(TTL_S + 5)
        time.sleep(5)
        worker.resume()
        require_once(two, told(process))


@fault(
    kind="processes",
    fault="SIGKILL to a fleet's scheduler in the middle of an apply",
    injected="kill -9 of the dask scheduler",
    seen="the client loses its connection",
    told="lost, with the reason, exit 4",
    goes_on="`runbooks fleet resume FLEET`",
)
def test_a_killed_scheduler_is_named_and_resume_completes(two: Tenants) -> None:
    with cluster(two.env) as found:
        command = applying(two, "--scheduler", found.address, "--canary", "1")
        with in_the_middle_of_an_apply(two.lab, "tenant_0", command, two.env) as process:
            kill(found.scheduler)
            stopped = told(process)
        assert stopped["exit_code"] == 4
        assert ended(stopped)["tenant_0"]["state"] == "lost"
        assert ended(stopped)["tenant_0"]["reason"]
        assert ended(stopped)["tenant_1"] == {}
        assert verify_fleet(folder_of(stopped)).problems == ()
    require_once(two, two.fleet("resume", stopped["folder"], "--workers", "2"))


def kill(process: subprocess.Popen[bytes] | None) -> None:
    assert process is not None
    process.send_signal(signal.SIGKILL)
    process.wait(10)


@fault(
    kind="processes",
    fault="{number.name} to a fleet's command in the middle of an apply",
    injected="the signal, to the client alone",
    seen="the carriers see that their pipe ends",
    told="exit 130 for Ctrl-C; no carrier stays",
    goes_on="`runbooks fleet resume FLEET`",
)
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_a_client_that_is_gone_leaves_nothing_half_and_resume_completes(two: Tenants, number: int) -> None:
    command = applying(two, "--workers", "2", "--canary", "1")
    with in_the_middle_of_an_apply(two.lab, "tenant_0", command, two.env) as process:
        left = carriers(psutil.Process(process.pid))
        process.send_signal(number)
        process.communicate(timeout=PATIENCE_S)
        psutil.wait_procs(left, PATIENCE_S)
        assert not any(each.is_running() for each in left)
    assert process.returncode == (130 if number == signal.SIGINT else -number)
    (folder,) = [
        each
        for each in (two.runs / "fleets" / "TENANTS").iterdir()
        if '"apply"' in (each / "fleet.json").read_text()
    ]
    require_once(two, two.fleet("resume", folder, "--workers", "2"))


@fault(
    kind="processes",
    fault="a fleet's leader stops in the middle of an apply",
    injected="pg_ctl stop of the leader",
    seen="connections are refused",
    told="each database that is not done, with its reason",
    goes_on="start the server, then `runbooks fleet resume FLEET`",
)
def test_a_server_that_dies_is_named_and_resume_completes(two: Tenants) -> None:
    command = applying(two, "--workers", "1", "--max-failures", "2")
    with in_the_middle_of_an_apply(two.lab, "tenant_0", command, two.env) as process:
        two.lab.leader.stop()
    stopped = told(process)
    assert stopped["exit_code"] != 0
    assert all(each["reason"] for each in ended(stopped).values() if each.get("state") != "done")
    two.lab.leader.start()
    two.lab.leader.wait_ready()
    require_once(two, two.fleet("resume", stopped["folder"], "--workers", "2"))


@fault(
    kind="database",
    fault="a fleet's server has no session left when the fleet begins",
    injected="`ALTER ROLE fleet CONNECTION LIMIT 0`, taken back a moment later",
    seen="the server lets nobody in, and nothing was begun",
    told="which database waits, and the server's words, in the terminal",
    goes_on="the fleet asks again by itself, for a minute",
    fast=True,
)
def test_a_server_without_a_session_left_is_asked_again(two: Tenants) -> None:
    limited(two, 0)
    command = two.command(
        "run", two.phase, "--targets", two.folder / "fleet.toml", "--workers", "1", "--json"
    )
    with subprocess.Popen(
        command, env=two.env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stderr is not None
        said = next(line for line in process.stderr if " waits: " in line)
        limited(two, -1)
        found = told(process)
    assert "too many connections for role" in said
    assert {(each["state"], each["attempts"]) for each in ended(found).values()} == {("done", 1)}
    assert verify_fleet(folder_of(found)).problems == ()


def limited(two: Tenants, sessions: int) -> None:
    with two.lab.admin("postgres") as conn:
        conn.execute(f"ALTER ROLE {ROLE} CONNECTION LIMIT {sessions}".encode())
