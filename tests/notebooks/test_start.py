"""The landing notebook at a front end: services are picked, and lights turn by themselves, or say that they do not."""

from __future__ import annotations

import re
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import psycopg
import pytest

from runbooks_lib.archive.run import Run, all_runs
from runbooks_lib.lab.lab import Lab, running
from runbooks_lib.notebook.landing.lights import light_rows
from runbooks_lib.phase import load_phase, services_of, with_services
from runbooks_lib.postgres.session.connect import Sessions

PHASE = "PH15-AMAZON-DB-FOUNDATION-01"
Operators = Callable[..., Any]
GREEN = r"✔\s+{}"
RED = r"‼\s+{}"


@pytest.fixture
def runs(lab: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An archive that is empty."""
    monkeypatch.setenv("RUNBOOKS_RUNS", str(tmp_path / "runs"))
    return tmp_path / "runs"


@contextmanager
def landed(operator: Operators, folder: Path, **constants: float) -> Iterator[Any]:
    """Run 00_start with a kernel whose lights are looked at every fifth of a second."""
    values = {"EVERY_S": 0.2} | constants
    with operator("00_start", folder) as me:
        lines = [f"live.{name} = {value}" for name, value in values.items()]
        assert (
            me.execute(
                "\n".join(["from runbooks_lib.notebook.landing import lights, live", *lines]), silent=True
            )
            is None
        )
        assert me.run_all() is None
        yield me


def looking(lab: Lab) -> set[int]:
    """The sessions of whoever looks at the lights, by their process at the leader."""
    with lab.admin("postgres") as conn:
        rows = conn.execute("SELECT pid FROM pg_stat_activity WHERE application_name = 'runbooks-start'")
        return {row[0] for row in rows}


def wait_until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def threads(me: Any, count: int) -> None:
    counted = "sum(t.name == 'runbooks live' for t in threading.enumerate())"
    until = "time.sleep(0.5)\nuntil = time.monotonic() + 30"
    look = f"{until}\nwhile {counted} != {count} and time.monotonic() < until: time.sleep(0.05)"
    said = me.execute(f"import threading, time\n{look}\nassert {counted} == {count}", silent=True)
    assert said is None


# --- lights that are live ---------------------------------------------------------------------------------------


def test_a_light_turns_by_itself_in_sessions_that_are_kept(
    fresh_lab: Lab, runs: Path, operator: Operators, tmp_path: Path
) -> None:
    with landed(operator, tmp_path) as me:
        said = me.see(GREEN.format("replica"))
        assert re.search(r"Looked at \d\d:\d\d:\d\d UTC, and again every 5 s", said)
        kept = looking(fresh_lab)
        assert len(kept) == 2  # one for each target of this server
        fresh_lab.replica.stop()
        said = me.see(RED.format("replica"))
        assert re.search(GREEN.format("leader"), said)
        me.see("'replica' .*does not answer")
        fresh_lab.replica.start()
        me.see(GREEN.format("replica"))
        assert looking(fresh_lab) == kept
        with fresh_lab.replica.connect("postgres", passfile=fresh_lab.env()["PGPASSFILE"]) as conn:
            conn.execute("SELECT pg_promote()")  # the open session stays, and another server answers in it
        assert re.search("declared a standby", me.see(RED.format("replica")))
    wait_until(lambda: not looking(fresh_lab))


def test_a_standby_that_is_further_behind_than_declared_is_not_green(fresh_lab: Lab) -> None:
    targets = dict(load_phase(PHASE).targets)
    targets["replica"] = replace(targets["replica"], max_lag_bytes=1_000)
    admin = fresh_lab.replica.connect("postgres", passfile=fresh_lab.env()["PGPASSFILE"])
    with admin as standby, fresh_lab.admin("keybuzz_backend") as leader, Sessions(targets) as sessions:
        assert [row["light"] for row in light_rows(sessions, [])] == ["✔", "✔", "✔"]
        standby.execute("SELECT pg_wal_replay_pause()")
        leader.execute("CREATE TABLE ballast AS SELECT g FROM generate_series(1, 1000) AS g")
        leader.execute("SELECT pg_switch_wal()")  # what is not yet flushed cannot be behind
        _, replica, _ = light_rows(sessions, [])
        assert replica["light"] == "✘"
        assert replica["lag"].endswith(" behind, at most 1000 bytes are declared")
        standby.execute("SELECT pg_wal_replay_resume()")
        wait_until(lambda: light_rows(sessions, [])[1]["light"] == "✔")


def test_an_idle_kernel_of_this_archive_is_not_at_work_and_whoever_else_reads_is(lab: Lab) -> None:
    targets, run = load_phase(PHASE).targets, "20261126T080000Z-00000a"
    with (
        psycopg.connect("service=keybuzz_leader", application_name=f"runbooks backup {run}") as kernel,
        Sessions(targets) as sessions,
    ):
        kernel.commit()
        for own, said in (
            ([run, "-"], f"nobody (idle: runbooks backup {run})"),
            (["another", "-"], f"keybuzz_operator (runbooks backup {run}, from 127.0.0.1) since "),
            (["another", run], "nobody"),
        ):
            assert light_rows(sessions, own)[0]["also at work"].startswith(said)
        kernel.execute("SELECT 1")  # its transaction stays open: it is in the middle of something
        at_work = light_rows(sessions, [run, "-"])[0]["also at work"]
        assert at_work.startswith(f"keybuzz_operator (runbooks backup {run}, ")


def test_a_lost_session_is_made_anew(fresh_lab: Lab, runs: Path, operator: Operators, tmp_path: Path) -> None:
    with landed(operator, tmp_path) as me:
        me.see(GREEN.format("leader"))
        lost = looking(fresh_lab)
        with fresh_lab.admin("postgres") as conn:
            for pid in lost:
                conn.execute("SELECT pg_terminate_backend(%s)", (pid,))
        me.see(RED.format("leader"))
        me.see(GREEN.format("leader"))
        assert len(looking(fresh_lab)) == 2
        assert not looking(fresh_lab) & lost


@pytest.mark.parametrize("again", ["start = Start(phase)", "start.servers()"])
def test_a_cell_that_is_run_again_ends_what_looked_before(
    fresh_lab: Lab, runs: Path, operator: Operators, tmp_path: Path, again: str
) -> None:
    with landed(operator, tmp_path) as me:
        me.see(GREEN.format("leader"))
        before = looking(fresh_lab)
        assert me.execute(again) is None
        said = me.see("Not looked at since")
        assert re.search(r"Not looked at since \d\d:\d\d:\d\d UTC: press Look again", said)
        assert "✔" not in said
        wait_until(lambda: not looking(fresh_lab) & before)
        anew = again == "start.servers()"
        threads(me, 1 if anew else 0)
        assert bool(looking(fresh_lab)) is anew


def test_lights_rest_when_nobody_clicks_and_a_click_wakes_them(
    fresh_lab: Lab, runs: Path, operator: Operators, tmp_path: Path
) -> None:
    with landed(operator, tmp_path, QUIET_S=1.0) as me:
        said = me.see("Not looked at since")
        assert "✔" not in said
        wait_until(lambda: not looking(fresh_lab))
        threads(me, 0)
        me.execute("live.QUIET_S = 60", silent=True)
        assert me.execute("start.picker.again.click()", silent=True) is None
        me.see(GREEN.format("leader") + r"[\s\S]*Looked at")
        threads(me, 1)
        assert len(looking(fresh_lab)) == 2


def test_what_goes_wrong_is_shown_and_leaves_nothing_green(
    fresh_lab: Lab, runs: Path, operator: Operators, tmp_path: Path
) -> None:
    with landed(operator, tmp_path) as me:
        me.see(GREEN.format("leader"))
        assert (
            me.execute("kept, lights.light_rows = lights.light_rows, lambda *_: 1 / 0", silent=True) is None
        )
        said = me.see("ZeroDivisionError: division by zero. This is a defect")
        assert "✔" not in said
        said = me.see("Not looked at since")
        assert "✔" not in said
        assert re.search(r"‼\s+every one", said)
        wait_until(lambda: not looking(fresh_lab))
        me.execute("lights.light_rows = kept\nstart.picker.again.click()", silent=True)
        me.see(GREEN.format("leader"))


def test_what_takes_long_is_not_green_meanwhile(
    fresh_lab: Lab, runs: Path, operator: Operators, tmp_path: Path
) -> None:
    with landed(operator, tmp_path) as me:
        me.see(GREEN.format("leader"))
        slow = "def slow(*those):\n    time.sleep(1)\n    return kept(*those)"
        kept = "import time\nkept, lights.LATE_S = lights.light_rows, 0.1"
        assert me.execute(f"{kept}\n{slow}\nlights.light_rows = slow", silent=True) is None
        assert "✔" not in me.see("not all have answered yet")
        me.see(GREEN.format("leader") + r"[\s\S]*Looked at")


def test_a_record_that_cannot_be_read_is_an_error_until_it_can(
    lab: Lab, runs: Path, operator: Operators, tmp_path: Path
) -> None:
    run = Run.create(runs, load_phase(PHASE))
    with landed(operator, tmp_path) as me:
        me.see("Next: ")
        record = run.path / "01_preflight.json"
        record.write_text("{", "utf-8")
        for _ in ("phase", "steps", "following"):
            assert str(record) in me.see("‼ ERROR")
        record.unlink()
        me.see("Next: ")
        threads(me, 1)


# --- what is picked ---------------------------------------------------------------------------------------------


@pytest.fixture
def staging(lab: Lab, runs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The lab's services, and the same servers under the names of staging."""
    ours = Path(lab.env()["PGSERVICEFILE"]).read_text("utf-8")
    path = runs.parent / "services"
    path.write_text(
        f"{ours}\n{ours.replace('[keybuzz_', '[staging_')}\n[dead]\nhost=127.0.0.1\nport=1\n", "utf-8"
    )
    monkeypatch.setenv("PGSERVICEFILE", str(path))


def pick(me: Any, target: str, service: str) -> None:
    assert me.execute(f"start.picker.services[{target!r}].value = {service!r}", silent=True) is None


def holds(me: Any, condition: str) -> None:
    assert me.execute(f"assert {condition}", silent=True) is None


def only_run(runs: Path) -> Run:
    (run,) = all_runs(runs)
    return run


def test_a_run_is_begun_with_the_services_that_are_picked(
    staging: None, runs: Path, operator: Operators, tmp_path: Path
) -> None:
    with landed(operator, tmp_path, EVERY_S=60) as me:
        holds(me, "'staging_leader' in [value for _, value in start.picker.services['leader'].options]")
        holds(me, "'runbooks-service-leader' in start.picker.services['leader']._dom_classes")
        pick(me, "legacy", "dead")
        assert re.search(RED.format(r"legacy\s+dead"), me.text()), "shown at once"
        pick(me, "legacy", "staging_legacy")
        pick(me, "leader", "staging_leader")
        assert re.search(GREEN.format(r"legacy\s+staging_legacy"), me.text())
        assert me.execute("start.picker.begin.click()", silent=True) is None
        run = only_run(runs)
        chosen = {"leader": "staging_leader", "replica": "keybuzz_replica", "legacy": "staging_legacy"}
        assert run.services() == chosen
        assert "is in progress with other services" not in me.text()
        pick(me, "leader", "keybuzz_leader")
        assert f"Run {run.id} is in progress with other services (leader: staging_leader)" in me.text()
    with operator("01_preflight", tmp_path) as me:
        assert me.run_all() is None
    found = (run.path / "01_preflight.json").read_text("utf-8")
    assert "staging_leader" in found
    assert "keybuzz_leader" not in found
    with landed(operator, tmp_path, EVERY_S=60) as me:
        holds(me, "start.picker.services['leader'].value == 'staging_leader'")
        assert "is in progress with other services" not in me.text()


def test_a_run_of_another_lab_or_of_other_services_is_not_begun_here(
    staging: None, runs: Path, operator: Operators, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run in which every step has passed elsewhere says nothing of the servers that answer now."""
    with operator("01_preflight", tmp_path) as me:
        assert me.run_all() is None
    with landed(operator, tmp_path, EVERY_S=60) as me:
        assert "Next: [02_backup]" in me.text()
        holds(me, "start.picker.begin.button_style == ''")
        pick(me, "leader", "staging_leader")
        assert "Next: [02_backup]" in me.text(), "one in progress goes on with its own services"
        pick(me, "leader", "dead")
        assert "Next: [02_backup]" in me.text(), "and waits for a server that does not answer"
    run = only_run(runs)
    with running() as other, monkeypatch.context() as patch:
        for name in ("PGSERVICEFILE", "PGPASSFILE"):
            patch.setenv(name, other.env()[name])
        with landed(operator, tmp_path, EVERY_S=60) as me:
            said = me.text()
            holds(me, "start.picker.begin.button_style == 'primary'")
    assert (
        f"Not begun here: run {run.id} is in the archive, and it was made at another server or database"
        in said
    )
    assert "Next: press Begin a run above, or open [01_preflight]" in said
    assert re.search(r"not yet\s+01_preflight", said)
    run.update(finished_at="2026-11-26T08:00:00.000Z", verdict="FAIL")
    with landed(operator, tmp_path, EVERY_S=60) as me:
        assert f"Run {run.id} has ended as FAIL. Next: press Begin a run above" in me.text()
        pick(me, "leader", "staging_leader")
        assert (
            "it was made with other services (leader: keybuzz_leader). Next: press Begin a run above"
            in me.text()
        )
    services = runs.parent / "services"
    services.write_text(
        re.sub(r"(\[keybuzz_replica\][^\[]*?port=)\d+", r"\g<1>1", services.read_text("utf-8")), "utf-8"
    )
    with landed(operator, tmp_path, EVERY_S=60) as me:
        assert "target replica does not answer, so that nobody knows whether it was made here" in me.text()


def test_a_server_that_answers_late_is_asked_whether_the_run_was_made_there(
    staging: None, runs: Path, operator: Operators, tmp_path: Path
) -> None:
    with operator("01_preflight", tmp_path) as me:
        assert me.run_all() is None
    services = runs.parent / "services"
    at_work = services.read_text("utf-8")

    def leads_to(there: str) -> None:
        services.write_text(
            re.sub(r"(\[keybuzz_leader\][^\[]*?port=)\d+", rf"\g<1>{there}", at_work), "utf-8"
        )

    leads_to("1")
    with landed(operator, tmp_path, EVERY_S=60) as me:
        assert "Next: [02_backup]" in me.text(), "one in progress waits for it"
        (replica,) = re.findall(r"\[keybuzz_replica\][^\[]*?port=(\d+)", at_work)
        leads_to(replica)
        assert me.execute("start.refresh()", silent=True) is None
        assert "it was made at another server or database of target leader" in me.text()


def test_another_phase_has_pickers_of_its_own(
    staging: None, runs: Path, operator: Operators, tmp_path: Path
) -> None:
    home = tmp_path / "PH16"
    shutil.copytree(load_phase(PHASE).folder, home)
    text = (home / "phase.toml").read_text("utf-8").replace(f'"{PHASE}"', '"PH16"', 1)
    text = text.replace('service = "keybuzz_legacy"', 'service = "not_yet_there"')
    (home / "phase.toml").write_text(text, "utf-8")
    with landed(operator, tmp_path, EVERY_S=60) as me:
        pick(me, "leader", "staging_leader")
        me.execute("start.picker.phases.value = 'PH17'", silent=True)
        holds(me, "'There is no phase' in start.picker._said.value")
        holds(me, "start.picker.services['leader'].value == 'staging_leader'")
        me.execute("start.picker.begin.click()", silent=True)
        assert list(all_runs(runs)) == [], "what is shown is not what would be begun"
        me.execute(f"start.picker.phases.value = {str(home)!r}", silent=True)
        holds(me, "start.picker._said.value == ''")
        holds(me, "start.picker.services['leader'].value == 'keybuzz_leader'")
        holds(me, "start.picker.services['legacy'].label == 'not_yet_there (not defined)'")
        assert re.search(RED.format(r"legacy\s+not_yet_there"), me.text())
        me.execute("start.picker.begin.click()", silent=True)
    assert only_run(runs).services() == services_of(load_phase(str(home)))


def test_without_a_front_end_the_services_are_those_of_the_run(
    staging: None, runs: Path, tmp_path: Path
) -> None:
    from runbooks_lib.notebook.landing.start import Start

    run = Run.create(runs, with_services(load_phase(PHASE), {"leader": "staging_leader"}))
    assert services_of(Start().phase) == run.services()
    run.update(finished_at="2026-01-07T17:47:59.000Z")
    assert services_of(Start(PHASE).phase) == services_of(load_phase(PHASE))
