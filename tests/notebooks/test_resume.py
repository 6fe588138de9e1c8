"""A run that stopped is taken up: after a failure, after a kill, after a leader that died in the middle."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from runbooks_lib.archive.run import Run
from runbooks_lib.errors import PreconditionFailed
from runbooks_lib.execution.resume import decide
from runbooks_lib.lab.lab import API_STOPPING, Lab
from runbooks_lib.lab.services import find_api
from runbooks_lib.phase import STEPS, load_phase

from ..faults.campaign import fault

PHASE = "PH15-AMAZON-DB-FOUNDATION-01"
RUNBOOKS = Path(sys.executable).with_name("runbooks")


def command(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(RUNBOOKS), *arguments],
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
        env=dict(os.environ),
    )


def confirmation(runs: Path) -> str:
    plan = command("run", PHASE, "--runs", str(runs))
    assert plan.returncode == 0, plan.stderr
    return plan.stdout.split()[-1]


def newest(runs: Path) -> Run:
    return Run.open(max(runs.glob(f"{PHASE}/*"), key=lambda path: path.stat().st_mtime))


def resume(run: Run, confirm: str) -> tuple[subprocess.CompletedProcess[str], dict[str, str]]:
    """Take a run up; return what was said, and each step's `kept` or `again`."""
    done = command("run", PHASE, "--resume", str(run.path), "--apply", "--confirm", confirm)
    lines = (line.split() for line in done.stderr.splitlines())
    return done, {
        w[0][3:]: w[1] for w in lines if len(w) > 2 and w[0][:2].isdigit() and w[1] in ("kept", "again")
    }


def wait_for(condition: Callable[[], Any], timeout_s: float = 60.0) -> Any:
    end = time.monotonic() + timeout_s
    while not (found := condition()):
        assert time.monotonic() < end
        time.sleep(0.01)
    return found


def stop_api(lab: Lab) -> None:
    api = find_api(int(lab.env()["KEYBUZZ_API_URL"].rpartition(":")[2]))
    assert api is not None
    assert api.end(API_STOPPING)


def test_after_a_failure_only_what_is_due_is_repeated(fresh_lab: Lab, tmp_path: Path) -> None:
    """The API is down: five steps pass, the sixth stops the run; with the API up again it comes to its end."""
    confirm = confirmation(tmp_path)
    stop_api(fresh_lab)
    first = command("run", PHASE, "--runs", str(tmp_path), "--apply", "--confirm", confirm)
    assert first.returncode == 1
    run = newest(tmp_path)
    assert run.header().finished_at is None

    second, steps = resume(run, confirm)  # still down: it stops at the same place
    assert second.returncode == 1, second.stderr
    assert {step for step, what in steps.items() if what == "kept"} == {
        "backup",
        "baseline_migration",
        "prisma_resolve",
    }
    header = run.header_json()
    assert [s["kept"] is not None for s in header["steps"]] == [False, True, True, True, False, False]
    assert all(line["why"] for line in header["resumed"][0]["steps"])

    server = subprocess.Popen(
        [
            sys.executable,
            "-m",
            "runbooks_lib.lab.api",
            "--port",
            os.environ["KEYBUZZ_API_URL"].rsplit(":", 1)[1],
        ]
    )
    try:
        third, _ = resume(run, confirm)
        assert third.returncode == 0, third.stderr
    finally:
        server.terminate()
        server.wait(10)
    assert run.header().finished_at is not None
    with pytest.raises(PreconditionFailed, match="is complete"):
        decide(run, load_phase(PHASE), apply=True)


@fault(
    kind="processes",
    fault="SIGKILL to `runbooks run` after the COMMIT of the baseline and before its record",
    injected="kill -9 of the process group when the tables are there",
    seen="resume looks at the database, not at the notes",
    told="which steps are kept and repeated, and why",
    goes_on="`runbooks run PHASE --resume latest`, with the same confirmation",
    fast=True,
)
def test_killed_after_the_commit_and_before_the_record(fresh_lab: Lab, tmp_path: Path) -> None:
    """kill -9 in step 3: the database has what the notes do not say; the same confirmation takes it up."""
    confirm = confirmation(tmp_path)
    process = subprocess.Popen(
        [str(RUNBOOKS), "run", PHASE, "--runs", str(tmp_path), "--apply", "--confirm", confirm],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )

    def committed() -> bool:
        with fresh_lab.admin("keybuzz") as conn:
            row = conn.execute("SELECT to_regclass('public.\"OAuthState\"')").fetchone()
        return bool(row and row[0])

    wait_for(committed)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait(10)
    run = newest(tmp_path)
    record = run.record_json("baseline_migration")
    assert record is None or record["finished_at"] is None or run.record_json("prisma_resolve") is None

    done, steps = resume(run, confirm)
    assert done.returncode == 0, done.stderr
    assert steps["backup"] == "kept"
    findings = json.dumps(run.record_json("baseline_migration"))
    assert "plan_is_confirmed" in findings or steps["baseline_migration"] == "kept"


