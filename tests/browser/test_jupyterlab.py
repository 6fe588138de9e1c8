"""The walk-through in JupyterLab, by real clicks and typing: all seven notebooks, and a replica that stops half-way."""

from __future__ import annotations

import json
import os
import re
import secrets
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from runbooks_lib.archive.run import Run, all_runs, step_name
from runbooks_lib.archive.seal.verify import verify
from runbooks_lib.execution.jupyter import command, environment, lay_out
from runbooks_lib.lab.lab import Lab
from runbooks_lib.phase import STEPS

if TYPE_CHECKING:
    from playwright.sync_api import Browser, ConsoleMessage

TIMEOUT_MS = 60_000
NOTE = "opened the Admin UI: three connections"
WAITING = "Waiting for you"
MEND = "Mend what is named above, then run this notebook again"
ENDED = "2026-11-24T08:01:00.000Z"
AT_HAND = """text => {
  const panel = document.querySelector('.jp-NotebookPanel:not(.lm-mod-hidden) .jp-WindowedPanel-outer');
  const view = panel.getBoundingClientRect();
  return [...panel.querySelectorAll('.jp-OutputArea *')].some(each => {
    if (!each.textContent.includes(text) || [...each.children].some(c => c.textContent.includes(text))) return false;
    const box = each.getBoundingClientRect();
    return box.height > 0 && box.top >= view.top && box.bottom <= view.bottom;
  });
}"""
# What of a notebook is ours: its texts and its outputs, not JupyterLab's own frame.
OURS = """async () => (await axe.run({
  include: [['.jp-NotebookPanel:not(.lm-mod-hidden) .jp-RenderedMarkdown'],
            ['.jp-NotebookPanel:not(.lm-mod-hidden) .jp-OutputArea-output']],
  exclude: [['.jp-collapseHeadingButton']],
})).violations.flatMap(v => v.nodes.map(n => `${v.id}: ${v.help}: ${n.html.slice(0, 160)}`))"""
TOO_WIDE = """() => {
  const panel = document.querySelector('.jp-NotebookPanel:not(.lm-mod-hidden)');
  return [...panel.querySelectorAll('.jp-OutputArea-output, .jp-OutputArea-output *')].filter(each =>
    each.clientWidth && each.scrollWidth > each.clientWidth + 1 && getComputedStyle(each).display !== 'inline'
    && getComputedStyle(each).textOverflow !== 'ellipsis').map(each => `${each.tagName} ${each.className}`);
}"""
PRIMARY = "button.mod-primary:visible, a.runbooks-next:visible"


