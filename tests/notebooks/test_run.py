"""The whole phase through its notebooks by papermill, on a real lab; and what is archived when it does not go well."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from itertools import product
from pathlib import Path
from typing import Any

import nbformat
import pytest
from click.testing import CliRunner

from runbooks_lib.archive.run import Run
from runbooks_lib.archive.seal.keys import generate
from runbooks_lib.archive.seal.verify import verify
from runbooks_lib.cli import commands
from runbooks_lib.errors import GateClosed
from runbooks_lib.execution import runner
from runbooks_lib.execution.confirmation import confirmation_of
from runbooks_lib.execution.kernels import warm
from runbooks_lib.execution.kernels.warm import KIND_VARIABLE, can_fork
from runbooks_lib.execution.runner import Outcome, Result, run_notebooks
from runbooks_lib.findings import Verdict
from runbooks_lib.lab.lab import API_STOPPING, Lab
from runbooks_lib.lab.services import find_api
from runbooks_lib.phase import STEPS, load_phase

from ..faults.campaign import fault

PHASE = "PH15-AMAZON-DB-FOUNDATION-01"
RUNBOOKS = Path(sys.executable).with_name("runbooks")
OPEN_ITEMS = ["The Amazon API routes are reachable", "The Admin UI reads real data"]


def execute(
    runs: Path, *, steps: tuple[str, ...] = STEPS, apply: bool = False, run: Run | None = None
) -> Result:
    phase = load_phase(PHASE)
    run = run or Run.create(runs, phase)
    return run_notebooks(
        run, phase=PHASE, apply=apply, confirm=lambda: confirmation_of(phase, run), steps=steps
    )


def last(result: Result, step: str) -> Outcome:
    """The outcome of the step at which the run ended."""
    assert result.outcomes[-1].step == step
    return result.outcomes[-1]


def closing(outcome: Outcome) -> set[tuple[str, str, str]]:
    return {
        (f.check, f.target, f.object) for f in outcome.findings if f.verdict in (Verdict.FAIL, Verdict.ERROR)
    }


# --- a run that goes well --------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def applied(tmp_path_factory: pytest.TempPathFactory) -> subprocess.CompletedProcess[str]:
    """The demo, run once for this file by the command that users run."""
    runs = tmp_path_factory.mktemp("demo")
    done = subprocess.run(
        [str(RUNBOOKS), "demo", "--runs", str(runs)], capture_output=True, text=True, timeout=180, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done


@pytest.fixture(scope="module")
def demo_run(applied: subprocess.CompletedProcess[str]) -> Run:
    return Run.open(Path(applied.stdout.split()[-1]))  # runbooks verify FOLDER


def test_demo_prints_steps_open_items_and_what_is_next(applied: subprocess.CompletedProcess[str]) -> None:
    words = [line.split() for line in applied.stdout.splitlines()]
    verdicts = {w[0]: w[-2] for w in words if w and w[0][:2].isdigit()}
    names = [f"{n:02d}_{step}" for n, step in enumerate(STEPS, start=1)]
    assert list(verdicts) == names
    expected = dict.fromkeys(names, "PASS") | {"06_api_routes": "OPEN", "07_report": "OPEN"}
    assert verdicts == expected
    open_lines = [line for line in applied.stdout.splitlines() if line.startswith("open item: ")]
    assert [line.split(" (")[0] for line in open_lines] == [f"open item: {item}" for item in OPEN_ITEMS]
    folder = applied.stdout.split()[-1]
    assert applied.stdout.splitlines()[-1] == (
        "OPEN · applied: 4 enums, 5 tables, 11 indexes; 1 row in Prisma's history · "
        f"report: {folder}/report.html · next: runbooks verify {folder}"
    )
    assert [line for line in applied.stderr.splitlines() if " of 7  " in line] == [
        f"{n} of 7  {name}" for n, name in enumerate(names, start=1)
    ]


def test_demo_folder_holds_everything(demo_run: Run) -> None:
    names = {path.name for path in demo_run.path.iterdir()}
    for number, step in enumerate(STEPS, start=1):
        assert {f"{number:02d}_{step}.ipynb", f"{number:02d}_{step}.json"} <= names
    assert {"run.json", "report.fr.md", "report.en.md", "backup", "plan"} <= names
    assert not [name for name in names if "partial" in name]
    dumps = sorted(path.name for path in (demo_run.path / "backup").iterdir())
    assert len(dumps) == 2
    assert all(name.startswith("schema_backup_") for name in dumps)


def test_demo_header_is_complete_and_tells_nothing_secret(demo_run: Run) -> None:
    header = demo_run.header_json()
    assert header["verdict"] == "OPEN"
    assert header["exit_code"] == 0
    assert header["finished_at"]
    assert [step["step"] for step in header["steps"]] == list(STEPS)
    assert {target["service"] for target in header["targets"]} == {
        "keybuzz_leader",
        "keybuzz_replica",
        "keybuzz_legacy",
    }


def test_every_code_cell_of_the_archive_was_executed_in_order(demo_run: Run) -> None:
    for step in STEPS:
        notebook = nbformat.read(demo_run.notebook(step), as_version=4)
        counts = [cell.execution_count for cell in notebook.cells if cell.cell_type == "code"]
        assert counts == list(range(1, len(counts) + 1))


def test_demo_checklist_has_five_ticks_and_two_open_boxes(demo_run: Run) -> None:
    for report in ("report.fr.md", "report.en.md"):
        text = (demo_run.path / report).read_text(encoding="utf-8")
        assert text.count("- [x] ") == 5
        assert text.count("- [ ] ") == 2


def test_demo_report_has_every_picture_and_no_curve_of_zeros(demo_run: Run) -> None:
    page = (demo_run.path / "report.html").read_text("utf-8")
    for picture in ("topology", "matrix", "timeline"):
        for lang in ("fr", "en"):
            assert f'id="{picture}-title-{lang}"' in page
    assert 'id="lag-title-' not in page
    for step, question in (("preflight", "replication"), ("report", "last_look")):
        samples = demo_run.evidence().records[step].answers[question].lags["replica"].samples
        assert samples[-1].lag_bytes == 0


def test_demo_report_in_french_has_no_english_prose(demo_run: Run) -> None:
    text = (demo_run.path / "report.fr.md").read_text("utf-8")
    prose = re.sub(r"```.*?```|`[^`]*`|\*\([^)]*\)\*", "", text, flags=re.DOTALL)
    assert "Rapport" in prose
    assert re.findall(r"\b(?:the|of|this|not|was|would|with|and|are|is)\b", prose) == []


def test_demo_leaves_nothing_running(applied: subprocess.CompletedProcess[str], demo_run: Run) -> None:
    assert run_processes() == []


def run_processes() -> list[str]:
    """Command lines of kernels and of servers of labs that nobody owns any more."""
    import psutil

    found = []
    for process in psutil.process_iter(["cmdline", "ppid"]):
        line = " ".join(process.info["cmdline"] or ())
        if "ipykernel_launcher" in line and process.info["ppid"] == 1:
            found.append(line)
    return found


# --- plan only, and again --------------------------------------------------------------------------------------


def test_a_plan_writes_nothing_and_a_second_run_changes_nothing(fresh_lab: Lab, tmp_path: Path) -> None:
    """Plan, apply with the plan's confirmation, apply again: the command line as its users type it."""
    before = dumps(fresh_lab)
    plan = command("run", PHASE, "--runs", str(tmp_path))
    assert plan.returncode == 0, plan.stderr
    assert dumps(fresh_lab) == before
    confirmation = confirmation_in(plan)
    assert plan.stdout.splitlines()[-1] == (
        "OPEN · planned: 4 enums, 5 tables, 11 indexes; 1 row in Prisma's history · "
        f"report: {run_in(tmp_path).path}/report.html · "
        f"next: runbooks run {PHASE} --runs {tmp_path} --apply --confirm {confirmation}"
    )

    first = command("run", PHASE, "--apply", "--confirm", confirmation, "--runs", str(tmp_path), "--json")
    assert first.returncode == 0, first.stderr
    header = json.loads(first.stdout)
    assert (header["mode"], header["verdict"]) == ("apply", "OPEN")
    after = dumps(fresh_lab)
    assert after != before

    stale = command("run", PHASE, "--apply", "--confirm", confirmation, "--runs", str(tmp_path))
    assert stale.returncode == 1
    assert "plan_is_confirmed" in stale.stderr

    planned = command("run", PHASE, "--runs", str(tmp_path), "--json")
    again = json.loads(planned.stdout)["plan"]["confirmation"]
    second = command("run", PHASE, "--apply", "--confirm", again, "--runs", str(tmp_path), "--json")
    assert second.returncode == 0, second.stderr
    assert dumps(fresh_lab) == after
    facts = Run.open(Path(json.loads(second.stdout)["folder"])).record_json("prisma_resolve")["answers"][
        "resolve"
    ]["facts"]  # type: ignore[index]
    assert facts["already"] is True


