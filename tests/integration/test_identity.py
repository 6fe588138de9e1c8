"""Which server is it, and whose standby? Copies of a server have its numbers; real ones are made here."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from runbooks_lib.errors import ConnectionFailed
from runbooks_lib.findings import Answer, Verdict
from runbooks_lib.lab.initial_state import REPLICATION
from runbooks_lib.lab.lab import Lab
from runbooks_lib.phase import Target, load_phase
from runbooks_lib.postgres.binaries import clean_environment
from runbooks_lib.postgres.scratch.cluster import Cluster, free_ports
from runbooks_lib.postgres.scratch.storage import write_private
from runbooks_lib.postgres.session.connect import Sessions
from runbooks_lib.steps import preflight

PHASE = load_phase("PH15-AMAZON-DB-FOUNDATION-01")
Copies = Callable[..., Cluster]


@pytest.fixture
def copies(fresh_lab: Lab, monkeypatch: pytest.MonkeyPatch) -> Iterator[Copies]:
    """A function that makes and starts a copy of a server of the lab: a primary, promoted or not, or a standby.

    `service` leads there afterwards.
    """
    made: list[Cluster] = []

    def copy(
        service: str, *, of: Cluster, promoted: bool = False, standby_of: Cluster | None = None
    ) -> Cluster:
        cluster = Cluster(programs=of.programs, home=of.home, name=f"copy_{len(made)}", port=free_ports(1)[0])
        line = next(
            line
            for line in Path(fresh_lab.env()["PGPASSFILE"]).read_text().splitlines()
            if ":postgres:" in line
        )
        subprocess.run(
            [of.programs.bindir / "pg_basebackup", "-h", "127.0.0.1", "-p", str(of.port), "-U", "postgres",
             "-c", "fast", "-X", "stream", "-D", cluster.data],
            env=clean_environment({"PGPASSWORD": line.split(":", 4)[4]}), check=True, capture_output=True,
            **of.programs.account.switch,
        )  # fmt: skip
        (cluster.data / "standby.signal").unlink(missing_ok=True)
        settings = {**REPLICATION, "primary_conninfo": "", "primary_slot_name": ""}
        if standby_of:
            settings["primary_conninfo"] = (
                f"host=127.0.0.1 port={standby_of.port} user=postgres password='{line.split(':', 4)[4]}'"
            )
            settings["primary_slot_name"] = cluster.name
            with standby_of.connect("postgres", passfile=passfile()) as admin:
                admin.execute("SELECT pg_create_physical_replication_slot(%s, true)", (cluster.name,))
        if promoted or standby_of:
            write_private(cluster.data / "standby.signal", "", of.programs.account)
        cluster.configure(settings)
        cluster.start()
        made.append(cluster)
        cluster.wait_ready()
        passes = Path(passfile())
        passes.write_text(passes.read_text() + f"127.0.0.1:{cluster.port}:*:keybuzz_operator:{operator(fresh_lab)}\n"
                          f"127.0.0.1:{cluster.port}:*:postgres:{line.split(':', 4)[4]}\n")  # fmt: skip
        if promoted:
            with cluster.connect("postgres", passfile=passfile()) as admin:
                admin.execute("SELECT pg_promote(true, 30)")
        lead(fresh_lab, service, cluster)
        return cluster

    def passfile() -> str:
        return fresh_lab.env()["PGPASSFILE"]

    yield copy
    for cluster in reversed(made):
        cluster.stop()


def operator(lab: Lab) -> str:
    lines = Path(lab.env()["PGPASSFILE"]).read_text().splitlines()
    return next(line.split(":", 4)[4] for line in lines if ":keybuzz_operator:" in line)


def lead(lab: Lab, service: str, cluster: Cluster) -> None:
    """Let a service lead to a cluster."""
    path = Path(lab.env()["PGSERVICEFILE"])
    head, rest = path.read_text().split(f"[{service}]\n")
    before, _, after = rest.partition("port=")
    path.write_text(f"{head}[{service}]\n{before}port={cluster.port}\n{after.split(chr(10), 1)[1]}")


def ask(question: Callable[..., Answer], targets: Mapping[str, Target] = PHASE.targets) -> Answer:
    with Sessions(targets, application_name="runbooks test") as sessions:
        return question(replace(PHASE, targets=targets), sessions)


def judged(answer: Answer, check: str, target: str = "replica") -> tuple[Verdict, str]:
    (finding,) = [f for f in answer.findings if (f.check, f.target) == (check, target)]
    return finding.verdict, f"{finding.have} {finding.hint}"


def test_a_standby_is_its_primarys(lab: Lab) -> None:
    assert judged(ask(preflight.targets), "standby_is_of_primary")[0] is Verdict.PASS


def verdicts_of_lag(answer: Answer) -> set[Verdict]:
    """Return all verdicts but that of a bound that the phase does not declare."""
    undeclared = [f for f in answer.findings if f.check == "replication_lag_is"]
    assert {f.verdict for f in undeclared} <= {Verdict.SKIP}
    return {f.verdict for f in answer.findings if f not in undeclared}


def test_a_promoted_copy_has_no_standby_in_its_originals(fresh_lab: Lab, copies: Copies) -> None:
    """Same system_identifier, same rows: only timeline, address and connection tell them apart."""
    copies("keybuzz_leader", of=fresh_lab.leader, promoted=True)
    verdict, said = judged(ask(preflight.targets), "standby_is_of_primary")
    assert verdict is Verdict.FAIL
    assert "it receives timeline 1" in said
    assert f"it receives from 127.0.0.1:{fresh_lab.leader.port}" in said
    answer = ask(preflight.replication)
    assert verdicts_of_lag(answer) == {Verdict.ERROR}
    with (
        Sessions(PHASE.targets) as sessions,
        pytest.raises(ConnectionFailed, match="no standby of target leader"),
    ):
        sessions.read("replica")


def test_a_copy_on_the_same_timeline_has_none_either(fresh_lab: Lab, copies: Copies) -> None:
    copy = copies("keybuzz_leader", of=fresh_lab.leader)
    verdict, said = judged(ask(preflight.targets), "standby_is_of_primary")
    assert verdict is Verdict.FAIL, said
    with copy.connect("postgres", passfile=fresh_lab.env()["PGPASSFILE"]) as admin:
        (timeline,) = admin.execute("SELECT timeline_id FROM pg_control_checkpoint()").fetchone() or (0,)
    assert timeline == 1


def test_each_standby_is_that_of_the_primary_that_feeds_it(fresh_lab: Lab, copies: Copies) -> None:
    original = fresh_lab.leader
    copy = copies("keybuzz_leader", of=original)
    copies("keybuzz_replica", of=copy, standby_of=copy)
    wait_streaming(copy, fresh_lab)
    assert judged(ask(preflight.targets), "standby_is_of_primary")[0] is Verdict.PASS
    lead(fresh_lab, "keybuzz_leader", original)
    verdict, said = judged(ask(preflight.targets), "standby_is_of_primary")
    assert verdict is Verdict.FAIL
    assert f"it receives from 127.0.0.1:{copy.port}" in said
    lead(fresh_lab, "keybuzz_leader", copy)
    lead(fresh_lab, "keybuzz_replica", fresh_lab.replica)
    assert judged(ask(preflight.targets), "standby_is_of_primary")[0] is Verdict.FAIL


def cascade(lab: Lab, copies: Copies) -> Cluster:
    """Let the service of the replica lead to a standby that streams from the lab's standby; return that one."""
    below = copies("keybuzz_replica", of=lab.leader, standby_of=lab.replica)
    wait_streaming(lab.replica, lab)
    return below