SLOW = """
CREATE SEQUENCE public.ddl_seen;
REVOKE ALL ON public.ddl_seen FROM PUBLIC;
CREATE FUNCTION public.slow() RETURNS event_trigger LANGUAGE plpgsql SECURITY DEFINER AS $$
BEGIN IF nextval('public.ddl_seen') = 3 THEN PERFORM pg_sleep(60); END IF; END $$;
CREATE EVENT TRIGGER slow ON ddl_command_start EXECUTE FUNCTION public.slow();
"""


@fault(
    kind="processes",
    fault="SIGKILL to the leader in the middle of the baseline's transaction",
    injected="kill -9 of its postmaster while the third statement is held up",
    seen="the session is lost",
    told="FAIL or ERROR of step 3, exit 1",
    goes_on="start the server, then `runbooks run PHASE --resume latest`",
    fast=True,
)
def test_the_leader_dies_in_the_middle_of_apply(fresh_lab: Lab, tmp_path: Path) -> None:
    """SIGKILL to the leader while the transaction is open: nothing of it stands; started again, it is resumed.

    The trigger counts statements, and no rollback takes that back: so none of them is rehearsed here, and after two
    of the apply it keeps the third waiting.
    """
    with fresh_lab.admin("keybuzz") as conn:
        conn.execute(SLOW)
    confirm = confirmation(tmp_path)
    process = subprocess.Popen(
        [str(RUNBOOKS), "run", PHASE, "--runs", str(tmp_path), "--apply", "--confirm", confirm],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    waiting = (
        "SELECT 1 FROM pg_stat_activity WHERE datname = 'keybuzz' AND wait_event = 'PgSleep' "
        "AND application_name LIKE 'runbooks baseline%'"
    )
    with fresh_lab.admin("postgres") as watcher:
        wait_for(lambda: watcher.execute(waiting).fetchone())
    record = newest(tmp_path).record_json("baseline_migration")
    assert record is not None
    assert record["answers"]["rehearse"]["verdict"] == "OPEN"
    assert "apply" not in record["answers"], "it is being carried out"
    pid = fresh_lab.leader.pid()
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    _, stderr = process.communicate(timeout=120)
    assert process.returncode == 1, stderr
    assert "Traceback" not in stderr
    wait_for(lambda: not fresh_lab.leader.is_running())
    fresh_lab.leader.start()
    fresh_lab.leader.wait_ready()
    with fresh_lab.admin("keybuzz") as conn:
        row = conn.execute("SELECT count(*) FROM pg_class WHERE relname = 'OAuthState'").fetchone()
    assert row == (0,)
    with fresh_lab.admin("keybuzz") as conn:  # which of its numbers reached the disk is chance
        conn.execute("SELECT setval('public.ddl_seen', 100)")
    wait_for(lambda: "streaming" in str(fresh_lab.status()))

    done, steps = resume(newest(tmp_path), confirm)
    assert done.returncode == 0, done.stderr
    assert steps["backup"] == "kept"
    assert steps["baseline_migration"] == "again"


def test_another_phase_is_refused(lab: Lab, tmp_path: Path) -> None:
    phase = load_phase(PHASE)
    run = Run.create(tmp_path, phase)
    run.update(phase=run.header_json()["phase"] | {"digest": "0" * 64})
    with pytest.raises(PreconditionFailed, match="another version"):
        decide(run, phase, apply=True)


def test_what_has_not_run_is_due(lab: Lab, tmp_path: Path) -> None:
    phase = load_phase(PHASE)
    decisions = decide(Run.create(tmp_path, phase), phase, apply=True)
    assert [d.step for d in decisions] == list(STEPS)
    assert {(d.repeat, d.why) for d in decisions} == {(True, "it has not run")}


def test_a_target_that_does_not_answer_means_repeat(fresh_lab: Lab, tmp_path: Path) -> None:
    done = command("run", PHASE, "--runs", str(tmp_path), "--only", "backup")
    assert done.returncode == 0, done.stderr
    run = newest(tmp_path)
    phase = load_phase(PHASE)
    kept = {d.step: d for d in decide(run, phase, apply=False)}["backup"]
    assert not kept.repeat
    next((run.path / "backup").iterdir()).write_text("", encoding="utf-8")
    harmed = {d.step: d for d in decide(run, phase, apply=False)}["backup"]
    assert harmed.repeat
    assert "is not there as it was made" in harmed.why
    fresh_lab.leader.stop()
    gone = {d.step: d for d in decide(run, phase, apply=False)}["backup"]
    assert gone.repeat
