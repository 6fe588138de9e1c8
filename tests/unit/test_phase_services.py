"""The services of a phase's targets may be chosen, by name; what could hold a password is never repeated."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from runbooks_lib.archive.run import Run
from runbooks_lib.cli import commands
from runbooks_lib.errors import PreconditionFailed
from runbooks_lib.notebook.step import open_step
from runbooks_lib.phase import load_phase, services_of, with_services
from runbooks_lib.steps.confirming import changed_parts, plan_hash

PHASE = load_phase("PH15-AMAZON-DB-FOUNDATION-01")
STAGING = {"leader": "staging_leader", "legacy": "staging.legacy-2"}


def test_chosen_services_replace_those_of_the_file_and_nothing_else() -> None:
    chosen = with_services(PHASE, STAGING)
    assert services_of(chosen) == services_of(PHASE) | STAGING
    assert with_services(chosen, services_of(PHASE)) == PHASE
    assert chosen.digest == PHASE.digest
    assert with_services(PHASE, {}) == PHASE


@pytest.mark.parametrize(
    ("target", "says"),
    [
        ("leadr", ['has no target "leadr".', "Did you mean leader?", "leader, replica, legacy"]),
        ("nothing-near", ['has no target "nothing-near".', "Its targets are: leader, replica, legacy."]),
        ("postgresql://u:hunter2@h/db?x", ["has no target of the name that is given."]),
        ("hunter2 and more", ["has no target of the name that is given."]),
    ],
)
def test_an_unknown_target_is_refused_with_those_that_there_are(target: str, says: list[str]) -> None:
    with pytest.raises(PreconditionFailed) as caught:
        with_services(PHASE, {target: "staging_leader"})
    for words in says:
        assert words in str(caught.value)
    assert "hunter2" not in repr(caught.value)


@pytest.mark.parametrize(
    "service",
    [
        "postgresql://u:hunter2@h/db",
        "host=h password=hunter2",
        "a hunter2",
        "",
        "a;hunter2",
        "hunter2\n",
        "-x",
        "é",
    ],
)
def test_what_is_no_name_of_a_service_is_refused_and_not_repeated(service: str) -> None:
    with pytest.raises(
        PreconditionFailed, match="service of target leader is not the name of a service"
    ) as caught:
        with_services(PHASE, {"leader": service})
    assert "hunter2" not in repr(caught.value)


def test_a_step_has_the_services_that_its_run_was_begun_with(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RUNBOOKS_RUNS", str(tmp_path))
    run = Run.create(tmp_path, with_services(PHASE, STAGING))
    for step in (open_step("preflight", phase=PHASE.id), open_step("backup", run=str(run.path))):
        assert step.run == run
        assert services_of(step.phase) == run.services() == services_of(PHASE) | STAGING
        assert services_of(replace(PHASE, targets=step.sessions.targets)) == run.services()


def test_a_header_that_was_made_up_is_no_way_to_a_connection_string(tmp_path: Path) -> None:
    run = Run.create(tmp_path, PHASE)
    forged = [target | {"service": "host=elsewhere"} for target in run.header_json()["targets"]]
    run.update(targets=forged)
    with pytest.raises(PreconditionFailed, match="is not the name of a service"):
        run.at_its_services(PHASE)


def test_other_services_make_another_plan_and_are_named_whole() -> None:
    long = "keybuzz_leader_of_the_staging_cluster"
    old: dict[str, Any] = {"sql": "5" * 64, "services": services_of(PHASE)}
    new = old | {"services": services_of(with_services(PHASE, {"leader": long}))}
    assert plan_hash(old) != plan_hash(new)
    (changed,) = map(str, changed_parts(old, new))
    assert changed.startswith("services (was leader keybuzz_leader, ")
    assert f"is leader {long}, " in changed
    assert [str(c) for c in changed_parts(old, old | {"sql": "6" * 64})] == [
        f"sql (was {'5' * 16}, is {'6' * 16})"
    ]


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--service", "leader"], "takes TARGET=NAME"),
        (["--service", "=hunter2"], "takes TARGET=NAME"),
        (["--service", "leader="], "takes TARGET=NAME"),
        (["--service", "leader=a", "--service", "leader=hunter2"], "names a target twice"),
        (["--service", "leader=a", "--resume", "runs/x"], "leave --service and --database out"),
    ],
)
def test_wrong_usage_of_the_option(options: list[str], says: str) -> None:
    done = CliRunner().invoke(commands, ["run", PHASE.id, *options])
    assert done.exit_code == 2
    assert says in " ".join(done.stderr.split())
    assert "hunter2" not in done.output
