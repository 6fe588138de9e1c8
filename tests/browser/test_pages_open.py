"""The pages in a real browser: offline, without an error, usable by everybody, in light, dark and on paper."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from playwright.sync_api import Page

PAGES = ("report.html", "06_api_routes.html", "index.html")
OPEN = Callable[..., "Page"]


@pytest.fixture
def opened(open_page: OPEN, archive: Path) -> OPEN:
    """A function that opens a page of the applied run, or the index."""

    def by_name(name: str, *, run: str = "20261124*", **options: Any) -> Page:
        path = archive / name if name == "index.html" else next(archive.glob(f"*/{run}/{name}"))
        return open_page(path, **options)

    return by_name


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("name", PAGES)
def test_a_page_opens_offline_and_keeps_nobody_out(opened: OPEN, axe: str, name: str, scheme: str) -> None:
    page = opened(name, color_scheme=scheme, bypass_csp=True)  # only so that axe-core can be brought in
    page.evaluate(axe)
    found = page.evaluate("async () => (await axe.run()).violations")
    said = [f"{v['id']}: {v['help']}: {n['html'][:160]}" for v in found for n in v["nodes"]]
    assert said == []


def test_a_failed_run_keeps_nobody_out_either(opened: OPEN, axe: str) -> None:
    page = opened("report.html", run="20261125*", locale="fr-FR", bypass_csp=True)
    page.evaluate(axe)
    found = page.evaluate("async () => (await axe.run()).violations")
    assert [(v["id"], [n["html"][:160] for n in v["nodes"]]) for v in found] == []


@pytest.mark.parametrize("scripts", [True, False], ids=["with JavaScript", "without"])
def test_the_language_is_switched(opened: OPEN, scripts: bool) -> None:
    page = opened("report.html", java_script_enabled=scripts, locale="fr-FR")
    french, english = page.locator("main[lang=fr]"), page.locator("main[lang=en]")
    assert (french.is_visible(), english.is_visible()) == (True, False)
    page.get_by_text("English", exact=True).click()
    assert (french.is_visible(), english.is_visible()) == (False, True)
    assert page.locator("header .title").inner_text() == "Amazon database foundation"
    page.get_by_text("Français", exact=True).click()
    assert (french.is_visible(), english.is_visible()) == (True, False)
    assert page.locator("header .title").inner_text() == "Fondation de la base de données Amazon"


def test_the_language_is_that_of_the_reader_and_is_kept(opened: OPEN) -> None:
    page = opened("report.html", locale="en-US")
    assert page.locator("main[lang=en]").is_visible()
    assert page.evaluate("document.documentElement.lang") == "en"
    page.locator("#lang-en").focus()
    page.keyboard.press("ArrowRight")  # by keyboard as well
    assert page.locator("main[lang=fr]").is_visible()
    assert page.evaluate("document.documentElement.lang") == "fr"


@pytest.mark.parametrize("lang", ["en", "fr"])
def test_pictures_have_text_alternatives_and_a_size(opened: OPEN, lang: str) -> None:
    page = opened("report.html", locale=lang)
    pictures = page.locator(f"main[lang={lang}] svg")
    assert pictures.count() == 3  # no curve: no standby was behind
    for number in range(3):
        picture = pictures.nth(number)
        box = picture.bounding_box()
        assert box is not None
        assert box["width"] > 600
        assert box["height"] > 200
        assert page.get_by_role("img", name=picture.locator("> title").inner_html()).count() == 1


def test_no_text_of_a_picture_is_cut_off(opened: OPEN) -> None:
    page = opened("report.html", locale="fr-FR", viewport={"width": 1280, "height": 900})
    outside = page.evaluate(
        """() => [...document.querySelectorAll("main[lang=fr] svg")].flatMap(svg => {
             const frame = svg.getBoundingClientRect();
             return [...svg.querySelectorAll("text")].filter(text => {
               const box = text.getBoundingClientRect();
               return box.left < frame.left - 1 || box.right > frame.right + 1 || box.bottom > frame.bottom + 1;
             }).map(text => text.textContent);
           })"""
    )
    assert outside == []


def test_a_reference_leads_to_the_finding(opened: OPEN) -> None:
    page = opened("report.html", locale="en-GB")
    href = page.locator("main[lang=en] .ref a", has_text="plan_is_confirmed").first.get_attribute("href")
    assert href == "03_baseline_migration.html#check-plan_is_confirmed"
    target = opened("03_baseline_migration.html")
    target.evaluate("location.hash = '#check-plan_is_confirmed'")
    row = target.locator("tbody:target")
    row.wait_for()
    assert "plan_is_confirmed" in row.inner_text()
    row.scroll_into_view_if_needed()
    assert row.is_visible()


@pytest.mark.parametrize("name", PAGES)
@pytest.mark.parametrize("width", [360, 1280])
def test_no_page_is_wider_than_the_window(opened: OPEN, name: str, width: int) -> None:
    page = opened(name, viewport={"width": width, "height": 800})
    assert page.evaluate("document.documentElement.scrollWidth") <= width


def test_passed_findings_are_folded_and_all_are_searched(opened: OPEN) -> None:
    page = opened("01_preflight.html")
    folded = page.locator("details.answer")
    assert folded.count() > 3
    assert {box.get_attribute("open") for box in folded.all()} == {None}
    assert "PASS" in folded.first.locator("summary").inner_text()
    page.get_by_label("Search").fill("OAuthState")
    shown = page.locator(".answer tbody tr:visible")
    assert shown.count() > 0
    assert [row for row in shown.all() if "OAuthState" not in row.inner_text()] == []
    assert page.locator("#shown").inner_text().startswith(f"{shown.count()} / ")
    page.get_by_label("Verdict").select_option("FAIL")
    assert shown.count() == 0


def test_what_did_not_pass_is_unfolded_and_so_is_what_a_link_names(opened: OPEN) -> None:
    page = opened("06_api_routes.html", run="20261125*")
    assert page.locator("#findings-routes ~ details.answer").first.get_attribute("open") is not None
    page = opened("03_baseline_migration.html")
    page.evaluate("location.hash = '#check-plan_is_confirmed'")
    page.locator("tbody:target tr").first.wait_for()


def test_on_a_phone_a_picture_scrolls_instead_of_shrinking(opened: OPEN) -> None:
    page = opened("report.html", viewport={"width": 390, "height": 800})
    figure = page.locator("main[lang=en] figure").first
    assert figure.evaluate("f => f.scrollWidth > f.clientWidth")
    smallest = page.evaluate(
        """() => Math.min(...[...document.querySelectorAll("main[lang=en] svg text")].map(
             text => parseFloat(getComputedStyle(text).fontSize) * text.getScreenCTM().a))"""
    )
    assert smallest >= 8


@pytest.mark.parametrize("name", ["index.html", "01_preflight.html"])
def test_on_a_phone_no_label_covers_the_next_line(opened: OPEN, name: str) -> None:
    page = opened(name, viewport={"width": 390, "height": 800})
    fits = page.evaluate(
        """() => [...document.querySelectorAll(".cards [data-label]")].filter(cell => cell.clientHeight).map(
             cell => parseFloat(getComputedStyle(cell, "::before").height) <= cell.clientHeight + 1)"""
    )
    assert len(fits) > 5
    assert all(fits)


def test_the_outcome_is_on_the_first_screen_and_leads_to_what_is_left(opened: OPEN) -> None:
    page = opened("report.html", viewport={"width": 1280, "height": 800})
    outcome = page.locator("main[lang=en] p", has_text="Done.").first
    box = outcome.bounding_box()
    assert box is not None
    assert box["y"] + box["height"] < 800
    outcome.locator("a").first.click()
    assert page.locator("h2:target").inner_text() == "VALIDATION CHECKLIST"


def test_on_paper_there_is_the_chosen_language_and_nothing_to_click(opened: OPEN) -> None:
    page = opened("report.html", locale="fr-FR", color_scheme="dark")
    page.emulate_media(media="print", color_scheme="dark")
    assert page.locator("main[lang=fr]").is_visible()
    hidden = (".switch", ".steps", "nav.toc[lang=fr]", "main[lang=en]")
    assert [selector for selector in hidden if page.locator(selector).is_visible()] == []
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert page.evaluate("getComputedStyle(document.querySelector('main')).color") == "rgb(0, 0, 0)"
    assert page.pdf(prefer_css_page_size=True).startswith(b"%PDF")


# The index


def shown(page: Page) -> list[str]:
    """The days of the runs that are shown."""
    rows = page.locator("tr[data-phase]")
    return [str(r.get_attribute("data-date"))[-2:] for r in rows.all() if r.is_visible()]


def test_runs_are_filtered(opened: OPEN) -> None:
    page = opened("index.html")
    assert shown(page) == ["25", "24", "23"]
    page.get_by_label("Verdict").select_option("FAIL")
    assert shown(page) == ["25"]
    assert page.locator("#shown").inner_text() == "1"
    page.get_by_role("button", name="Show all").click()
    page.locator("#shown", has_text="3").wait_for()
    page.get_by_label("Mode").select_option("plan")
    assert shown(page) == ["23"]
    page.get_by_label("Mode").select_option("*")
    page.get_by_label("From").fill("2026-11-24")
    assert shown(page) == ["25", "24"]
    page.get_by_label("Until").fill("2026-11-24")
    assert shown(page) == ["24"]
    page.get_by_label("Phase").select_option("PH15-AMAZON-DB-FOUNDATION-01")
    assert shown(page) == ["24"]
    page.get_by_role("button", name="Show all").click()
    page.locator("#shown", has_text="3").wait_for()
    page.get_by_label("only with changes").check()
    assert shown(page) == ["25", "24"]


def test_runs_are_searched_and_sorted_and_the_address_says_so(opened: OPEN) -> None:
    page = opened("index.html")
    page.get_by_label("Search").fill("0000025")
    assert shown(page) == ["25"]
    page.get_by_label("Search").fill("")
    page.get_by_role("button", name="Begun (UTC)").click()
    assert shown(page) == ["23", "24", "25"]
    assert page.locator("th[aria-sort=ascending]").count() == 1
    page.get_by_role("button", name="Verdict").click()
    page.get_by_role("button", name="Verdict").click()
    assert shown(page)[0] == "25"  # the worst first
    page.get_by_label("Mode").select_option("apply")
    address = page.evaluate("location.hash")
    assert address == "#mode=apply&sort=-verdict"
    page.get_by_role("button", name="Show all").click()
    page.locator("#shown", has_text="3").wait_for()
    page.evaluate(f"location.hash = {address!r}")
    page.locator("#shown", has_text="2").wait_for()
    assert shown(page) == ["25", "24"]


def test_what_changed_is_unfolded_and_the_report_is_a_click_away(opened: OPEN) -> None:
    page = opened("index.html", locale="fr-FR")
    row = page.locator("tr[data-date='2026-11-25']")
    row.locator("summary").click()
    assert "route_is_served" in row.locator("details").inner_text()
    href = row.locator("a").first.get_attribute("href")
    assert href == "PH15-AMAZON-DB-FOUNDATION-01/20261125T080000Z-0000025/report.html"


def test_without_javascript_the_index_shows_every_run(opened: OPEN) -> None:
    page = opened("index.html", java_script_enabled=False)
    assert shown(page) == ["25", "24", "23"]
    assert not page.locator("#filters").is_visible()