def command(
    *arguments: str, env: dict[str, str] | None = None, cwd: Path | None = None
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(RUNBOOKS), *arguments],
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
        cwd=cwd,
        env={**os.environ, **(env or {})},
    )


def test_no_combination_of_options_writes_without_apply(fresh_lab: Lab, tmp_path: Path) -> None:
    """Whatever else is asked for, every database's full dump stays byte-identical."""
    before, (key, _) = dumps(fresh_lab), generate(tmp_path / "keys")
    signed = ("--key", str(key))
    combinations: list[tuple[tuple[str, ...], int]] = [
        (("--json", "--lang", "fr", *signed), 0),
        (("--from", "prisma_resolve", "--lang", "fr"), 0),
        (("--only", "baseline_migration", "--json", *signed), 3),
        (("--confirm", "keybuzz:00000000"), 2),
        (("--only", "prisma_resolve", "--confirm", "keybuzz:00000000"), 2),
    ]
    for options, exit_code in combinations:
        done = command("run", PHASE, "--runs", str(tmp_path / "runs"), *options)
        assert done.returncode == exit_code, (options, done.stderr)
        assert "Traceback" not in done.stderr, options
        assert dumps(fresh_lab) == before, options
    stopped = max(
        tmp_path.glob("runs/*/*"), key=lambda path: path.name
    )  # the newest: no other is chained to it
    done = command("run", PHASE, "--resume", str(stopped), "--json", "--lang", "fr", *signed)
    assert done.returncode == 0, done.stderr
    assert dumps(fresh_lab) == before


