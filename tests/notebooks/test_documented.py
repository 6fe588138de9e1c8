"""Every command of the README and of docs/ is run, here or by the test that is named, or it is said why it can't be.

A command stands in a block of `sh`. What is a placeholder in it is replaced by what an operator would put there.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]

# A command that begins so is run by this test: its file has this text.
ELSEWHERE = {
    "runbooks lab up --project": ("tests/projects/test_lab_project.py", "--project"),
    "runbooks adopt": ("tests/projects/test_adopt.py", "adopt"),
    "runbooks fleet check": ("tests/integration/test_fleet.py", '"check"'),
    "runbooks fleet verify": ("tests/integration/test_fleet.py", "verify_fleet("),
    "runbooks fleet report": ("tests/integration/test_fleet.py", "report.html"),
    "runbooks fleet ": ("tests/faults/test_fleet.py", '"resume"'),
    "runbooks diagnose": ("tests/integration/test_doors.py", '"diagnose"'),
    "runbooks phase draft": ("tests/integration/test_phase_draft.py", "draft"),
    "runbooks phase baseline": ("tests/integration/test_phase_baseline.py", "baseline"),
    "runbooks phase check phases/SHOP": ("tests/integration/test_phase_draft.py", "check"),
    "runbooks run phases/SHOP": ("tests/integration/test_phase_draft.py", "run"),
    "runbooks run PH16-NEXT/phase.toml": ("tests/integration/test_left_out_sections.py", "run"),
    "runbooks run PH15-AMAZON-DB-FOUNDATION-01 --service": (
        "tests/notebooks/test_services.py",
        '"--service"',
    ),
    "runbooks run PH15-AMAZON-DB-FOUNDATION-01 --json": ("tests/integration/test_json_output.py", '"--json"'),
    "runbooks run PHASE --resume": ("tests/notebooks/test_resume.py", '"--resume"'),
    "runbooks run PH15-AMAZON-DB-FOUNDATION-01": ("tests/notebooks/conftest.py", "def odd_runs"),
    "runbooks runs upload": ("tests/unit/machines/test_runs_command.py", '"upload"'),
    "runbooks jupyter": ("tests/notebooks/test_jupyter_command.py", '"jupyter"'),
    "papermill notebooks/": ("tests/notebooks/test_kernels.py", "papermill"),
    "runbooks doctor\n": ("README.md", "runbooks doctor "),  # by this test, where a lab is
    "make lint": (".ci/run", "make lint"),
    "make install": (".github/workflows/run-phase.yml", "make install"),
}
# A command that begins so can't be run here.
NOT_HERE = {
    ". .venv/bin/activate": "changes the shell that it is typed into",
    "export ": "values of whoever types it; test_readme.py proves that each name is read",
    "conda env create": "a second environment of a gigabyte; test_packaging.py compares it with the first",
    "uv tool install": "installs into the home of whoever types it; test_packaging.py holds what is named",
    "pipx install": "installs into the home of whoever types it; test_packaging.py holds what is named",
    "uv run": "a second environment of a gigabyte",
    "pip install '.[s3]'": "changes the environment that the tests run in",
    "make lab": "waits for its JupyterLab to end; tests/browser/test_jupyterlab.py starts it in the same way",
    "make bench": "half an hour",
    "make clean": "removes what the tests run in",
}


def blocks(page: Path) -> list[str]:
    return re.findall(r"^```sh\n(.*?)^```", page.read_text("utf-8"), re.MULTILINE | re.DOTALL)


def commands(block: str) -> Iterator[str]:
    """Yield the commands of a block; one whose quotes are open goes on with the next line."""
    begun = ""
    for line in block.splitlines():
        begun = f"{begun}\n{line}" if begun else line
        try:
            words = shlex.split(begun, comments=True)
        except ValueError:
            continue
        if words:
            yield begun
        begun = ""
    assert begun == "", f"a quote is open: {begun}"


ALL = [(page, command) for page in PAGES for block in blocks(page) for command in commands(block)]


def beginning(command: str, known: Iterable[str]) -> str | None:
    return next((start for start in known if command.startswith(start)), None)


@pytest.fixture(scope="module")
def shell(
    odd_runs: object, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, dict[str, str], list[tuple[str, str]]]:
    """A folder with runs and a phase as the pages name them, an environment, and what placeholders stand for."""
    folder = tmp_path_factory.mktemp("documented")
    planned, applied = odd_runs.plan, odd_runs.apply  # type: ignore[attr-defined]
    shutil.copytree(planned.parents[1], folder / "runs")
    shutil.copytree(odd_runs.public.parent, folder / "own keys")  # type: ignore[attr-defined]
    (folder / "DIR").mkdir()
    (folder / "notebooks").symlink_to(ROOT / "notebooks")
    (folder / "PH16-NEXT").mkdir()
    (phase,) = re.findall(
        r"^```toml\n(spec_version.*?)^```", (ROOT / "docs/write-a-phase.md").read_text("utf-8"), re.M | re.S
    )
    (folder / "PH16-NEXT" / "phase.toml").write_text(phase, "utf-8")
    public = f"'own keys/{odd_runs.public.name}'"  # type: ignore[attr-defined]
    replaced = [
        ("runs/PHASE/RUN", f"runs/{applied.parent.name}/{applied.name}"),
        ("20260107T174759Z", planned.name),
        ("20260108T091500Z", applied.name),
        ("--key keys/runbooks_ed25519.pub", f"--key {public}"),
        (" PUB ", f" '{odd_runs.public}' "),  # type: ignore[attr-defined]
        ("/tmp/pae", f"{folder}/pae"),
        ("/tmp/s", f"{folder}/s"),
        ("/tmp/report", f"{folder}/report"),
        *(
            (f"runbooks lab {verb}", f"runbooks lab {verb} --dir {folder}/lab")
            for verb in ("up", "env", "down")
        ),
    ]
    env = os.environ | {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    return folder, env, replaced


@pytest.mark.parametrize("page", [page for page in PAGES if blocks(page)], ids=lambda page: page.name)
def test_the_commands_of_a_page_do_what_they_say(
    page: Path, shell: tuple[Path, dict[str, str], list[tuple[str, str]]]
) -> None:
    folder, env, replaced = shell
    for block in blocks(page):
        here = [c for c in commands(block) if not beginning(f"{c}\n", {**ELSEWHERE, **NOT_HERE})]
        script = "\n".join(here)
        for placeholder, value in replaced:
            script = script.replace(placeholder, value)
        in_the_run = script.startswith("python3 -c")  # as the page says
        where = next(folder.glob(f"runs/*/{dict(replaced)['20260108T091500Z']}")) if in_the_run else folder
        done = subprocess.run(
            ["bash", "-e", "-x", "-c", script], cwd=where, env=env, capture_output=True, text=True, timeout=120,
            check=False,
        )  # fmt: skip
        assert done.returncode == 0, (done.stdout, done.stderr)


def test_what_is_run_elsewhere_is_run_there_and_no_reason_is_left_over() -> None:
    written = [command for _, command in ALL]
    for start, (file, text) in ELSEWHERE.items():
        assert text in (ROOT / file).read_text("utf-8"), (start, file)
    unused = [s for s in (*ELSEWHERE, *NOT_HERE) if not any(beginning(f"{c}\n", [s]) for c in written)]
    assert unused == []


def test_no_command_hides_in_a_block_without_a_language() -> None:
    hidden = [
        (page.name, line)
        for page in PAGES
        for block in re.findall(r"^```\n(.*?)^```", page.read_text("utf-8"), re.MULTILINE | re.DOTALL)
        for line in block.splitlines()
        if line.startswith(("runbooks ", "make ", "pip ", "papermill ", "uv ", "conda ", "export "))
    ]
    assert [line.split()[1] for _, line in hidden] == ["demo", "test"]


def test_git_picks_up_nothing_that_the_pages_write() -> None:
    """In a checkout, where the README's commands are typed."""
    written = ("runs/x", "keys/runbooks_ed25519", "out.ipynb", "20260107T174759Z-3f9c2a.zip")
    done = subprocess.run(
        ["git", "check-ignore", "--no-index", *written], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert tuple(done.stdout.split()) == written, done.stderr
