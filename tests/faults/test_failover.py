"""The standby is promoted: while a question is open, in the middle of a step, between plan and apply.

The servers' own replication is used: what had not reached the standby is lost with the old leader.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from runbooks_lib.findings import CLOSING, Verdict
from runbooks_lib.lab.initial_state import REPLICATION
from runbooks_lib.lab.lab import Lab, running
from runbooks_lib.phase import load_phase
from runbooks_lib.postgres.binaries import clean_environment
from runbooks_lib.postgres.scratch.cluster import Cluster
from runbooks_lib.postgres.scratch.storage import write_private
from runbooks_lib.postgres.session.connect import Sessions
from runbooks_lib.steps import preflight, prisma_resolve

from .campaign import fault
from .proof import (
    GREEN,
    dumps,
    passwords,
    require_no_green,
    require_nothing_lost,
    require_told,
    require_unchanged,
)
from .stage import PHASE as PHASE_ID
from .stage import Stage, ended, kernel_of, until

PHASE = load_phase(PHASE_ID)
STEPS = ("preflight", "backup", "baseline_migration", "prisma_resolve", "report")
ANEW = "point the services at the new leader and a standby of it, plan anew, apply with the new confirmation"
OAUTH = "20251220235148_add_oauth_state_table"


@pytest.fixture
def own(monkeypatch: pytest.MonkeyPatch) -> Iterator[Stage]:
    """A lab of the test's own that is to be torn, and the confirmation of its plan is not known yet."""
    with running() as lab:
        for name, value in lab.env().items():
            monkeypatch.setenv(name, value)
        yield Stage(lab=lab, confirmation="", before=dumps(lab))


def promote(lab: Lab) -> None:
    """Promote the standby; the old leader goes on."""
    with lab.replica.connect("postgres", passfile=lab.env()["PGPASSFILE"]) as standby:
        standby.execute("SELECT pg_promote(true, 30)")


def fail_over(lab: Lab) -> None:
    """Lose the leader, promote the standby, and let the leader's services lead there, as a cluster manager does."""
    pid = lab.leader.pid()
    assert pid
    os.kill(pid, signal.SIGKILL)
    until(lambda: not lab.leader.is_running())
    promote(lab)
    services = Path(lab.env()["PGSERVICEFILE"])
    services.write_text(
        services.read_text().replace(f"port={lab.leader.port}\n", f"port={lab.replica.port}\n")
    )


def rejoin(lab: Lab) -> Iterator[Cluster]:
    """Make a standby of the new leader, at the old leader's address; the replica's service leads there."""
    new = Cluster(programs=lab.replica.programs, home=lab.replica.home, name="rejoined", port=lab.leader.port)
    (password,) = {
        line.rsplit(":", 1)[1] for line in Path(lab.env()["PGPASSFILE"]).read_text().splitlines()
        if ":postgres:" in line
    }  # fmt: skip
    subprocess.run(
        [new.programs.bindir / "pg_basebackup", "-h", "127.0.0.1", "-p", str(lab.replica.port), "-U", "postgres",
         "-c", "fast", "-X", "stream", "-D", new.data],
        env=clean_environment({"PGPASSWORD": password}), check=True, capture_output=True,
        **new.programs.account.switch,
    )  # fmt: skip
    with lab.replica.connect("postgres", passfile=lab.env()["PGPASSFILE"]) as leader:
        leader.execute("SELECT pg_create_physical_replication_slot('rejoined', true)")
    conninfo = f"host=127.0.0.1 port={lab.replica.port} user=postgres password='{password}'"
    new.configure({**REPLICATION, "primary_conninfo": conninfo, "primary_slot_name": "rejoined"})
    write_private(new.data / "standby.signal", "", new.programs.account)
    new.start()
    new.wait_ready()
    services = Path(lab.env()["PGSERVICEFILE"])
    head, found, rest = services.read_text().partition("[keybuzz_replica]\n")
    services.write_text(head + found + rest.replace(f"port={lab.replica.port}\n", f"port={new.port}\n", 1))
    try:
        yield new
    finally:
        new.stop()


def planned(stage: Stage, runs: Path) -> str:
    """Plan, and return the confirmation."""
    found = stage.run(runs, "--json")
    assert found.code == 0, found.said
    confirmation: str = json.loads(found.out)["plan"]["confirmation"]
    return confirmation


def confirmed(stage: Stage, confirmation: str) -> Stage:
    return Stage(lab=stage.lab, confirmation=confirmation, before=stage.before)


