"""The JSON Schemas that are shipped are those of the types; runs of this and of earlier versions are as they say."""

from __future__ import annotations

import importlib.util
import json
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from jsonschema import Draft202012Validator

from runbooks_lib.archive.run import Run
from runbooks_lib.cli import commands
from runbooks_lib.report.summary import result

ROOT = Path(__file__).resolve().parents[2]
STORED = Path(__file__).parent / "evidence"
SHIPPED = ROOT / "runbooks_lib" / "schemas"
PAGE = ROOT / "docs" / "archive-format.md"
spec = importlib.util.spec_from_file_location("schemas", ROOT / "tests" / "schemas.py")
assert spec is not None
assert spec.loader is not None
made = importlib.util.module_from_spec(spec)
spec.loader.exec_module(made)


def mistakes(content: Any, name: str) -> list[str]:
    schema = json.loads((SHIPPED / name).read_text("utf-8"))
    return [
        f"{error.json_path}: {error.message}"[:300]
        for error in Draft202012Validator(schema).iter_errors(content)
    ]


@pytest.fixture(scope="module")
def old(tmp_path_factory: pytest.TempPathFactory) -> Run:
    folder = tmp_path_factory.mktemp("old")
    with tarfile.open(STORED / "run-0.1.tar.xz") as archive:
        archive.extractall(folder, filter="data")
    (header,) = folder.glob("*/*/run.json")
    return Run.open(header.parent)


def test_those_that_are_shipped_are_made_of_the_types() -> None:
    """Else: make schemas, and say in the changelog what others have to know."""
    shipped = {path.name: path.read_text("utf-8") for path in SHIPPED.glob("*.json")}
    assert shipped == {name: made.text(schema) for name, schema in made.schemas().items()}


def test_they_are_schemas() -> None:
    for path in SHIPPED.glob("*.json"):
        Draft202012Validator.check_schema(json.loads(path.read_text("utf-8")))


@pytest.mark.parametrize("name", ["run.json", "manifest.json", "verdicts.json", "plan/plan.json"])
def test_a_run_of_an_earlier_version_is_as_they_say(old: Run, name: str) -> None:
    assert mistakes(json.loads((old.path / name).read_text("utf-8")), name.rpartition("/")[2]) == []


def test_its_records_and_outputs_are_as_they_say(old: Run) -> None:
    for path in old.path.glob("0*_*.json"):
        assert mistakes(json.loads(path.read_text("utf-8")), "record.json") == []
    assert mistakes(result(old), "run-output.json") == []
    done = CliRunner().invoke(commands, ["runs", "list", "--json", "--runs", str(old.path.parents[1])])
    assert mistakes(json.loads(done.stdout), "list-output.json") == []
    done = CliRunner().invoke(commands, ["runs", "diff", "--json", str(old.path), str(old.path)])
    assert mistakes(json.loads(done.stdout), "diff-output.json") == []


@pytest.mark.parametrize("run", ["applied", "planned"])
def test_stored_records_are_as_they_say(run: str) -> None:
    assert mistakes(json.loads((STORED / run / "run.json").read_text("utf-8")), "run.json") == []
    for path in (STORED / run).glob("0*_*.json"):
        assert mistakes(json.loads(path.read_text("utf-8")), "record.json") == []


@pytest.mark.parametrize(
    ("name", "harm"),
    [
        ("run.json", lambda content: content.update(verdict="GREEN")),
        ("run.json", lambda content: content.pop("operator")),
        ("02_backup.json", lambda content: content["answers"]["dump"].pop("verdict")),
        (
            "02_backup.json",
            lambda content: content["answers"]["dump"]["facts"]["dumps"]["leader"].pop("sha256"),
        ),
        ("manifest.json", lambda content: content["files"]["run.json"].update(sha256="0")),
    ],
)
def test_what_is_wrong_is_told(old: Run, name: str, harm: Callable[[Any], Any]) -> None:
    content = json.loads((old.path / name).read_text("utf-8"))
    harm(content)
    assert mistakes(content, "record.json" if name[0].isdigit() else name) != []


def test_the_page_names_each() -> None:
    page = PAGE.read_text("utf-8")
    for path in SHIPPED.glob("*.json"):
        assert f"`{path.name}`" in page
