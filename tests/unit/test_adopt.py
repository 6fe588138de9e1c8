"""`runbooks adopt` where nobody answers: it never waits, and names the option that is missing."""

from __future__ import annotations

import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from click.testing import CliRunner, Result

from runbooks_lib.cli import commands
from runbooks_lib.cli.ending import _next
from runbooks_lib.drafting.diagnosis import Condition
from runbooks_lib.drafting.phase_new import folder_for, free_folder_for, is_phase_id
from runbooks_lib.errors import PreconditionFailed, RunbookError
from runbooks_lib.findings import Verdict

from ..terminals import CTRL_C, CTRL_D, Terminal


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with a service file of two services, and no project."""
    (tmp_path / "services").write_text("[one]\nhost=127.0.0.1\nport=1\n[two]\nhost=127.0.0.1\nport=1\n")
    monkeypatch.setenv("PGSERVICEFILE", str(tmp_path / "services"))
    monkeypatch.delenv("RUNBOOKS_PRISMA_PROJECT", raising=False)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def adopt(*words: str) -> Result:
    return CliRunner().invoke(commands, ["adopt", *words])


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ([], "--service is missing. There are: one, two."),
        (["--service", "one"], "--prisma-project is missing."),
    ],
)
def test_what_nobody_answers_is_named(words: list[str], told: str) -> None:
    done = adopt(*words)
    assert isinstance(done.exception, PreconditionFailed)
    assert told in str(done.exception)


def test_without_a_service_file_the_doctor_is_named(here: Path) -> None:
    (here / "services").write_text("")
    assert "see `runbooks doctor`" in str(adopt().exception)


def test_the_only_service_and_the_project_of_this_folder_are_taken(here: Path) -> None:
    (here / "services").write_text("[one]\nhost=127.0.0.1\nport=1\nuser=x\n")
    (here / "prisma" / "migrations").mkdir(parents=True)
    done = adopt()
    assert isinstance(done.exception, RunbookError)
    assert "is missing" not in str(done.exception)
    assert "refused" in str(done.exception)


def test_a_reason_is_not_lost_on_a_phase_that_is_there(here: Path) -> None:
    (here / "phase-one").mkdir()
    (here / "phase-one" / "phase.toml").write_text("")
    done = adopt("--service", "one", "--prisma-project", str(here), "--ignore", "reports")
    assert isinstance(done.exception, PreconditionFailed)
    assert "says itself what may be" in str(done.exception)


def test_a_person_is_asked_again_until_it_is_one_of_them(here: Path) -> None:
    env = {name: value for name, value in os.environ.items() if name != "RUNBOOKS_PRISMA_PROJECT"}
    with Terminal(["adopt"], cwd=here, env=env) as person:
        person.answer("service of the database (one, two): ", "three\n")
        person.answer("'three' is not one of", "two\n")
        person.answer("folder of the Prisma project: ", "nowhere\n")
        person.answer("There is no folder nowhere.", f"{here}\n")
        assert person.end() == PreconditionFailed.exit_code
    assert "error: two: it does not answer" in person.seen


@pytest.mark.parametrize("keys", [CTRL_C, CTRL_D])
@pytest.mark.parametrize(("words", "question"), [([], "service of"), (["--service", "one"], "folder of")])
def test_a_person_leaves_at_a_question(here: Path, words: list[str], question: str, keys: str) -> None:
    with Terminal(["adopt", *words], cwd=here, env=os.environ) as person:
        person.answer(question, keys)
        assert person.end() == 130
    assert person.seen.splitlines()[-1] == "interrupted"
    assert "Traceback" not in person.seen


@pytest.mark.parametrize(
    ("verdict", "mode", "then"),
    [
        (
            Verdict.FAIL,
            "plan",
            ["run", "P", "--service", "a=b"],
        ),  # the phase may be edited: that run refuses it then
        (Verdict.ERROR, "plan", ["run", "P", "--resume", "1"]),
        (Verdict.FAIL, "apply", ["run", "P", "--resume", "1"]),
    ],
)
def test_what_is_next_after_a_run_that_stopped(verdict: Verdict, mode: str, then: list[str]) -> None:
    header = SimpleNamespace(mode=mode, finished_at=None)
    run: Any = SimpleNamespace(
        id="1", path=Path("1"), evidence=lambda: SimpleNamespace(plan=None, header=header)
    )
    result: Any = SimpleNamespace(run=run, verdict=verdict)
    assert _next(result, ["run", "P"], ["--service", "a=b"]) == then


def test_the_folder_that_is_proposed_can_be_made(here: Path) -> None:
    assert folder_for("my shop") == Path("phase-my-shop")
    for free in ("phase-my-shop", "phase-my-shop-2", "phase-my-shop-3"):
        assert free_folder_for("my shop") == Path(free)
        assert is_phase_id(free)
        Path(free).mkdir()


def test_what_a_phase_can_mend_is_drafted() -> None:
    left = {each for each in Condition if not each.draftable}
    assert left == {
        Condition.STANDBY,
        Condition.READ_ONLY,
        Condition.LOCKED,
        Condition.NO_PROJECT,
        Condition.OTHER_PROVIDER,
        Condition.SCRIPT_LOST,
        Condition.UNKNOWN_MIGRATIONS,
        Condition.NOT_REPLAYED,
        Condition.ANOTHER_DATABASE,
        Condition.EDITED,
        Condition.NOT_ALLOWED,
        Condition.FINE,
    }