# --- two primaries -----------------------------------------------------------------------------------------------


@fault(
    kind="database",
    fault="the standby is promoted while a run has its sessions; the old leader stays: two primaries",
    injected="pg_promote() at the standby, between two questions; then services that lead to each of both",
    seen="each question asks who answers; the role that is declared is not the one that is there",
    told="target replica: declared a standby, and the service leads to a primary, with its address",
    goes_on="point the services at the one leader and a standby of it, then the same command",
    fast=True,
)
def test_two_primaries_are_refused_by_name(own: Stage) -> None:
    lab = own.lab
    with Sessions(PHASE.targets) as sessions:
        assert preflight.targets(PHASE, sessions).verdict is Verdict.PASS
        promote(lab)
        after = dumps(lab, of=lab.replica)
        for question in (preflight.targets, preflight.privileges, preflight.schema, preflight.replication):
            found = question(PHASE, sessions).findings
            closing = [each for each in found if each.verdict in CLOSING]
            assert {each.target for each in closing} == {"replica"}, question
            said = " ".join(f"{each.have} {each.hint}" for each in closing)
            if question is preflight.targets:
                require_told(
                    said,
                    cause=rf"primary \(127.0.0.1:{lab.replica.port}\)",
                    next_step="Point the service|failover",
                    secrets=passwords(lab),
                )
    with Sessions(PHASE.targets) as swapped:  # the services lead to the new one; the old one is the "standby"
        services = Path(lab.env()["PGSERVICEFILE"])
        one, other = f"port={lab.leader.port}\n", f"port={lab.replica.port}\n"
        text = services.read_text().replace(one, "port=0\n").replace(other, one).replace("port=0\n", other)
        services.write_text(text)
        answer = preflight.targets(PHASE, swapped)
        assert {f.target for f in answer.findings if f.verdict in CLOSING} == {"replica"}
        assert any(f"primary (127.0.0.1:{lab.leader.port})" in f.have for f in answer.findings)
    require_unchanged(own.before, dumps(lab))
    require_unchanged(after, dumps(lab, of=lab.replica))


# --- in the middle of an apply -----------------------------------------------------------------------------------


@fault(
    kind="database",
    fault="failover in the middle of {step}, apply",
    injected="kill -9 of the leader while the step's notebook is executed, pg_promote() at the standby, services moved",
    seen="sessions are lost; whoever answers now is not the server that the plan was made for",
    told="ERROR or FAIL: which target does not answer or is another than it was, and what to check",
    goes_on=ANEW,
)
@pytest.mark.parametrize("step", STEPS)
def test_a_failover_in_the_middle_of_a_step(own: Stage, tmp_path: Path, step: str) -> None:
    lab = own.lab
    stage = confirmed(own, planned(own, tmp_path))
    (plan,) = tmp_path.glob("*/2*")
    process = stage.start(tmp_path, apply=True)
    until(lambda: kernel_of(process, tmp_path, step), process)
    fail_over(lab)
    found = ended(process)
    shutil.rmtree(plan)  # it is green, as it was
    after = dumps(lab, of=lab.replica)
    require_nothing_lost(own.before, after)
    require_no_green(tmp_path, found.code)
    require_told(
        found.said,
        cause=r"not answer|closed the connection|lost|leads to a|not the server|refused|not be read|not known|timeline",
        next_step=r"[Cc]heck|[Pp]oint|--resume|again",
        secrets=passwords(lab),
    )
    again = stage.run(tmp_path, "--resume", "latest", apply=True)  # no standby: it may not pass
    require_no_green(tmp_path, again.code)
    require_unchanged(after, dumps(lab, of=lab.replica))


# --- between plan and apply --------------------------------------------------------------------------------------


@fault(
    kind="database",
    fault="a failover between plan and apply: the same databases on another timeline",
    injected="kill -9 of the leader, pg_promote(), a new standby of it, services moved; then the old confirmation",
    seen="the plan's hash covers the server that it was made for, its timeline too",
    told="FAIL: since the plan the server changed, its timeline was 1 and is 2; the new confirmation",
    goes_on=ANEW,
)
def test_a_plan_is_for_one_timeline(own: Stage, tmp_path: Path) -> None:
    lab = own.lab
    stage = confirmed(own, planned(own, tmp_path))
    fail_over(lab)
    for _ in rejoin(lab):
        found = stage.run(tmp_path, apply=True)
        assert found.code in (1, 3), found.said
        require_unchanged(own.before, dumps(lab, of=lab.replica))
        require_told(found.said, cause="timeline", next_step="confirm|[Pp]lan", secrets=passwords(lab))
        anew = confirmed(own, planned(own, tmp_path / "anew"))
        assert anew.confirmation != stage.confirmation
        done = anew.run(tmp_path / "anew", apply=True)
        assert done.code == 0, done.said
        require_nothing_lost(own.before, dumps(lab, of=lab.replica))


