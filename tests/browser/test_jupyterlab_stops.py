"""In JupyterLab, by real clicks and typing: what stops a run half-way, what is picked, and a phase that is drafted."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

from runbooks_lib.archive.run import Run, step_name
from runbooks_lib.archive.seal.verify import verify
from runbooks_lib.phase import STEPS

from .desk import AT_HAND, TIMEOUT_MS, Desk

MEND = "Mend what is named above, then run this notebook again"
ENDED = "2026-11-24T08:01:00.000Z"


def test_a_replica_that_stops_half_way_is_red_with_its_hint(desk: Desk) -> None:
    for step in ("preflight", "backup"):
        desk.open(step_name(step))
        desk.run()
        assert desk.closed(step)["verdict"] == "PASS"
    desk.lab.replica.stop()
    desk.open("05_seed_verification")
    desk.run()
    said = desk.see("PreconditionFailed: Step baseline_migration has not been run")
    assert "Run 03_baseline_migration.ipynb first" in said
    desk.open("03_baseline_migration")
    desk.run()
    desk.page.locator("button.runbooks-only_plan").click(timeout=TIMEOUT_MS)
    assert desk.closed("baseline_migration")["verdict"] == "PASS"
    desk.open("04_prisma_resolve")
    desk.run()
    desk.closed("prisma_resolve")
    desk.open("05_seed_verification")
    desk.run()
    said = desk.see("GateClosed: Stopped by")
    assert re.search(r"ERROR \w+ replica .*does not answer", said)
    assert "Check that the server runs" in said
    assert "Traceback" not in desk.page.locator(".jp-Notebook").inner_text()
    desk.open("00_start")
    desk.run()
    desk.see("Target 'replica' (service keybuzz_replica, database keybuzz_backend) does not answer")
    desk.page.locator("button.runbooks-end").click()
    desk.see("is sealed as ERROR")
    run = desk.the_run()
    found = verify(run.path)
    assert found.problems == ()
    assert run.header().finished_at is None
    assert [s for s in STEPS if run.notebook(s).exists()] == list(STEPS[:5])


def test_a_closed_gate_stops_run_all_with_a_sentence(desk: Desk, make_run: Callable[..., Run]) -> None:
    old = make_run(
        desk.runs, change=lambda files: files["run.json"].update(finished_at=ENDED, verdict="OPEN")
    )
    desk.open("00_start")
    desk.run()
    desk.at_hand("Begin a run")
    desk.see(f"Not begun here: run {old.id} is in the archive, and it was made at another server or database")
    desk.offered("Begin a run")
    with desk.lab.admin("keybuzz_backend") as conn:
        conn.execute("DROP INDEX oauth_states_state_key")
    desk.open("01_preflight")
    desk.run()
    desk.at_hand("FAIL has_index leader, replica public.oauth_states_state_key")
    desk.at_hand(MEND)
    top = desk.page.locator(".runbooks-top").text_content() or ""
    assert re.search(r"✘ FAIL · Stopped at In \[15\].*FAIL has_index leader, replica", top)
    assert "Traceback" not in desk.page.locator(".jp-Notebook").inner_text()
    desk.usable()
    link = desk.page.locator("a.runbooks-go")
    link.scroll_into_view_if_needed()
    desk.page.wait_for_function(
        f"text => !({AT_HAND})(text)", arg="GateClosed: "
    )  # the verdict has MEND, too
    link.click()
    desk.at_hand("GateClosed: ")
    title = desk.page.locator(".runbooks-explorer .jupyter-widget-Collapse-header, .runbooks-explorer button")
    title.filter(has_text=re.compile(r"All 1\d\d findings")).last.click()  # those of the schema
    desk.page.locator(".runbooks-verdict select:visible").last.select_option("FAIL")
    detail = desk.page.locator(".runbooks-findings details:visible").last
    detail.locator("summary").click()
    assert "pg_index" in detail.inner_text()


def test_services_are_picked_and_lights_turn_without_a_click(desk: Desk) -> None:
    page = desk.page
    file = Path(desk.lab.env()["PGSERVICEFILE"])
    ours = file.read_text("utf-8")
    file.write_text(f"{ours}\n{ours.replace('[keybuzz_', '[staging_')}", "utf-8")
    desk.open("00_start")
    desk.run()
    phase = page.locator(".runbooks-phase input")
    shipped = phase.input_value(timeout=TIMEOUT_MS)
    said = page.locator(".runbooks-said", has_text="There is no phase")
    for name, state in (("PH17", "visible"), (shipped, "hidden")):
        phase.fill(name)
        phase.press("Tab")
        said.wait_for(state=state, timeout=TIMEOUT_MS)
    page.locator(".runbooks-service-leader select").select_option("staging_leader", timeout=TIMEOUT_MS)
    light = "tr:has(td:text-is('{}')) td:text-is('{}')"
    page.locator(light.format("staging_leader", "✔")).wait_for(timeout=TIMEOUT_MS)
    page.locator("button.runbooks-begin").click()
    desk.see("is begun: open the notebook below")
    assert desk.the_run().services()["leader"] == "staging_leader"
    page.locator(light.format("keybuzz_replica", "✔")).wait_for(timeout=TIMEOUT_MS)
    desk.lab.replica.stop()
    page.locator(light.format("keybuzz_replica", "‼")).wait_for(timeout=TIMEOUT_MS)
    desk.see("Target 'replica' (service keybuzz_replica, database keybuzz_backend) does not answer")
    desk.lab.replica.start()
    page.locator(light.format("keybuzz_replica", "✔")).wait_for(timeout=TIMEOUT_MS)
    assert not page.locator(".runbooks-old").is_visible()
    page.keyboard.press("Control+s")
    page.wait_for_timeout(2000)
    page.reload()  # what was saved is shown, and nothing new comes to it
    page.locator(".runbooks-old").wait_for(timeout=TIMEOUT_MS)
    assert desk.complaints == []


def test_a_phase_is_drafted_by_clicks_and_its_run_begun(desk: Desk, tmp_path: Path) -> None:
    page = desk.page
    desk.open("00_start")
    desk.run()
    page.locator(".runbooks-adopt .jupyter-widget-Collapse-header").click(timeout=TIMEOUT_MS)
    desk.usable()
    desk.offered("Begin a run")
    page.get_by_label("Service").select_option("keybuzz_leader")
    assert page.get_by_label("Prisma project").input_value() == desk.lab.env()["RUNBOOKS_PRISMA_PROJECT"]
    page.get_by_role("button", name="Look at it").click()
    desk.see("keybuzz_leader: database keybuzz_backend at 127.0.0.1")
    page.get_by_role("button", name="Draft a phase").click(timeout=TIMEOUT_MS)
    desk.see("Drafted ")
    desk.usable()
    folder = Path(page.locator(".runbooks-phase input").input_value())
    assert "REVIEW" in (folder / "phase.toml").read_text("utf-8")
    page.locator("button.runbooks-begin").click()
    desk.see("is begun: open the notebook below")
    assert desk.the_run().header().phase.ref == str(folder)
    assert desk.complaints == []