FLAGS: tuple[tuple[tuple[str, ...], ...], ...] = (
    ((), ("--json",)),
    ((), ("--lang", "fr")),
    ((), ("--key", "KEY")),
    ((), ("--confirm", "keybuzz:00000000")),
    ((), ("--resume", "RUN")),
    ((), *(("--only", step) for step in STEPS), *(("--from", step) for step in STEPS)),
)


def test_every_combination_of_options_plans_or_is_refused(
    lab: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is handed to the runner, which is not let to run: two hundred runs would take an hour."""
    asked: list[bool] = []

    def note(run: Run, *, apply: bool, confirm: Callable[[], str], **options: Any) -> Result:
        asked.append(apply)
        assert confirm() == ""
        raise KeyboardInterrupt

    monkeypatch.setenv("RUNBOOKS_SIGNING_KEY", "")  # --key sets it, and here that is this very process
    key, _ = generate(tmp_path / "keys")
    run = Run.create(tmp_path / "runs", load_phase(PHASE))
    given = {"KEY": str(key), "RUN": str(run.path)}
    monkeypatch.setattr(runner, "run_notebooks", note)
    monkeypatch.setattr(warm, "warm_kernels", nullcontext)
    combinations = list(product(*FLAGS))
    refused = 0
    for combination in combinations:
        options = [given.get(word, word) for flags in combination for word in flags]
        done = CliRunner().invoke(commands, ["run", PHASE, "--runs", str(tmp_path / "more"), *options])
        assert "--apply" not in options
        refused += done.exit_code == 2
    assert len(combinations) == 2**5 * 15
    assert refused == 2**4 * 15 + 2**3 * 14  # --confirm, and of the rest --resume with --only or --from
    assert asked == [False] * (len(combinations) - refused)


def test_a_confirmation_that_no_baseline_has_checked_writes_nothing(fresh_lab: Lab, tmp_path: Path) -> None:
    """Step 3 checks what was confirmed; step 4 by itself must not take it for checked."""
    before = dumps(fresh_lab)
    for steps in (("--only", "prisma_resolve"), ("--from", "prisma_resolve")):
        done = command(
            "run", PHASE, "--apply", "--confirm", "keybuzz:00000000", "--runs", str(tmp_path), *steps
        )
        assert done.returncode == 1, done.stdout
        assert "plan_is_confirmed" in done.stderr
        assert "03_baseline_migration.ipynb" in done.stderr
        assert dumps(fresh_lab) == before


def confirmation_in(done: subprocess.CompletedProcess[str]) -> str:
    return done.stdout.split()[-1]


def run_in(runs: Path) -> Run:
    """The only run of an archive."""
    (path,) = runs.glob("*/*")
    return Run.open(path)


def dumps(lab: Lab) -> dict[str, bytes]:
    """A full dump of both databases, made apart from the library."""
    pg_dump = lab.leader.programs.bindir / "pg_dump"
    return {
        database: subprocess.run(
            [str(pg_dump), "--restrict-key=test", f"--dbname=service=keybuzz_admin dbname={database}"],
            capture_output=True,
            check=True,
            env={**os.environ, **lab.env()},
        ).stdout
        for database in ("keybuzz_backend", "keybuzz")
    }


# --- a lab that is broken, one thing at a time -----------------------------------------------------------------


def break_sql(database: str, *statements: str) -> Callable[[Lab], None]:
    def do(lab: Lab) -> None:
        with lab.admin(database) as conn:
            for statement in statements:
                conn.execute(statement.encode())

    return do


def stop_api(lab: Lab) -> None:
    api = find_api(int(lab.env()["KEYBUZZ_API_URL"].rpartition(":")[2]))
    assert api is not None
    assert api.end(API_STOPPING)


def leader_leads_to_the_standby(lab: Lab) -> None:
    """Point the service `keybuzz_leader` at the standby's port."""
    path = Path(os.environ["PGSERVICEFILE"])
    text = path.read_text(encoding="utf-8")
    section = text.index("[keybuzz_leader]")
    port = text.index("port", section)
    end = text.index("\n", port)
    path.write_text(text[:port] + f"port={lab.replica.port}" + text[end:], encoding="utf-8")


INDEX = "public.oauth_states_state_key"
ENUM = "public.MarketplaceType"
REORDER = (
    "ALTER TYPE \"MarketplaceType\" RENAME VALUE 'FNAC' TO 'tmp'",
    "ALTER TYPE \"MarketplaceType\" RENAME VALUE 'CDISCOUNT' TO 'FNAC'",
    "ALTER TYPE \"MarketplaceType\" RENAME VALUE 'tmp' TO 'CDISCOUNT'",
)
SEED = "public.inbound_addresses[kbz_test, AMAZON, FR]"
BREAKAGES: dict[str, tuple[Callable[[Lab], None], str, tuple[str, str, str]]] = {
    "index dropped": (
        break_sql("keybuzz_backend", 'DROP INDEX "oauth_states_state_key"'),
        "preflight",
        ("has_index", "leader", INDEX),
    ),
    "enum reordered": (
        break_sql("keybuzz_backend", *REORDER),
        "preflight",
        ("enum_has_labels", "leader", ENUM),
    ),
    "owner changed": (
        break_sql("keybuzz_backend", 'ALTER TABLE "OAuthState" OWNER TO postgres'),
        "preflight",
        ("table_owner_is", "leader", "public.OAuthState"),
    ),
    "seed row deleted": (
        break_sql(
            "keybuzz_backend",
            "DELETE FROM inbound_addresses WHERE \"tenantId\" = 'kbz_test' AND country = 'FR'",
        ),
        "seed_verification",
        ("seed_row_is", "leader", SEED),
    ),
    "leader is the standby": (
        leader_leads_to_the_standby,
        "preflight",
        ("target_role_is", "leader", "keybuzz_leader"),
    ),
    "standby stopped": (
        lambda lab: lab.replica.stop(),
        "preflight",
        ("target_answers", "replica", "keybuzz_replica"),
    ),
    "legacy database renamed": (
        break_sql("postgres", "ALTER DATABASE keybuzz RENAME TO keybuzz_old"),
        "preflight",
        ("target_answers", "legacy", "keybuzz_legacy"),
    ),
    "API stopped": (stop_api, "api_routes", ("service_is_deployed", "keybuzz-api", "keybuzz-api")),
}


@pytest.mark.parametrize("name", BREAKAGES)
def test_a_broken_lab_stops_the_right_step_with_a_finding_that_names_it(
    name: str, fresh_lab: Lab, tmp_path: Path
) -> None:
    breakage, step, finding = BREAKAGES[name]
    breakage(fresh_lab)
    result = execute(tmp_path, steps=(step,))
    outcome = last(result, step)
    assert finding in closing(outcome)
    assert outcome.verdict in (Verdict.FAIL, Verdict.ERROR)
    assert result.exit_code == 1
    header = result.run.header_json()
    assert (header["verdict"], header["finished_at"]) == (outcome.verdict, None)
    record = result.run.record_json(step)
    assert record is not None
    assert result.run.notebook(step).exists()


def test_preflight_shows_all_problems_at_once(fresh_lab: Lab, tmp_path: Path) -> None:
    break_sql("keybuzz_backend", 'DROP INDEX "oauth_states_state_key"')(fresh_lab)
    break_sql("postgres", "ALTER DATABASE keybuzz RENAME TO keybuzz_old")(fresh_lab)
    result = execute(tmp_path, steps=("preflight", "backup"))
    outcome = last(result, "preflight")  # and nothing after it
    assert {("has_index", "leader", INDEX), ("target_answers", "legacy", "keybuzz_legacy")} <= set(
        closing(outcome)
    )
    assert isinstance(outcome.stopped_by, GateClosed)
    record = result.run.record("preflight")
    assert record is not None
    assert len(record.answers) == 6
    assert {f.verdict for f in record.answers["replication"].findings} == {Verdict.PASS, Verdict.SKIP}
    assert verify(result.run.path).problems == ()


def test_a_missing_seed_row_is_seen_before_anything_is_written(fresh_lab: Lab, tmp_path: Path) -> None:
    break_sql("keybuzz_backend", "DELETE FROM inbound_addresses WHERE country = 'UK'")(fresh_lab)
    outcome = last(execute(tmp_path), "preflight")
    assert ("row_count_is", "leader", "public.inbound_addresses") in closing(outcome)


# --- what stops a notebook from outside ------------------------------------------------------------------------


@pytest.fixture(
    params=["cold", pytest.param("warm", marks=pytest.mark.skipif(not can_fork(), reason="no fork"))]
)
def kernels(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ordinary kernels, and forked ones: they end alike."""
    monkeypatch.setenv(KIND_VARIABLE, request.param)


@pytest.fixture
def notebook(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[[str], None]:
    """Replace the second cell of a copy of the preflight notebook: what happens when a cell does this?"""
    folder = tmp_path / "notebooks"

    def with_cell(source: str) -> None:
        original = nbformat.read(runner.notebooks_folder() / "01_preflight.ipynb", as_version=4)
        code = [cell for cell in original.cells if cell.cell_type == "code"]
        code[3].source = source
        folder.mkdir()
        nbformat.write(original, folder / "01_preflight.ipynb")
        monkeypatch.setattr(runner, "notebooks_folder", lambda: folder)

    return with_cell


def cells_of(result: Result) -> list[Any]:
    archived = nbformat.read(result.run.notebook("preflight"), as_version=4)
    return [cell for cell in archived.cells if cell.cell_type == "code"]


@fault(
    kind="processes",
    fault="the kernel of a step is dead",
    injected="it ends in the middle of a cell",
    seen="papermill's engine of ours",
    told="ERROR: its kernel died; cells that never ran are pending",
    goes_on="`runbooks run PHASE --resume latest`",
    fast=True,
)
def test_a_dead_kernel_is_archived_as_what_it_is(
    lab: Lab, kernels: None, notebook: Callable[[str], None], tmp_path: Path
) -> None:
    notebook("import os; os._exit(1)")
    result = execute(tmp_path / "runs", steps=("preflight",))
    outcome = last(result, "preflight")
    assert outcome.verdict is Verdict.ERROR
    assert result.exit_code == 4
    assert "its kernel died" in str(outcome.stopped_by)
    statuses = [cell.metadata.papermill.status for cell in cells_of(result)]
    assert statuses.count("failed") == 1
    assert statuses[statuses.index("failed") + 1 :] == ["pending"] * (
        len(statuses) - statuses.index("failed") - 1
    )
    assert statuses[-1] == "pending"


@fault(
    kind="processes",
    fault="a cell takes longer than its time-out",
    injected="a cell that sleeps",
    seen="the time-out of the runner",
    told="ERROR: a cell took longer than the time-out",
    goes_on="`runbooks run PHASE --resume latest`",
    fast=True,
)
def test_a_time_out_is_archived_as_what_it_is(
    lab: Lab, kernels: None, notebook: Callable[[str], None], tmp_path: Path
) -> None:
    notebook("import time; time.sleep(60)")
    phase = load_phase(PHASE)
    run = Run.create(tmp_path / "runs", phase)
    result = run_notebooks(
        run, phase=PHASE, apply=False, confirm=lambda: "", steps=("preflight",), cell_timeout_s=4
    )
    outcome = last(result, "preflight")
    assert outcome.verdict is Verdict.ERROR
    assert "time-out" in str(outcome.stopped_by)
    assert cells_of(result)[-1].metadata.papermill.status == "pending"


def test_a_cell_that_exits_early_is_no_success(
    lab: Lab, kernels: None, notebook: Callable[[str], None], tmp_path: Path
) -> None:
    """Papermill takes sys.exit(0) for a success, though the rest of the notebook never ran."""
    notebook("import sys; sys.exit(0)")
    result = execute(tmp_path / "runs", steps=("preflight",))
    outcome = last(result, "preflight")
    assert outcome.verdict is Verdict.ERROR
    assert "were not executed" in str(outcome.stopped_by)


def test_a_notebook_that_does_not_close_its_step_is_no_success(
    lab: Lab, notebook: Callable[[str], None], tmp_path: Path
) -> None:
    notebook("step.close = lambda: who")
    outcome = last(execute(tmp_path / "runs", steps=("preflight",)), "preflight")
    assert outcome.verdict is Verdict.ERROR
    assert "without a closed record" in str(outcome.stopped_by)


def test_an_earlier_record_is_not_taken_for_this_one(
    lab: Lab, notebook: Callable[[str], None], tmp_path: Path
) -> None:
    good = execute(tmp_path / "runs", steps=("preflight",))
    assert good.exit_code == 0
    notebook("import os; os._exit(1)")
    again = execute(tmp_path / "runs", steps=("preflight",), run=good.run)
    assert last(again, "preflight").verdict is Verdict.ERROR


def ctrl_c(words: Sequence[str], due: Callable[[], object]) -> tuple[int, str]:
    """Run the command line, and send SIGINT to its process group, as a terminal does: exit code, and all it said."""
    process = subprocess.Popen(
        [str(RUNBOOKS), *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    wait_for(lambda: due() or process.poll() is not None)
    os.killpg(process.pid, signal.SIGINT)
    said, _ = process.communicate(timeout=60)
    assert "Traceback" not in said
    return process.returncode, said


@fault(
    kind="processes",
    fault="Ctrl-C in the first step",
    injected="SIGINT to `runbooks run`",
    seen="KeyboardInterrupt",
    told="exit 130: the step was interrupted",
    goes_on="`runbooks run PHASE --resume latest`",
    fast=True,
)
@pytest.mark.parametrize("moment", [".01_preflight.partial.ipynb", "02_backup.json"])
def test_interrupted_by_ctrl_c(lab: Lab, kernels: None, tmp_path: Path, moment: str) -> None:
    """Ctrl-C: exit code 130, one line more, what happened is archived and sealed, and no kernel stays behind."""
    words = ("run", PHASE, "--runs", str(tmp_path))
    code, said = ctrl_c(words, lambda: list(tmp_path.glob(f"*/*/{moment}")))
    assert code == 130
    (last,) = [line for line in said.splitlines() if "interrupted" in line]
    assert said.splitlines()[-1] == last
    assert "--resume" in last
    (run,) = (Run.open(path.parent) for path in tmp_path.glob("*/*/run.json"))
    assert run.header().finished_at is None
    assert run.header().verdict == "ERROR"
    assert not list(run.path.glob(".*partial*"))
    assert run.sealed
    assert run_processes() == []


def wait_for(condition: Callable[[], object], timeout_s: float = 60.0) -> None:
    end = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)


# --- what the command line says before a run begins -------------------------------------------------------------


def test_a_wrong_service_name(lab: Lab, tmp_path: Path) -> None:
    services = tmp_path / "services"
    services.write_text("[other]\nhost=127.0.0.1\n", encoding="utf-8")
    done = command("run", PHASE, "--runs", str(tmp_path / "runs"), env={"PGSERVICEFILE": str(services)})
    assert_one_paragraph(done, exit_code=3, naming=("keybuzz_leader", str(services), "other"))
    assert not (tmp_path / "runs").exists()


def test_a_phase_file_with_five_mistakes(lab: Lab, tmp_path: Path) -> None:
    original = load_phase(PHASE).folder
    folder = tmp_path / PHASE
    folder.mkdir()
    (folder / "baseline.sql").write_text(
        (original / "baseline.sql").read_text(encoding="utf-8"), encoding="utf-8"
    )
    text = (original / "phase.toml").read_text(encoding="utf-8")
    mistakes = {
        'role = "standby"': 'role = "slave"',
        "rows = 2\n": 'rows = "two"\n',
        "[backup]": "[backup]\ncompress = true",
        'labels = ["PENDING", "VALIDATED", "FAILED"]': "labels = []",
        "published_as": "publish_as",
    }
    for right, wrong in mistakes.items():
        assert right in text
        text = text.replace(right, wrong, 1)
    (folder / "phase.toml").write_text(text, encoding="utf-8")
    done = command("run", str(folder / "phase.toml"), "--runs", str(tmp_path / "runs"))
    assert_exit(done, 3)
    for path in (
        "targets.replica.role",
        "tables[0].rows",
        "backup.compress",
        "enums[3].labels",
        "baseline.publish_as",
    ):
        assert path in done.stderr
    assert not (tmp_path / "runs").exists()


@fault(
    kind="storage",
    fault="the programs of PostgreSQL are not where they are said to be",
    injected="RUNBOOKS_PG_BIN names an empty folder",
    seen="no pg_dump there",
    told="error: RUNBOOKS_PG_BIN and the folder, exit 3",
    goes_on="name the right folder, then the same command",
    fast=True,
)
def test_a_missing_pg_dump(lab: Lab, tmp_path: Path) -> None:
    done = command("run", PHASE, "--runs", str(tmp_path / "runs"), env={"RUNBOOKS_PG_BIN": str(tmp_path)})
    assert_one_paragraph(done, exit_code=3, naming=("RUNBOOKS_PG_BIN", str(tmp_path)))


def test_a_missing_prisma_project(lab: Lab, tmp_path: Path) -> None:
    done = command("run", PHASE, "--prisma-project", str(tmp_path / "none"), "--runs", str(tmp_path / "runs"))
    assert_one_paragraph(done, exit_code=3, naming=(str(tmp_path / "none"),))


@fault(
    kind="storage",
    fault="the runs folder cannot be made",
    injected="a file in its place",
    seen="ENOTDIR",
    told="error: which path; --runs DIR, exit 4",
    goes_on="choose another folder, then the same command",
    fast=True,
)
def test_a_runs_folder_that_cannot_be_written(lab: Lab, tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("", encoding="utf-8")
    done = command("run", PHASE, "--runs", str(blocked))
    assert_one_paragraph(done, exit_code=4, naming=(str(blocked), "--runs DIR"))


def test_apply_without_a_confirmation(lab: Lab) -> None:
    done = command("run", PHASE, "--apply")
    assert_exit(done, 2)
    assert "--confirm DATABASE:HASH8" in done.stderr


@pytest.mark.parametrize(
    "arguments", [("--only", "nope"), ("--from", "backup", "--only", "backup"), ("--confirm", "x:y")]
)
def test_wrong_usage(lab: Lab, arguments: tuple[str, ...]) -> None:
    assert_exit(command("run", PHASE, *arguments), 2)


def assert_one_paragraph(
    done: subprocess.CompletedProcess[str], *, exit_code: int, naming: tuple[str, ...]
) -> None:
    assert_exit(done, exit_code)
    assert len(done.stderr.strip().splitlines()) == 1
    assert done.stderr.startswith("error: ")
    for word in naming:
        assert word in done.stderr


def assert_exit(done: subprocess.CompletedProcess[str], exit_code: int) -> None:
    assert done.returncode == exit_code, done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""


def test_no_network(tmp_path: Path) -> None:
    """Nothing is cached and the npm registry does not answer: the lab cannot have Prisma."""
    env = {
        "RUNBOOKS_CACHE": str(tmp_path / "cache"),
        "npm_config_registry": "http://127.0.0.1:9",
        "npm_config_fetch_retries": "0",
        "npm_config_cache": str(tmp_path / "npm"),
    }
    done = command("demo", "--runs", str(tmp_path / "runs"), env=env)
    assert done.returncode in (3, 4), done.stderr
    assert "Traceback" not in done.stderr
    error = done.stderr[done.stderr.index("error: ") :]
    assert "npm" in error
    assert not (tmp_path / "runs").exists()


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 128 KiB: room for a run folder, not for what a run puts there."""
    mount_point = tmp_path / "disk"
    mount_point.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=128k", "tmpfs", str(mount_point)],
        capture_output=True,
        check=False,
    )
    if mounted.returncode:
        pytest.skip("a small file system can only be mounted by root")
    yield mount_point
    subprocess.run(["umount", str(mount_point)], check=True)


@fault(
    kind="storage",
    fault="the disk of the runs folder is full",
    injected="a tmpfs of 128 KiB",
    seen="ENOSPC",
    told="error: No space left on device; --runs DIR, exit 4",
    goes_on="free space or choose another folder, then the same command",
    fast=True,
)
def test_a_full_disk_in_the_runs_folder(lab: Lab, small_disk: Path) -> None:
    done = command("run", PHASE, "--runs", str(small_disk))
    assert done.returncode == 4, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    assert "No space left on device" in done.stderr
    assert "--runs DIR" in done.stderr
    for path in small_disk.glob("*/*/*.json"):
        json.loads(path.read_text(encoding="utf-8"))
    for path in small_disk.glob("*/*/*.ipynb"):
        nbformat.read(path, as_version=4)
    assert not list(small_disk.glob("*/*/.*partial*"))