class Desk:
    """A page of JupyterLab, and what an operator does there."""

    def __init__(self, browser: Browser, address: str, lab: Lab, runs: Path, axe: str) -> None:
        self.axe = axe
        self.page = browser.new_page(viewport={"width": 1280, "height": 800})
        self.lab = lab
        self.runs = runs
        self.complaints: list[str] = []
        self._address = address
        self.page.on("console", self._hear)
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))

    def _hear(self, message: ConsoleMessage) -> None:
        if message.type == "error":
            self.complaints.append(message.text)

    def open(self, name: str) -> None:
        """Open a notebook and wait until its kernel and the widgets are there."""
        self.page.goto(self._address.format(name))
        self.page.wait_for_selector(".jp-Notebook .jp-CodeCell", timeout=TIMEOUT_MS)
        self.page.wait_for_selector(".jp-Notebook-ExecutionIndicator[data-status=idle]", timeout=TIMEOUT_MS)
        self.page.wait_for_timeout(2500)  # late extensions; a kernel dialog shows by now
        if self.page.locator(".jp-Dialog .jp-mod-accept").count():
            self.page.locator(".jp-Dialog .jp-mod-accept").first.click()

    def run(self, item: str = "Run All Cells") -> None:
        """Choose an item of the menu Run."""
        self.page.locator(".lm-MenuBar-itemLabel", has_text="Run").click()
        self.page.locator(".lm-Menu-itemLabel", has_text=item).first.click()

    def see(self, text: str) -> str:
        """Wait until a text is shown; return the whole of its element."""
        return str(self.page.locator(f":text({json.dumps(text)})").first.inner_text(timeout=TIMEOUT_MS))

    def at_hand(self, text: str) -> None:
        """Wait until a text of an output stands inside the viewport, without anybody scrolling there."""
        self.page.wait_for_function(AT_HAND, arg=text, timeout=TIMEOUT_MS)

    def calm(self) -> None:
        """Nothing on the page says that something is wrong."""
        said = self.page.locator(".jp-Notebook").first.text_content() or ""
        assert [word for word in (">FAIL<", "✘ FAIL", "FAIL ", "ERROR ", "Traceback") if word in said] == []
        assert self.page.locator(".jp-RenderedText[data-mime-type*=stderr], .jp-mod-error").count() == 0

    def offered(self, name: str) -> None:
        """Wait until a button is the primary one, and no other is."""
        self.page.locator(PRIMARY, has_text=name).wait_for(timeout=TIMEOUT_MS)
        assert self.page.locator(PRIMARY).all_inner_texts() == [name]

    def usable(self) -> None:
        """What is shown keeps nobody out, in light and in dark, and nothing is wider than its cell."""
        for scheme in ("light", "dark"):
            self.page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
            told = f"body[data-jp-theme-light={'true' if scheme == 'light' else 'false'}]"
            self.page.wait_for_selector(told, state="attached")
            self.page.wait_for_timeout(500)  # the old theme fades
            self.page.evaluate(self.axe)
            assert self.page.evaluate(OURS) == []
        self.page.emulate_media(color_scheme="light")
        assert self.page.evaluate(TOO_WIDE) == []

    def the_run(self) -> Run:
        """Return the only run of the archive."""
        (run,) = all_runs(self.runs)
        return run

    def closed(self, step: str) -> dict[str, Any]:
        """Wait until the step's record is closed and return it: not every cell is in the page, but the record is."""
        return self._wait(lambda: self._record(step, closed=True))

    def answered(self, step: str, question: str) -> dict[str, Any]:
        """Wait until the step has answered a question; return the answer."""
        return self._wait(lambda: self._record(step)["answers"].get(question))

    def cut(self) -> list[str]:
        """Return the heads of the tables that are wider than their place, so that some of them is not seen."""
        self.page.wait_for_timeout(500)  # the last one may still have to be drawn
        found: list[str] = self.page.evaluate(
            "() => [...document.querySelectorAll('.jp-OutputArea-output table')].filter("
            "table => table.offsetParent && table.offsetWidth > table.parentElement.clientWidth"
            ").map(table => table.tHead.innerText)"
        )
        return found

    def _record(self, step: str, *, closed: bool = False) -> dict[str, Any]:
        record = next((run.record_json(step) for run in all_runs(self.runs)), None) or {"answers": {}}
        return {} if closed and not record.get("finished_at") else record

    def _wait(self, look: Any) -> dict[str, Any]:
        deadline = time.monotonic() + TIMEOUT_MS / 1000
        while not (found := look()):
            assert time.monotonic() < deadline, self.page.locator(".jp-Notebook").inner_text()
            self.page.wait_for_timeout(100)
        return dict(found)


@pytest.fixture
def desk(
    browser: Browser, fresh_lab: Lab, tmp_path: Path, axe: str, request: pytest.FixtureRequest
) -> Iterator[Desk]:
    """JupyterLab as `runbooks lab up --jupyter` starts it, with a token and nothing of the user's own.

    Its theme is that of the browser. A parameter is its base URL, as a hub gives one to each user.
    """
    base: str = getattr(request, "param", "/")
    runs = tmp_path / "runs"
    folder = lay_out(runs)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    token = secrets.token_hex(16)
    own = ("JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR", "JUPYTERLAB_SETTINGS_DIR",
           "JUPYTERLAB_WORKSPACES_DIR", "IPYTHONDIR")  # fmt: skip
    env = environment(folder, fresh_lab.env()) | {name: str(tmp_path / name) for name in own}
    themes = tmp_path / "JUPYTERLAB_SETTINGS_DIR" / "@jupyterlab" / "apputils-extension"
    themes.mkdir(parents=True)
    (themes / "themes.jupyterlab-settings").write_text('{"adaptive-theme": true}', "utf-8")
    process = subprocess.Popen(
        [*command(folder), "--no-browser", f"--port={port}", f"--ServerApp.base_url={base}"],
        env={**env, "JUPYTER_TOKEN": token},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        server = f"http://127.0.0.1:{port}{base}"
        wait_until_up(f"{server}api/status?token={token}")
        refused(f"{server}api/contents")
        address = f"{server}lab/tree/notebooks/{{}}.ipynb?token={token}&reset"
        yield Desk(browser, address, fresh_lab, runs, axe)
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait(30)


def wait_until_up(url: str) -> None:
    deadline = time.monotonic() + 60
    while True:
        try:
            urllib.request.urlopen(url, timeout=2).close()
            return
        except (urllib.error.URLError, OSError):
            assert time.monotonic() < deadline
            time.sleep(0.1)


def refused(url: str) -> None:
    with pytest.raises(urllib.error.HTTPError) as said:
        urllib.request.urlopen(url, timeout=5)
    assert said.value.code == 403
    said.value.close()


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