def between(lab: Lab, port: int) -> dict[str, Target]:
    """Return the phase's targets and one more, `between`, whose service leads to a port of this machine."""
    path = Path(lab.env()["PGSERVICEFILE"])
    section = path.read_text().split("[keybuzz_replica]\n")[1].split("[")[0]
    old = next(line for line in section.splitlines() if line.startswith("port="))
    path.write_text(path.read_text() + f"\n[between]\n{section.replace(old, f'port={port}')}")
    return {**PHASE.targets, "between": replace(PHASE.targets["replica"], name="between", service="between")}


def test_a_standby_may_stream_from_another_one(fresh_lab: Lab, copies: Copies) -> None:
    """Its sender is a standby of the same primary, which the phase names too."""
    assert fresh_lab.replica.port
    cascade(fresh_lab, copies)
    targets = between(fresh_lab, fresh_lab.replica.port)
    answer = ask(preflight.targets, targets)
    assert judged(answer, "standby_is_of_primary", "replica")[0] is Verdict.PASS
    assert "replica <- between <- leader" in judged(answer, "standby_is_of_primary", "replica")[1]
    assert judged(answer, "standby_is_of_primary", "between")[0] is Verdict.PASS
    assert verdicts_of_lag(ask(preflight.replication, targets)) == {Verdict.PASS}


