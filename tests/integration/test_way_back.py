"""What is to undo a change is read again right before it: a dump that was cut meanwhile stops what would be applied."""

from __future__ import annotations

import copy
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from runbooks_lib.evidence import Evidence
from runbooks_lib.facts.databases import Dumps
from runbooks_lib.facts.writing import Applied, Plan
from runbooks_lib.findings import CLOSING, Verdict
from runbooks_lib.phase import load_phase
from runbooks_lib.postgres.session.connect import Sessions
from runbooks_lib.steps import backup, baseline_migration, prisma_resolve, report
from runbooks_lib.steps.way_back import way_back
from runbooks_lib.typed import plain

STORED = Path(__file__).parents[1] / "unit" / "evidence" / "applied"
PHASE = load_phase("PH15-AMAZON-DB-FOUNDATION-01")


@pytest.fixture(scope="module")
def made(lab: Any, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Evidence]:
    folder = tmp_path_factory.mktemp("backup")
    with Sessions(PHASE.targets) as sessions:
        facts = backup.dump(PHASE, sessions, folder=folder).facts
    header, record = (
        json.loads((STORED / name).read_text("utf-8")) for name in ("run.json", "02_backup.json")
    )
    record["answers"]["dump"]["facts"] = plain(facts)
    return folder, Evidence.from_json(header, {"backup": record}, STORED)


@pytest.fixture
def kept(made: tuple[Path, Evidence], tmp_path: Path) -> tuple[Path, Evidence]:
    shutil.copytree(made[0], tmp_path / "backup")
    return tmp_path / "backup", copy.deepcopy(made[1])


def dump_of(folder: Path) -> Path:
    return next(file for file in folder.iterdir() if not file.stem.endswith("keybuzz"))


def cut(folder: Path) -> None:
    with dump_of(folder).open("r+b") as file:
        file.truncate(200)


def changed(folder: Path) -> None:
    file = dump_of(folder)
    file.write_text(file.read_text().replace("state", "stats", 1))


def longer(folder: Path) -> None:
    with dump_of(folder).open("ab") as file:
        file.write(b"\n")


def gone(folder: Path) -> None:
    dump_of(folder).unlink()


def emptied(folder: Path) -> None:
    dump_of(folder).write_bytes(b"")


HARMS = [cut, changed, longer, gone, emptied]


def test_dumps_that_stand_pass(kept: tuple[Path, Evidence]) -> None:
    found = way_back(PHASE, *kept)
    assert {(f.check, f.target) for f in found} == {
        (check, target) for check in ("dump_hash_is", "dump_is_whole") for target in PHASE.backup.targets
    }
    assert {f.verdict for f in found} == {Verdict.PASS}


def test_a_run_without_a_backup_says_nothing(tmp_path: Path) -> None:
    header = json.loads((STORED / "run.json").read_text("utf-8"))
    assert way_back(PHASE, tmp_path, Evidence.from_json(header, {}, STORED)) == ()
    assert way_back(PHASE, None, None) == ()


@pytest.mark.parametrize("harm", HARMS)
def test_a_dump_that_does_not_stand_closes(kept: tuple[Path, Evidence], harm: Callable[[Path], None]) -> None:
    harm(kept[0])
    found = way_back(PHASE, *kept)
    assert {f.target for f in found if f.verdict in CLOSING} == {"leader"}
    assert {f.check for f in found if f.verdict in CLOSING} <= {"dump_hash_is", "dump_is_whole"}


def test_a_target_that_was_not_dumped_is_an_error(kept: tuple[Path, Evidence]) -> None:
    del kept[1].facts(Dumps).dumps["legacy"]
    assert [f.verdict for f in way_back(PHASE, *kept) if f.target == "legacy"] == [Verdict.ERROR]


@pytest.mark.parametrize("harm", HARMS)
def test_nothing_is_applied_without_a_way_back(
    kept: tuple[Path, Evidence], harm: Callable[[Path], None]
) -> None:
    """The confirmation is right, so that only the dump can stop it; and neither step gets as far as the database."""
    folder, recorded = kept
    harm(folder)
    plan = Plan(confirmation="keybuzz:1")
    nowhere: Any = SimpleNamespace(run="")
    applied = baseline_migration.apply(
        PHASE,
        nowhere,
        plan=plan,
        planned=None,
        confirm="keybuzz:1",
        apply=True,
        evidence=recorded,
        folder=folder,
    )
    assert applied.facts == Applied(applied=False)
    assert "dump_hash_is" in {f.check for f in applied.findings if f.verdict in CLOSING}
    resolved = prisma_resolve.resolve(
        PHASE, nowhere, prisma=nowhere, plan=None, apply=True, recorded=recorded, folder=folder
    )
    assert resolved.facts.recorded is False
    assert "dump_hash_is" in {f.check for f in resolved.findings if f.verdict in CLOSING}


def test_the_last_look_reads_the_dumps(lab: Any, kept: tuple[Path, Evidence]) -> None:
    folder, recorded = kept
    with Sessions(PHASE.targets) as sessions:
        good = report.last_look(PHASE, sessions, evidence=recorded, folder=folder)
        cut(folder)
        bad = report.last_look(PHASE, sessions, evidence=recorded, folder=folder)
    assert [f.verdict for f in good.findings if f.check == "dump_hash_is"] == [Verdict.PASS, Verdict.PASS]
    assert [f.verdict for f in bad.findings if f.check == "dump_hash_is"] == [Verdict.FAIL, Verdict.PASS]
