"""A walk-through: its order is guarded, its decisions are a person's, and its archive verifies like any other."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from runbooks_lib.archive.manifest import MANIFEST, canonical, digests
from runbooks_lib.archive.run import Run, all_runs, runs_folder, step_name
from runbooks_lib.archive.run import operator as account
from runbooks_lib.archive.seal.verify import verify
from runbooks_lib.lab.lab import Lab
from runbooks_lib.phase import STEPS, load_phase
from runbooks_lib.report.html.pages import write_pages

PHASE = "PH15-AMAZON-DB-FOUNDATION-01"
WRONG = "keybuzz:00000000"
WAITING = "Waiting: Fill in the form above."
NOTE = "opened the Admin UI: three connections"
Operators = Callable[..., Any]


@pytest.fixture
def runs(lab: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty archive."""
    monkeypatch.setenv("RUNBOOKS_RUNS", str(tmp_path / "runs"))
    monkeypatch.delenv("RUNBOOKS_SIGNING_KEY", raising=False)
    return tmp_path / "runs"


@pytest.fixture(scope="module")
def walked(
    lab: Lab, operator: Operators, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Run, dict[str, str]]]:
    """A whole walk-through, and what each notebook showed: its plan is confirmed at the second attempt."""
    folder = tmp_path_factory.mktemp("walk")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RUNBOOKS_RUNS", str(folder))
        patch.delenv("RUNBOOKS_SIGNING_KEY", raising=False)
        shown = {step: walk(operator, step, folder) for step in STEPS}
        (run,) = all_runs(folder)
        yield run, shown


def walk(operator: Operators, step: str, folder: Path) -> str:
    with operator(step_name(step), folder) as me:
        said = me.run_all()
        if step == "baseline_migration":
            assert said == WAITING
            without_widgets(me, folder)
            type_in(me, WRONG)
            says(me, "decision", f"No plan of this archive is named {WRONG}")
            assert me.run_all(start=me.cell("gate(decision")) == WAITING
            type_in(me, wanted(folder))
            said = me.run_all(start=me.cell("gate(decision"))
        if step == "report":
            assert said == WAITING
            assert "signatures.decide(signed={NUMBER: 'what you saw'})" in me.text()
            me.form("signatures", "lines[0].tick.value = True")
            me.form("signatures", "done.click()")
            says(me, "signatures", "Say who you are, and what you saw")
            me.form("signatures", f"lines[0].note.value = {NOTE!r}")
            me.form("signatures", "done.click()")
            said = me.run_all(start=me.cell("gate(signatures"))
        assert said is None
        return str(me.text())


def without_widgets(me: Any, folder: Path) -> None:
    """A front end that draws no widget shows in plain text what would be done, and the words that decide it."""
    shown = "\n".join(data["text/plain"] for data in me.shown if "text/plain" in data)
    assert "Creates 4 enums, 5 tables, 11 indexes in keybuzz on 127.0.0.1" in shown
    assert f"decision.decide(confirm={wanted(folder)!r}, apply=True)" in shown
    refused = f"decision.decide(confirm={WRONG!r}, apply=True)"
    assert me.execute(f"assert 'No plan of this archive' in {refused}", silent=True) is None
    said = me.run_all(start=me.cell("step.close()"))
    assert said.startswith(
        "PreconditionFailed: Not reached: Do you confirm it? Apply it? Does a second run change"
    )
    assert said.endswith("A cell above waits for you, or was not run: run all cells.")


def wanted(folder: Path) -> str:
    """The confirmation of the plan that the newest run of an archive has made."""
    newest = max(all_runs(folder), key=lambda run: run.id)
    found: str = record(newest, "baseline_migration")["answers"]["plan"]["facts"]["confirmation"]
    return found


def says(me: Any, name: str, text: str) -> None:
    """The form of a decision says something beside itself."""
    assert me.execute(f"assert {text!r} in {name}.form._said.value", silent=True) is None