@fault(
    kind="database",
    fault="a failover loses the history of a migration, and what it made stands",
    injected="the standby receives nothing while Prisma records; then the leader is lost and the standby promoted",
    seen="the history is read, and what the migration makes is looked for: it stands",
    told="OPEN in the plan: it would be recorded as applied",
    goes_on=ANEW,
)
def test_a_history_that_is_lost_is_recorded_again(own: Stage, tmp_path: Path) -> None:
    lab = own.lab
    stage = confirmed(own, planned(own, tmp_path / "plan"))
    process = stage.start(tmp_path, apply=True)
    until(lambda: kernel_of(process, tmp_path, "prisma_resolve"), process)
    with lab.replica.connect("postgres", passfile=lab.env()["PGPASSFILE"]) as standby:
        standby.execute("ALTER SYSTEM SET primary_conninfo = ''")
        standby.execute("SELECT pg_reload_conf()")
        until(lambda: standby.execute("SELECT count(*) FROM pg_stat_wal_receiver").fetchone() == (0,))
    found = ended(process)
    require_no_green(tmp_path, found.code)
    with lab.admin("keybuzz_backend") as leader:
        assert leader.execute(RECORDED, (OAUTH,)).fetchone() == (1,), found.said
    fail_over(lab)
    with lab.replica.connect("keybuzz_backend", passfile=lab.env()["PGPASSFILE"]) as leader:
        assert leader.execute(RECORDED, (OAUTH,)).fetchone() == (0,), "the history has been lost"
        leader.execute("ALTER SYSTEM RESET primary_conninfo")
    lost = dumps(lab, of=lab.replica)
    require_nothing_lost(own.before, lost)
    assert "MarketplaceConnection" in lost["keybuzz"], "what the baseline made is there"
    for _ in rejoin(lab):
        anew = confirmed(own, planned(own, tmp_path / "anew"))
        done = anew.run(tmp_path / "anew", apply=True)
        assert done.code == 0, done.said
        now = dumps(lab, of=lab.replica)
        require_nothing_lost(lost, now)
        assert OAUTH in now["keybuzz_backend"]


RECORDED = "SELECT count(*)::int FROM _prisma_migrations WHERE migration_name = %s"


@fault(
    kind="database",
    fault="the history of a migration survived, and what it made is lost",
    injected="the migration is recorded by Prisma; then its table is gone, as after a restore in parts (DROP TABLE)",
    seen="what is recorded as applied is looked for",
    told="FAIL: which table of which recorded migration is absent",
    goes_on="restore the table from the backup, then the same command",
)
def test_a_recorded_migration_whose_table_is_gone_is_not_green(own: Stage, tmp_path: Path) -> None:
    lab = own.lab
    stage = confirmed(own, planned(own, tmp_path / "plan"))
    done = stage.run(tmp_path / "apply", apply=True)
    assert done.code == 0, done.said
    whole = dumps(lab)
    with lab.admin("keybuzz_backend") as admin:
        admin.execute('ALTER TABLE "OAuthState" RENAME TO "OAuthState_lost"')
    before = dumps(lab)
    found = stage.run(tmp_path / "again")
    require_no_green(tmp_path / "again", found.code)
    require_told(
        found.said,
        cause=r"OAuthState.*absent|absent.*OAuthState",
        next_step=r"[Rr]estore|[Cc]heck|--resume|again",
    )
    require_unchanged(before, dumps(lab))
    with Sessions(
        PHASE.targets
    ) as sessions:  # step 4 by itself, too, though the preflight has closed its gate
        prisma = prisma_resolve.command_line(PHASE, sessions)
        answer = prisma_resolve.live_schema(PHASE, sessions, prisma=prisma)
        assert answer.verdict in CLOSING
        assert any(
            re.search("OAuthState", each.object + each.have)
            for each in answer.findings
            if each.verdict in CLOSING
        )
    with lab.admin("keybuzz_backend") as admin:
        admin.execute('ALTER TABLE "OAuthState_lost" RENAME TO "OAuthState"')
    require_unchanged(whole, dumps(lab))
    assert json.loads(stage.run(tmp_path / "whole", "--json").out)["verdict"] in GREEN