@pytest.mark.parametrize(
    "declared", [True, False], ids=["the one between does not answer", "nor is declared"]
)
def test_a_standby_of_nobody_known_cannot_be_told(fresh_lab: Lab, copies: Copies, declared: bool) -> None:
    cascade(fresh_lab, copies)
    targets = between(fresh_lab, free_ports(1)[0]) if declared else PHASE.targets
    verdict, said = judged(ask(preflight.targets, targets), "standby_is_of_primary", "replica")
    assert verdict is Verdict.OPEN
    assert f"cannot be told: it receives from 127.0.0.1:{fresh_lab.replica.port}" in said
    assert "add it to the phase's targets" in said


def test_a_line_of_standbys_that_ends_at_a_copy_is_none(fresh_lab: Lab, copies: Copies) -> None:
    """The standby between is in recovery and of the same system: its own sender is the original, not the leader."""
    assert fresh_lab.replica.port
    cascade(fresh_lab, copies)
    targets = between(fresh_lab, fresh_lab.replica.port)
    copies("keybuzz_leader", of=fresh_lab.leader)
    verdict, said = judged(ask(preflight.targets, targets), "standby_is_of_primary", "replica")
    assert verdict is Verdict.FAIL, said


def wait_streaming(cluster: Cluster, lab: Lab) -> None:
    with cluster.connect("postgres", passfile=lab.env()["PGPASSFILE"]) as admin:
        for _ in range(200):
            row = admin.execute(
                "SELECT count(*) FROM pg_stat_replication WHERE state = 'streaming'"
            ).fetchone()
            if row == (1,):
                return
            time.sleep(0.05)
    raise AssertionError("the copy's standby does not stream")


def test_what_may_not_be_seen_is_named(fresh_lab: Lab) -> None:
    with fresh_lab.admin("postgres") as admin:
        admin.execute("REVOKE pg_read_all_stats FROM keybuzz_operator")
        admin.execute("SELECT pg_switch_wal()")
    fresh_lab._pair.wait_streaming()
    verdict, said = judged(ask(preflight.targets), "standby_is_of_primary")
    assert verdict is Verdict.ERROR
    assert "replication, on the primary; replication, on the standby" in said
    assert "GRANT pg_monitor" in said


def test_a_standby_that_does_not_stream_proves_nothing(fresh_lab: Lab) -> None:
    with fresh_lab.replica.connect("postgres", passfile=fresh_lab.env()["PGPASSFILE"]) as standby:
        standby.execute("ALTER SYSTEM SET primary_conninfo = ''")
        standby.execute("SELECT pg_reload_conf()")
        while standby.execute("SELECT count(*) FROM pg_stat_wal_receiver").fetchone() != (0,):
            pass
    verdict, said = judged(ask(preflight.targets), "standby_is_of_primary")
    assert verdict is Verdict.ERROR
    assert "none runs" in said


def keep_control_data(lab: Lab, *more: str) -> None:
    """Let the servers keep from their roles who they are, as managed services do: in each database."""
    for database in ("keybuzz_backend", "keybuzz"):
        with lab.admin(database) as admin:
            for function in ("pg_control_system()", "pg_control_checkpoint()", *more):
                admin.execute(f"REVOKE EXECUTE ON FUNCTION {function} FROM PUBLIC".encode())
            admin.execute("SELECT pg_switch_wal()")
    lab._pair.wait_streaming()