def type_in(me: Any, text: str) -> None:
    me.form("decision", f"typed.value = {text!r}")
    me.form("decision", "confirm.click()")


def record(run: Run, step: str) -> dict[str, Any]:
    found = run.record_json(step)
    assert found is not None
    return found


def archived(run: Run, step: str) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(run.notebook(step).read_text("utf-8"))
    return content


def only_run(runs: Path) -> Run:
    (run,) = all_runs(runs)
    return run


def test_what_was_walked_through_is_archived_sealed_and_verifies(walked: tuple[Run, dict[str, str]]) -> None:
    run, _ = walked
    found = verify(run.path)
    assert found.problems == ()
    assert found.trusted
    assert found.mode == "apply"
    assert [step for step in STEPS if not run.notebook(step).exists()] == []
    assert run.header().finished_at is not None


def test_who_confirmed_what_and_when_is_evidence(walked: tuple[Run, dict[str, str]]) -> None:
    run, shown = walked
    answers = record(run, "baseline_migration")["answers"]
    confirmed = answers["confirmation"]["facts"]["confirmed"]
    assert confirmed["confirmation"] == answers["plan"]["facts"]["confirmation"]
    assert confirmed["by"] == run.header().operator.user
    assert confirmed["at"][:19] >= answers["plan"]["started_at"][:19]
    assert answers["apply"]["facts"]["applied"] is True
    assert "FAIL" not in shown["baseline_migration"]


