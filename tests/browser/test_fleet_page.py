"""The report of a fleet run in a real browser: many databases open fast, are found, and none of their names is run."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote

import msgspec
import pytest

from runbooks_lib.execution.fleet.folder import FleetFolder
from runbooks_lib.execution.fleet.record import Fleet
from runbooks_lib.execution.fleet.report import FOLDED_FROM
from runbooks_lib.execution.fleet.report import page as fleet_page

from ..benchmarks.fleet_simulation import simulated

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

DEED = "window.hacked = true"
HOSTILE = f'</noscript><img src=x onerror="{DEED}"></td></table></details><script>{DEED}</script>'
MANY = FOLDED_FROM + 3  # two of them are stopped
OPEN = Callable[..., "Page"]


def written(fleet: Fleet, to: Path) -> Path:
    """Write the report of a fleet run, with a report of the run at each database for its links to lead to."""
    report = to / "fleets" / "SIMULATED" / "x" / "report.html"
    report.parent.mkdir(parents=True)
    folder = FleetFolder(report.parent)
    for member in fleet.members:
        run = folder.run(member, fleet.phase.id)
        run.mkdir(parents=True)
        (run / "report.html").touch()
    report.write_text(fleet_page(folder, fleet, report.parent), "utf-8")
    return report


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The report of a fleet run with more databases that came to their end than the page shows unasked."""
    return written(simulated(MANY, 3), tmp_path_factory.mktemp("many"))


def test_the_report_of_ten_thousand_databases_opens_within_two_seconds(
    browser: Browser, tmp_path: Path
) -> None:
    report = written(simulated(10_000, 100), tmp_path)
    page = browser.new_page()
    begun = time.perf_counter()
    page.goto(report.as_uri())
    page.wait_for_function("document.readyState === 'complete'")
    took_s = time.perf_counter() - begun
    assert page.locator("h2").count() == 3
    assert page.locator("details").count() == 1
    page.close()
    assert took_s < 2.0


@pytest.mark.parametrize("scripts", [True, False], ids=["with scripts", "without scripts"])
def test_the_databases_that_came_to_their_end_are_shown_when_asked(
    open_page: OPEN, many: Path, scripts: bool
) -> None:
    page = open_page(many, java_script_enabled=scripts)
    rows = page.locator("details tbody tr")
    assert [row.is_visible() for row in rows.all()] == ([] if scripts else [False] * (FOLDED_FROM + 1))
    page.locator("details summary").click()
    assert rows.count() == FOLDED_FROM + 1
    assert page.locator("details table").count() == 2  # laid out one by one, when they are scrolled to
    rows.last.scroll_into_view_if_needed()
    assert rows.last.is_visible()
    assert rows.last.locator("td").count() == 10
    link = rows.last.locator("a")
    assert link.text_content() == "server_1/tenant_202"
    assert (many.parent / unquote(link.get_attribute("href") or "")).is_file()


def test_a_database_is_found_by_its_name(open_page: OPEN, many: Path) -> None:
    page = open_page(many)
    page.locator("details summary").click()
    page.locator("details input[type=search]").fill("TENANT_77")
    shown = [row for row in page.locator("details tbody tr").all() if row.is_visible()]
    assert [row.locator("th").inner_text() for row in shown] == ["server_2/tenant_77"]
    assert [table.is_visible() for table in page.locator("details table").all()] == [True, False]
    page.locator("details input[type=search]").fill("")
    assert page.locator("details [hidden]").count() == 0
    page.locator("details summary").click()
    page.locator("details summary").click()
    assert page.locator("details tbody tr").count() == FOLDED_FROM + 1


def test_on_a_phone_each_verdict_of_what_was_unfolded_names_its_step(open_page: OPEN, many: Path) -> None:
    page = open_page(many, viewport={"width": 390, "height": 800})
    page.locator("details summary").click()
    cells = page.locator("details tbody tr").first.locator("td")
    assert [cell.get_attribute("data-label") for cell in cells.all()][:3] == [
        "Verdict",
        "preflight",
        "backup",
    ]


@pytest.mark.parametrize("scripts", [True, False], ids=["with scripts", "without scripts"])
@pytest.mark.parametrize("where", ["name", "labels"])
def test_no_script_in_the_name_of_a_database_runs(
    open_page: OPEN, tmp_path: Path, where: str, scripts: bool
) -> None:
    fleet = simulated(MANY, 3)
    member = fleet.members[1]
    changes = {"name": HOSTILE} if where == "name" else {"labels": {"x": HOSTILE}}
    hostile = msgspec.structs.replace(member, place=msgspec.structs.replace(member.place, **changes))
    fleet = msgspec.structs.replace(fleet, members=(fleet.members[0], hostile, *fleet.members[2:]))
    report = written(fleet, tmp_path)
    page = open_page(report, bypass_csp=True, java_script_enabled=scripts)
    page.locator("details summary").click()
    page.wait_for_timeout(100)
    assert HOSTILE in page.locator("details tbody tr").first.inner_text()
    assert page.locator("img").count() == 0
    assert page.evaluate("window.hacked === undefined")
