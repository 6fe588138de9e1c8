"""The walk-through in JupyterLab, by real clicks and typing: all seven notebooks; and the README's pictures of it."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from runbooks_lib.archive.run import step_name
from runbooks_lib.archive.seal.verify import verify

from .desk import TIMEOUT_MS, Desk

NOTE = "opened the Admin UI: three connections"
WAITING = "Waiting for you"


@pytest.mark.parametrize("desk", ["/user/x/"], indirect=True)
def test_all_seven_notebooks_are_walked_through(desk: Desk) -> None:
    page = desk.page
    desk.open("00_start")
    assert page.locator("em", has_text="Run ▸ Run All Cells").bounding_box()["y"] < 400  # type: ignore[index]
    desk.run()
    desk.offered("Begin a run")
    page.locator("button.runbooks-begin").click(timeout=TIMEOUT_MS)
    desk.see("is begun: open the notebook below")
    run = desk.the_run()
    desk.at_hand("01_preflight")
    desk.offered("01_preflight")
    desk.usable()
    for step in ("preflight", "backup"):
        desk.open(step_name(step))
        desk.run()
        assert desk.closed(step)["verdict"] == "PASS"
        desk.at_hand(f"{step_name(step)}.json")  # the last cell's table, with the verdict
        assert desk.cut() == []
    desk.usable()
    confirm(desk)
    desk.usable()
    assert desk.cut() == []
    for step in ("prisma_resolve", "seed_verification", "api_routes"):
        desk.open(step_name(step))
        desk.run()
        assert desk.closed(step)["verdict"] in ("PASS", "OPEN")
        assert desk.cut() == []
    sign(desk)
    desk.see("The run is sealed")
    desk.usable()
    assert desk.cut() == []
    found = verify(run.path)
    assert found.problems == ()
    assert (found.trusted, found.mode) == (True, "apply")
    desk.open("00_start")
    desk.run()
    desk.see("Every step of this run has passed")
    desk.at_hand("read its report")
    desk.offered("read its report")
    assert desk.complaints == []
    page.get_by_role("link", name="read its report").click()
    page.wait_for_selector(".jp-HTMLViewer iframe, .jp-HTMLViewer-container iframe", timeout=TIMEOUT_MS)
    refused = (
        "Blocked script execution"  # JupyterLab shows a report without its script, and may say so by now
    )
    assert [said for said in desk.complaints if not said.startswith(refused)] == []
    page.goto(f"file://{run.path}/report.html")
    assert NOTE in page.locator("body").inner_text()


def confirm(desk: Desk) -> None:
    """Wait calmly, refuse a wrong word, and carry all the rest out by itself once the right one is typed."""
    page = desk.page
    desk.open("03_baseline_migration")
    desk.run()
    desk.at_hand("Creates 4 enums, 5 tables, 11 indexes in keybuzz on 127.0.0.1")
    desk.at_hand("What undoes it: plan/undo.sql, rehearsed")
    desk.at_hand(WAITING)
    desk.calm()
    assert "Not reached yet. Waiting for you" in page.locator(".runbooks-unreached").inner_text()
    page.locator(".runbooks-sql summary").first.click()
    desk.usable()
    assert "CREATE TABLE IF NOT EXISTS" in page.locator(".runbooks-sql pre").first.inner_text()
    wanted = re.search(r"keybuzz:[0-9a-f]{8}", desk.see("type keybuzz:"))
    assert wanted is not None
    typed = page.get_by_label("Confirmation")
    page.locator("button.runbooks-confirm").evaluate("button => button.scrollIntoView({block: 'end'})")
    typed.fill("keybuzz:00000000")
    typed.press("Enter")
    desk.at_hand("No plan of this archive is named keybuzz:00000000")
    assert "Not reached yet. Waiting for you" in page.locator(".runbooks-unreached").inner_text()
    assert "confirmation" not in desk.the_run().record_json("baseline_migration")["answers"]
    typed.fill(wanted[0])
    page.locator("button.runbooks-confirm").click()
    record = desk.closed("baseline_migration")
    assert typed.is_disabled()
    assert page.locator(".runbooks-unreached").count() == 0
    assert record["verdict"] == "PASS"
    assert record["answers"]["apply"]["facts"]["applied"] is True


def sign(desk: Desk) -> None:
    """Sign the manual item with a note."""
    page = desk.page
    desk.open("07_report")
    desk.run()
    desk.at_hand(WAITING)
    desk.calm()
    desk.usable()
    page.get_by_label("The Admin UI reads real data").check()
    page.get_by_label("Note").fill(NOTE)
    page.get_by_label("Note").press("Enter")
    assert desk.closed("report")["verdict"] == "OPEN"


# The README's pictures

PICTURES = Path(__file__).resolve().parents[2] / "docs" / "pictures"


@pytest.mark.skipif("RUNBOOKS_PICTURES" not in os.environ, reason="`make pictures` takes them anew")
def test_the_pictures_of_the_readme_are_taken_of_a_real_run(desk: Desk, tmp_path: Path) -> None:
    page = desk.page
    page.set_viewport_size({"width": 1120, "height": 800})
    for step in ("preflight", "backup"):
        desk.open(step_name(step))
        desk.run()
        assert desk.closed(step)["verdict"] == "PASS"
    desk.open("03_baseline_migration")
    desk.run()
    desk.see("type keybuzz:")
    form = page.locator("button.runbooks-confirm")
    for _ in range(4):  # what is drawn late moves it
        form.evaluate("button => button.scrollIntoView({block: 'end'})")
        page.wait_for_timeout(700)
    box = form.bounding_box()
    assert box is not None
    assert 0 < box["y"] < 780
    page.locator(".jp-NotebookPanel:visible").first.screenshot(path=PICTURES / "confirmation.png")
    demo = [str(Path(sys.executable).with_name("runbooks")), "demo", "--runs", str(tmp_path / "demo")]
    assert subprocess.run(demo, capture_output=True, timeout=180, check=False).returncode == 0
    (report,) = tmp_path.glob("demo/*/*/report.html")
    page.goto(report.as_uri())
    page.screenshot(path=PICTURES / "report.png")
    assert {file.name for file in PICTURES.iterdir()} == {"confirmation.png", "report.png"}
