"""A headless Chromium for the tests of the pages; without one they are skipped, and say so."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from runbooks_lib.archive.run import Run
from runbooks_lib.lab.lab import Lab
from runbooks_lib.npm.install import install_packages
from runbooks_lib.report.html.index import write_site
from runbooks_lib.report.html.pages import write_pages

from .desk import Desk, jupyterlab

if TYPE_CHECKING:
    from playwright.sync_api import Browser, BrowserContext, Page

# Nothing but the pages: Chromium's own services would ask the network.
FLAGS = (
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """The system's Chromium."""
    program = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if program is None:
        pytest.skip("no Chromium is installed (Debian: apt-get install chromium)")
    from playwright.sync_api import sync_playwright

    sandbox = ("--no-sandbox",) if os.getuid() == 0 else ()  # its sandbox refuses to run as root
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=program, args=[*FLAGS, *sandbox])
        yield started
        started.close()


@pytest.fixture
def open_page(browser: Browser) -> Iterator[Callable[..., Page]]:
    """A function that opens a page's file; at the end nothing else was loaded, and nothing was said on the console."""
    contexts: list[BrowserContext] = []
    problems: list[str] = []

    def open_it(path: Path, **options: Any) -> Page:
        contexts.append(browser.new_context(**{"locale": "en-GB", "color_scheme": "light", **options}))
        page = contexts[-1].new_page()
        page.on("console", lambda message: problems.append(f"console: {message.text}"))
        page.on("pageerror", lambda error: problems.append(f"error: {error}"))
        page.on("request", lambda request: problems.append(f"request: {request.url}"))
        page.goto(path.as_uri())
        assert problems.pop(0) == f"request: {path.as_uri()}"
        return page

    yield open_it
    for context in contexts:
        context.close()
    assert problems == []


@pytest.fixture(scope="session")
def axe() -> str:
    """The source of axe-core, which finds what keeps people from using a page."""
    return (install_packages(Path(__file__).parent) / "node_modules/axe-core/axe.min.js").read_text("utf-8")


@pytest.fixture
def desk(
    browser: Browser, fresh_lab: Lab, tmp_path: Path, axe: str, request: pytest.FixtureRequest
) -> Iterator[Desk]:
    """JupyterLab on a lab of its own; a parameter is its base URL."""
    with jupyterlab(browser, fresh_lab, tmp_path, axe, base=getattr(request, "param", "/")) as opened:
        yield opened


@pytest.fixture(scope="session")
def archive(make_run: Callable[..., Run], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An archive with its index and three runs: planned, applied, failed."""
    runs = tmp_path_factory.mktemp("archive")
    write_site(runs)  # the pages lead to an index that is there
    days = {"planned": 23, "applied": 24, "failed": 25}
    for kind, day in days.items():
        made = make_run(
            runs,
            name=f"202611{day}T080000Z-00000{day}",
            evidence="planned" if kind == "planned" else "applied",
            change=lambda files, day=day, kind=kind: _begun(files, day, failed=kind == "failed"),
        )
        write_pages(made)
    write_site(runs)
    return runs


def _begun(files: dict[str, dict[str, object]], day: int, *, failed: bool) -> None:
    header = files["run.json"]
    header |= {
        "started_at": f"2026-11-{day}T08:00:00.000Z",
        "finished_at": f"2026-11-{day}T08:00:{day}.000Z",
    }
    if failed:
        header |= {"verdict": "FAIL", "finished_at": None}
        record: dict[str, object] = files["06_api_routes.json"]
        answers: dict[str, dict[str, list[dict[str, str]]]] = record["answers"]  # type: ignore[assignment]
        for finding in answers["routes"]["findings"]:
            finding |= {"verdict": "FAIL", "hint": "Deploy it."}
