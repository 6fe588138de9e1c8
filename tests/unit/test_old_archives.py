"""Runs that earlier versions archived stay readable: verified, shown, compared, reported anew.

evidence/run-0.1.tar.xz is a run of version 0.1 against the lab, with apply; without its pages, which are made anew. The
lab's machine is named bastion in it, and its folder is /srv.
"""

from __future__ import annotations

import json
import re
import tarfile
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from runbooks_lib.archive.plans import find_plan
from runbooks_lib.archive.run import Run
from runbooks_lib.archive.seal.verify import verify
from runbooks_lib.cli import commands
from runbooks_lib.errors import EvidenceError
from runbooks_lib.evidence import Evidence
from runbooks_lib.facts.contents import Checklist, LastLook, Reports, Routes, SeedFacts
from runbooks_lib.facts.databases import Dumps, Replication, Targets
from runbooks_lib.facts.writing import Applied, PrismaConfirmed, RecordedHistory
from runbooks_lib.findings import Verdict
from runbooks_lib.phase import STEPS

STORED = Path(__file__).parent / "evidence"
NO_MORE = re.compile(r"\.(before|after)\.(rows|sequences)$|\.history\.last_common$")
ID = "20261126T022156Z-3dbb7a"


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    folder = tmp_path_factory.mktemp("old")
    with tarfile.open(STORED / "run-0.1.tar.xz") as archive:
        archive.extractall(folder, filter="data")
    (header,) = folder.glob("*/*/run.json")
    return Run.open(header.parent)


def test_it_verifies(run: Run) -> None:
    found = verify(run.path)
    assert found.problems == ()
    assert (found.mode, found.trusted) == ("apply", True)


def test_its_header_and_records_are_read(run: Run) -> None:
    evidence = run.evidence()
    assert evidence.header.versions["runbooks"] == "0.1.0"
    assert (evidence.header.id, evidence.verdict, evidence.steps) == (ID, Verdict.OPEN, STEPS)
    assert (evidence.unexplained, list(evidence.stops()), evidence.failures) == ((), [], ())
    assert all(seconds > 0 for seconds in evidence.durations_s.values())


def test_its_facts_are_read(run: Run) -> None:
    evidence = run.evidence()
    assert {who.role for who in evidence.facts(Targets).targets.values()} == {"primary", "standby"}
    assert evidence.facts(Replication).lag["replica"].replayed
    assert all(dump.complete for dump in evidence.facts(Dumps).dumps.values())
    assert (evidence.applied, len(evidence.facts(Applied).outcomes)) == (True, 20)
    assert evidence.facts(RecordedHistory).history is not None
    said = evidence.facts(PrismaConfirmed).said
    assert said is not None
    assert said.exit_code == 0
    assert {route.state for route in evidence.facts(Routes).probes} == {"absent", "not_deployed"}
    assert evidence.facts(SeedFacts).rows[0].row
    assert [table.rows for table in evidence.facts(LastLook).targets["replica"].tables.values()] == [
        2,
        5,
        2,
        5,
        0,
    ]
    assert [box.ticked for box in evidence.facts(Checklist).items].count(True) == 5
    assert set(evidence.facts(Reports).files) == {"fr", "en"}


def test_its_plan_is_found_again(run: Run) -> None:
    plan = run.evidence().plan
    assert plan is not None
    kept = find_plan(run, plan.confirmation)
    assert kept is not None
    assert (kept.run, kept.hash, kept.statements) == (run.id, plan.hash, plan.statements)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("runs", "show"), "07_report                OPEN"),
        (("report",), "# "),
        (("runs", "diff", "RUN"), "no difference"),
    ],
)
def test_the_commands_show_it(run: Run, words: tuple[str, ...], said: str) -> None:
    given = [str(run.path) if word == "RUN" else word for word in words]
    done = CliRunner().invoke(commands, [*given, str(run.path)])
    assert done.exit_code == 0, done.output
    assert said in done.stdout


def test_its_json_is_printed_as_it_stands(run: Run) -> None:
    done = CliRunner().invoke(commands, ["runs", "show", "--json", str(run.path)])
    told: dict[str, Any] = json.loads(done.stdout)
    assert told["run"] == json.loads((run.path / "run.json").read_text("utf-8"))
    for step in STEPS:
        assert told["steps"][step] == run.record_json(step)


def test_what_is_written_of_it_says_what_it_said(run: Run) -> None:
    """A record that is read and written again changes no value, and lacks only what no version records any more."""
    for step, record in run.evidence().records.items():
        before = run.record_json(step)
        assert before is not None
        lost = lacking(before, json.loads(json.dumps(record.to_json())), step)
        assert [place for place in lost if not NO_MORE.search(place)] == []


def lacking(before: Any, after: Any, where: str) -> list[str]:
    """Return the places at which the later JSON has not what the earlier one has."""
    if isinstance(before, dict) and isinstance(after, dict):
        found = [f"{where}.{key}" for key in before if key not in after]
        return found + [
            each
            for key in before
            if key in after
            for each in lacking(before[key], after[key], f"{where}.{key}")
        ]
    if isinstance(before, list) and isinstance(after, list) and len(before) == len(after):
        return [
            each
            for n, pair in enumerate(zip(before, after, strict=True))
            for each in lacking(*pair, f"{where}[{n}]")
        ]
    return [] if before == after else [f"{where}: {before!r} and {after!r}"]


def test_a_record_that_lacks_what_is_relied_on_is_refused(run: Run) -> None:
    header, record = run.header_json(), run.record_json("backup")
    assert record is not None
    del record["answers"]["dump"]["facts"]["dumps"]["leader"]["sha256"]
    with pytest.raises(EvidenceError, match="sha256"):
        Evidence.from_json(header, {"backup": record}, run.path)
