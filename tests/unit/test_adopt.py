"""`runbooks adopt` where nobody answers: it never waits, and names the option that is missing."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from runbooks_lib.cli import commands
from runbooks_lib.drafting.diagnosis import Condition
from runbooks_lib.errors import PreconditionFailed, RunbookError


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