def test_a_stale_kernel_of_a_sealed_run_neither_writes_nor_seals(
    walked: tuple[Run, dict[str, str]], operator: Operators, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another kernel closes the last step and seals the run; whatever is run here after that leaves it alone."""
    run, _ = walked
    mine = Run(tmp_path / run.path.parent.name / run.id)
    shutil.copytree(run.path, mine.path)
    monkeypatch.setenv("RUNBOOKS_RUNS", str(tmp_path))
    sealed = (mine.path / "manifest.json").read_bytes()
    mine.reopen()
    mine.update(finished_at=None)
    with operator("07_report", tmp_path) as me:
        cells = [me.cells[0], me.cells[1]]
        assert [me.execute("".join(c["source"]), cell_id=c["id"]) for c in cells] == [None, None]
        shutil.rmtree(mine.path)
        shutil.copytree(run.path, mine.path)
        assert me.execute("1 + 1") is None
    assert (mine.path / "manifest.json").read_bytes() == sealed
    assert verify(mine.path).problems == ()


def test_who_confirms_is_who_is_there_and_not_who_began(
    runs: Path, operator: Operators, tmp_path: Path
) -> None:
    for step in ("preflight", "backup"):
        with operator(step_name(step), tmp_path) as me:
            assert me.run_all() is None
    run = only_run(runs)
    run.update(operator={"user": "somebody else", "host": "elsewhere"})
    with operator("03_baseline_migration", tmp_path) as me:
        assert me.run_all() == WAITING
        type_in(me, wanted(runs))
    confirmed = record(run, "baseline_migration")["answers"]["confirmation"]["facts"]["confirmed"]
    assert confirmed["by"] == account()


def test_a_signed_item_is_ticked_and_its_note_is_in_the_report(walked: tuple[Run, dict[str, str]]) -> None:
    run, _ = walked
    (signature,) = record(run, "report")["answers"]["sign_off"]["facts"]["signed"]
    assert signature["note"] == NOTE
    item = record(run, "report")["answers"]["checklist"]["facts"]["items"][signature["item"]]
    assert item["ticked"] is True
    assert NOTE in (run.path / "report.en.md").read_text("utf-8")
    assert NOTE in (run.path / "report.fr.md").read_text("utf-8")


def test_the_archived_notebook_shows_what_was_decided_without_its_form(
    walked: tuple[Run, dict[str, str]],
) -> None:
    run, _ = walked
    content = archived(run, "baseline_migration")
    (cell,) = [c for c in content["cells"] if "show(decision)" in "".join(c["source"])]
    confirmation = record(run, "baseline_migration")["answers"]["plan"]["facts"]["confirmation"]
    assert [set(output["data"]) for output in cell["outputs"]] == [
        {"text/markdown", "text/plain"},
        {"text/html", "text/plain"},
    ]
    assert confirmation in cell["outputs"][1]["data"]["text/html"]
    shown = [
        re.sub("<style.*?</style>", "", "".join(o["data"].values()), flags=re.DOTALL) for o in cell["outputs"]
    ]
    assert "FAIL" not in "".join(shown)
    page = (run.path / "03_baseline_migration.html").read_text("utf-8")
    assert confirmation in re.sub("<wbr ?/?>", "", page)


def test_counts_rise_where_a_cell_was_run_again(walked: tuple[Run, dict[str, str]]) -> None:
    run, _ = walked
    counts = [
        c["execution_count"] for c in archived(run, "baseline_migration")["cells"] if c["cell_type"] == "code"
    ]
    assert counts == sorted(counts)
    assert counts != list(range(1, len(counts) + 1))


def test_a_forged_order_of_a_walk_through_is_named(
    walked: tuple[Run, dict[str, str]], tmp_path: Path
) -> None:
    run, _ = walked
    forged = Run(tmp_path / run.path.parent.name / run.id)
    shutil.copytree(run.path, forged.path)
    content = archived(forged, "preflight")
    code = [c for c in content["cells"] if c["cell_type"] == "code"]
    code[4]["execution_count"], code[6]["execution_count"] = (
        code[6]["execution_count"],
        code[4]["execution_count"],
    )
    forged.notebook("preflight").write_text(json.dumps(content), "utf-8")
    manifest = json.loads((forged.path / MANIFEST).read_text("utf-8")) | {"files": digests(forged.path)}
    (forged.path / MANIFEST).write_bytes(canonical(manifest))  # as one would who can write but not sign
    assert [p for p in verify(forged.path).problems if "execut" in p.what] != []


def test_a_step_that_is_opened_too_early_names_the_notebook_to_run(
    runs: Path, operator: Operators, tmp_path: Path
) -> None:
    with operator("02_backup", tmp_path) as me:
        said = me.run_all()
        assert "No run of PH15-AMAZON-DB-FOUNDATION-01 is in progress" in said
        assert "Begin one: run 01_preflight.ipynb" in said
        Run.create(runs_folder(), load_phase(PHASE))
        said = me.run_all()
    assert said.startswith("PreconditionFailed: Step preflight has not been run in run ")
    assert said.endswith("Run 01_preflight.ipynb first, then this notebook.")


def test_preflight_takes_part_in_a_run_that_was_only_begun(
    runs: Path, operator: Operators, tmp_path: Path
) -> None:
    begun = Run.create(runs_folder(), load_phase(PHASE))
    with operator("01_preflight", tmp_path) as me:
        me.execute("from runbooks_lib.notebook import progress_line\nprogress_line.LONG_S = 0.0", silent=True)
        assert me.run_all() is None
        assert "FloatProgress" in me.text()
    assert "widget-view" not in begun.notebook("preflight").read_text("utf-8")
    assert only_run(runs).id == begun.id
    assert record(begun, "preflight")["verdict"] == "PASS"


def test_a_kernel_notices_that_its_run_is_no_longer_the_one(
    runs: Path, operator: Operators, tmp_path: Path
) -> None:
    with operator("01_preflight", tmp_path) as me:
        assert me.run_all() is None
        first = only_run(runs)
        ask = me.cell("preflight.schema")
        me.execute("open('x', 'w').close()")  # a cell of the operator's own
        with operator("01_preflight", tmp_path) as other:
            assert other.run_all() is None
        said = me.run_all(start=ask)
        assert f"This kernel takes part in run {first.id}, and run " in said
        shutil.rmtree(max(all_runs(runs), key=lambda run: run.id).path)
        stale = record(first, "preflight") | {"started_at": "2026-01-07T17:47:59.000Z"}
        first.note({"01_preflight.json": None})  # as the step does when it begins anew
        (first.path / "01_preflight.json").write_text(json.dumps(stale), "utf-8")
        assert "This kernel is stale: step preflight" in me.run_all(start=ask)
        first.update(finished_at="2026-01-07T17:47:59.000Z")
        (first.path / "manifest.json").write_text("{}", "utf-8")
        before = first.notebook("preflight").read_bytes()
        assert "is sealed meanwhile" in me.run_all(start=ask)
        assert first.notebook("preflight").read_bytes() == before
        shutil.rmtree(first.path)
        assert "is gone" in me.run_all(start=ask)
    assert (tmp_path / "x").exists()


def test_parameters_that_were_changed_are_archived_beside_the_shipped_ones(
    runs: Path, operator: Operators, tmp_path: Path
) -> None:
    with operator("01_preflight", tmp_path) as me:
        source = "".join(me.cells[0]["source"]).replace('phase: str = ""', f'phase: str = "{PHASE}"')
        assert me.run_all(changed={0: source}) is None
        assert me.execute("1 + 1  # <b>mine</b>", cell_id="mine") is None
    content = archived(only_run(runs), "preflight")
    (injected,) = [c for c in content["cells"] if "injected-parameters" in c["metadata"].get("tags", ())]
    assert f"phase = '{PHASE}'" in injected["source"]
    (own,) = [c for c in content["cells"] if "own" in c["metadata"].get("tags", ())]
    assert own["cell_type"] == "markdown"
    assert own["source"].endswith("    1 + 1  # <b>mine</b>")
    write_pages(only_run(runs))
    page = (only_run(runs).path / "01_preflight.html").read_text("utf-8")
    assert "1 + 1  # &lt;b&gt;mine&lt;/b&gt;" in page


def test_a_broken_lab_stops_preflight_at_its_end_and_the_notebook_is_archived(
    fresh_lab: Lab, operator: Operators, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RUNBOOKS_RUNS", str(tmp_path / "runs"))
    with fresh_lab.admin("keybuzz_backend") as conn:
        conn.execute("DROP INDEX oauth_states_state_key")
    with operator("01_preflight", tmp_path) as me:
        said = me.run_all()
    assert "FAIL has_index leader, replica public.oauth_states_state_key" in said
    content = archived(only_run(tmp_path / "runs"), "preflight")
    stopped = [c for c in content["cells"] if any(o["output_type"] == "error" for o in c.get("outputs", ()))]
    assert ["".join(c["source"]) for c in stopped] == ["show(step.close())"]


def test_only_plan_writes_nothing_and_says_so(runs: Path, operator: Operators, tmp_path: Path) -> None:
    for step in ("preflight", "backup"):
        with operator(step_name(step), tmp_path) as me:
            assert me.run_all() is None
    with (
        psycopg.connect("service=keybuzz_legacy", application_name="runbooks backup 20260107T174759Z-3f9c2a"),
        operator("03_baseline_migration", tmp_path) as me,
    ):
        assert me.run_all() == WAITING
        me.form("decision", "only_plan.click()")
        assert me.run_all(start=me.cell("gate(decision")) is None
        assert me.execute("decision.form.confirm.disabled or 1 / 0", silent=True) is None
        assert me.run_all() is None, "remembered, and"
        assert me.execute("decision.form.confirm.disabled and 1 / 0", silent=True) is None, (
            "may be thought over"
        )
    answers = record(only_run(runs), "baseline_migration")["answers"]
    verdicts = {f["check"]: f["verdict"] for f in answers["confirmation"]["findings"]}
    assert verdicts == {"nobody_else_is_at_work": "OPEN", "plan_is_confirmed": "SKIP"}
    (other,) = [f for f in answers["confirmation"]["findings"] if f["check"] == "nobody_else_is_at_work"]
    assert "keybuzz_operator (runbooks backup 20260107T174759Z-3f9c2a" in other["have"]
    assert answers["apply"]["facts"]["applied"] is False
    assert only_run(runs).header().mode == "plan"