@pytest.mark.parametrize("more", [(), ("pg_walfile_name(pg_lsn)",)])
def test_a_server_that_does_not_say_who_it_is(fresh_lab: Lab, more: tuple[str, ...]) -> None:
    keep_control_data(fresh_lab, *more)
    answer = ask(preflight.targets)
    told = {(f.target, f.verdict) for f in answer.findings if f.check == "target_answers"}
    # a standby's timeline is that which it receives
    assert told == {(name, Verdict.OPEN) for name in PHASE.targets}
    assert all("GRANT EXECUTE" in f.hint for f in answer.findings if f.check == "target_answers")
    assert judged(answer, "standby_is_of_primary")[0] is Verdict.PASS
    assert [row["system"] for row in answer.rows] == ["not told"] * 3
    assert [row["timeline"] for row in answer.rows] == (["not told", 1, "not told"] if more else [1, 1, 1])


def test_a_standby_of_a_copy_is_not_taken_for_one_where_nobody_says_who_it_is(
    fresh_lab: Lab, copies: Copies
) -> None:
    keep_control_data(fresh_lab)
    copies("keybuzz_leader", of=fresh_lab.leader)
    assert judged(ask(preflight.targets), "standby_is_of_primary")[0] is Verdict.FAIL


def test_servers_that_do_not_say_who_they_are_are_told_apart_by_their_start(
    fresh_lab: Lab, copies: Copies
) -> None:
    keep_control_data(fresh_lab)
    copies("keybuzz_leader", of=fresh_lab.leader)
    with Sessions(PHASE.targets) as sessions:
        copy, original = sessions.identity("leader"), sessions.identity("legacy")
    assert copy.system_identifier is original.system_identifier is None
    assert not copy.is_other_system(original)
    assert not copy.is_server_of(original)
    assert not copy.marks & original.marks
    assert copy.is_server_of(replace(copy, address="::1"))


@pytest.mark.parametrize("promoted", [True, False])
def test_a_plan_for_a_copy_is_none_for_its_original(fresh_lab: Lab, copies: Copies, promoted: bool) -> None:
    original = fresh_lab.leader
    timeouts = {"lock_timeout_ms": 1000, "statement_timeout_ms": 1000}
    copies("keybuzz_leader", of=original, promoted=promoted)
    with Sessions(PHASE.targets) as sessions:
        planned = sessions.identity("leader").parts()
        with sessions.write("leader", **timeouts, server=planned):
            pass
    lead(fresh_lab, "keybuzz_leader", original)
    with (
        Sessions(PHASE.targets) as sessions,
        pytest.raises(ConnectionFailed, match="not the server that the plan was made for: ") as refused,
        sessions.write("leader", **timeouts, server=planned),
    ):
        pytest.fail("the block must not be entered")
    assert "address was" in str(refused.value)
    assert ("timeline was 2 and is 1" in str(refused.value)) is promoted


def test_a_superuser_sees_more_of_a_server(fresh_lab: Lab, copies: Copies) -> None:
    copies("keybuzz_admin", of=fresh_lab.leader, promoted=True)
    targets = {
        "leader": replace(PHASE.targets["leader"], service="keybuzz_admin"),
        "legacy": PHASE.targets["legacy"],
    }
    with Sessions(targets) as sessions:
        who, original = sessions.identity("leader"), sessions.identity("legacy")
    assert who.timeline == 2
    assert who.history is not None
    assert who.data_directory is not None
    assert who.data_directory.endswith("copy_0")
    assert original.history is None
    assert not who.is_server_of(original)
    assert original.is_server_of(replace(original, address="::1", data_directory="/somewhere"))
    assert who.system_identifier == original.system_identifier


def test_the_timeline_is_that_of_now(fresh_lab: Lab) -> None:
    """After a promotion the control file tells the old one until the next checkpoint is done."""
    with fresh_lab.replica.connect("postgres", passfile=fresh_lab.env()["PGPASSFILE"]) as admin:
        admin.execute("SELECT pg_promote(true, 30)")
    targets: dict[str, Any] = {"leader": replace(PHASE.targets["leader"], service="keybuzz_replica")}
    with Sessions(targets) as sessions:
        assert sessions.identity("leader").timeline == 2
