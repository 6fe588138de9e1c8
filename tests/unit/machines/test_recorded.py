"""What the steps of a run have made must be the same when it is read again, and when the run is sealed."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from runbooks_lib.archive.plans import find_plan, keep_plan
from runbooks_lib.archive.reader import sha256_of
from runbooks_lib.archive.run import Run
from runbooks_lib.archive.seal.seal import seal
from runbooks_lib.archive.seal.verify import verify
from runbooks_lib.errors import EvidenceError
from runbooks_lib.execution.finish import finish
from runbooks_lib.facts.writing import Plan
from runbooks_lib.phase import STEPS, load_phase

PHASE = "PH15-AMAZON-DB-FOUNDATION-01"
EVIDENCE = Path(__file__).parents[1] / "evidence" / "applied" / "02_backup.json"
ALL = {step: {"schema": [("has_table", "public.A", "there", "PASS")]} for step in STEPS}
DUMP = "schema_backup_20260107_174801.sql"
PLAN = Plan(hash="ab" * 32, confirmation="shop:abababab")


@pytest.fixture
def run(make_run: Any) -> Run:
    """A run with a dump of 300 octets, whose files are all noted as they are."""
    evidence = json.loads(EVIDENCE.read_text("utf-8"))["answers"]["dump"]["facts"]["dumps"]["leader"]
    dump = {**evidence, "path": DUMP, "sha256": hashlib.sha256(b"x" * 300).hexdigest()}
    steps = {**ALL, "backup": {"dump": ALL["backup"]["schema"]}}
    made: Run = make_run(steps, header={"steps": []}, facts={"dump": {"dumps": {"leader": dump}}})
    (made.path / "backup").mkdir()
    (made.path / "plan").mkdir()
    (made.path / "backup" / DUMP).write_text("x" * 300)
    phase = load_phase(PHASE)
    for name in ("phase.toml", phase.baseline.file):
        (made.path / "plan" / name).write_bytes((phase.folder / name).read_bytes())
    files = ("02_backup.json", "01_preflight.json", "plan/phase.toml")
    made.note({name: sha256_of(made.path / name) for name in files} | keep_plan(made, PLAN))
    return made


def test_a_run_in_which_all_is_as_it_was_is_sealed(run: Run) -> None:
    finish(run)
    assert verify(run.path).problems == ()


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:200])


def remove(path: Path) -> None:
    path.unlink()


def better(path: Path) -> None:
    path.write_text(path.read_text().replace("there", "as declared"))


CHANGES = [
    (cut, f"backup/{DUMP}"), (remove, f"backup/{DUMP}"), (better, "01_preflight.json"), (remove, "02_backup.json"),
    (remove, "plan/plan.json"), (cut, "plan/phase.toml"), (better, "02_backup.json"),
]  # fmt: skip


@pytest.mark.parametrize(("change", "name"), CHANGES)
def test_a_run_in_which_something_changed_meanwhile_is_not_sealed(
    run: Run, change: Callable[[Path], None], name: str
) -> None:
    change(run.path / name)
    with pytest.raises(EvidenceError) as caught:
        seal(run)
    assert name in str(caught.value)
    assert not run.sealed


def test_the_end_of_such_a_run_says_that_it_failed(run: Run) -> None:
    cut(run.path / "backup" / DUMP)
    with pytest.raises(EvidenceError, match=f"{DUMP} was changed since it was recorded"):
        finish(run)
    header = run.header()
    assert (header.verdict, header.finished_at, header.exit_code) == ("ERROR", None, 4)
    assert DUMP in str(header.not_sealed)


def test_a_record_that_changed_is_not_read_again(run: Run) -> None:
    better(run.path / "01_preflight.json")
    for read in (run.evidence, lambda: run.record_json("preflight")):
        with pytest.raises(EvidenceError, match=r"01_preflight\.json is not as it was recorded"):
            read()
    run.note({"01_preflight.json": None})  # its step begins anew
    assert run.record_json("preflight")


def test_a_plan_that_changed_is_not_applied(run: Run, make_run: Any) -> None:
    other = make_run(ALL, id="20260108T174759Z-000000")
    found = find_plan(other, "shop:abababab")
    assert found is not None
    assert found.run == run.id
    path = run.path / "plan" / "plan_abababab.json"
    path.write_text(path.read_text().replace('"parts": {}', '"parts": {"catalogue": "x"}'))
    with pytest.raises(EvidenceError, match=r"plan_abababab\.json is not as it was recorded"):
        find_plan(other, "shop:abababab")


def test_a_sealed_run_without_such_notes_is_read_as_before(make_run: Any) -> None:
    """Runs of earlier versions have none."""
    assert make_run(ALL, sealed=True).evidence()
