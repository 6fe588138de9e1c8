"""The report of a fleet run in a real browser: many databases open fast, are found, and none of their names is run."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any
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


@pytest.fixture
def opened(browser: Browser) -> Iterator[OPEN]:
    """A function that opens a page; at the end nothing else was loaded, and no error was said."""
    problems: list[str] = []
    contexts = []

    def open_page(path: Path, **options: Any) -> Page:
        contexts.append(browser.new_context(locale="en-GB", **options))
        page = contexts[-1].new_page()
        page.on("console", lambda message: problems.append(f"console: {message.text}"))
        page.on("pageerror", lambda error: problems.append(f"error: {error}"))
        page.on("request", lambda request: problems.append(f"request: {request.url}"))
        page.goto(path.as_uri())
        assert problems.pop(0) == f"request: {path.as_uri()}"
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert problems == []


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
    opened: OPEN, many: Path, scripts: bool
) -> None:
    page = opened(many, java_script_enabled=scripts)
    rows = page.locator("details tbody tr")
    assert [row.is_visible() for row in rows.all()] == ([] if scripts else [False] * (FOLDED_FROM + 1))
    page.locator("details summary").click()
    assert rows.count() == FOLDED_FROM + 1
    rows.last.scroll_into_view_if_needed()
    assert rows.last.is_visible()
    assert rows.last.locator("td").count() == 10
    link = rows.last.locator("a")
    assert link.text_content() == "server_1/tenant_202"
    assert (many.parent / unquote(link.get_attribute("href") or "")).is_file()


def test_a_database_is_found_by_its_name(opened: OPEN, many: Path) -> None:
    page = opened(many)
    page.locator("details summary").click()
    page.locator("details input[type=search]").fill("TENANT_77")
    shown = [row for row in page.locator("details tbody tr").all() if row.is_visible()]
    assert [row.locator("th").inner_text() for row in shown] == ["server_2/tenant_77"]
    page.locator("details summary").click()
    page.locator("details summary").click()
    assert page.locator("details tbody tr").count() == FOLDED_FROM + 1


def test_on_a_phone_each_verdict_of_what_was_unfolded_names_its_step(opened: OPEN, many: Path) -> None:
    page = opened(many, viewport={"width": 390, "height": 800})
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
    browser: Browser, tmp_path: Path, where: str, scripts: bool
) -> None:
    fleet = simulated(MANY, 3)
    member = fleet.members[1]
    changes = {"name": HOSTILE} if where == "name" else {"labels": {"x": HOSTILE}}
    hostile = msgspec.structs.replace(member, place=msgspec.structs.replace(member.place, **changes))
    fleet = msgspec.structs.replace(fleet, members=(fleet.members[0], hostile, *fleet.members[2:]))
    report = written(fleet, tmp_path)
    context = browser.new_context(bypass_csp=True, java_script_enabled=scripts)
    said: list[str] = []
    page = context.new_page()
    page.on("request", lambda request: said.append(request.url))
    page.goto(report.as_uri())
    page.locator("details summary").click()
    page.wait_for_timeout(100)
    row = page.locator("details tbody tr").first
    assert HOSTILE in row.inner_text()
    assert page.locator("img").count() == 0
    assert page.evaluate("window.hacked === undefined") if scripts else True
    assert said == [report.as_uri()]
    context.close()
