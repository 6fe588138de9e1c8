"""A project of a real one's size, 87 tables and 820 migrations: what people read stays small, and nothing is lost."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest

from runbooks_lib.archive.files import write_json, write_notebook
from runbooks_lib.archive.notebooks import notebooks_folder
from runbooks_lib.archive.run import Run, step_name
from runbooks_lib.errors import GateClosed
from runbooks_lib.findings import MANY, Answer, Verdict
from runbooks_lib.notebook import tables
from runbooks_lib.notebook.step import Step
from runbooks_lib.phase import load_phase
from runbooks_lib.postgres.scratch.replayed import StatementRan
from runbooks_lib.postgres.scratch.scratch import SUPERUSER, scratch
from runbooks_lib.prisma.effects import ObjectState, Origin
from runbooks_lib.report.document import render
from runbooks_lib.report.html.pages import write_pages
from runbooks_lib.report.junit import junit
from runbooks_lib.steps import own_objects, preflight, report
from runbooks_lib.steps.settlement_findings import judge_objects

from ..projects import large

MAX_PAGE_BYTES, MAX_FOLDER_BYTES = 300_000, 5_000_000
INDEX = "WorkerRuntime77_slug_key"


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Run]:
    """A run's folder with what its first and its last step found, and the tables that their notebooks showed."""
    folder = tmp_path_factory.mktemp("large")
    with pytest.MonkeyPatch.context() as patch, scratch() as server:
        server.create_database("large")
        for number in range(3):
            server.create_database(f"other_{number}")
        with server.connect("large") as conn:
            conn.execute("SET search_path = public")
            for _, script in large.migrations():
                conn.execute(script.encode())
            conn.execute("SET search_path = pg_catalog")
            (folder / "LARGE").mkdir()
            (folder / "LARGE" / "phase.toml").write_text(
                large.phase(conn, "large", targets=("leader", "mirror")), "utf-8"
            )
        address = {**server.cluster.address(), "user": SUPERUSER, "password": server.password}
        services = "".join(f"{key}={value}\n" for key, value in address.items())
        (folder / "services").write_text(f"[large]\n{services}")
        patch.setenv("PGSERVICEFILE", str(folder / "services"))
        scripts = [(script, "public") for _, script in large.migrations()]
        patch.setattr(own_objects, "_scripts", lambda phase: scripts)
        phase = load_phase(str(folder / "LARGE"))
        made = Run.create(folder / "runs", phase)
        first = Step("preflight", phase, made, apply=False)
        _execute(first, patch, preflight.find_objects, preflight.schema)
        last = Step("report", phase, made, apply=False)
        _execute(last, patch, report.last_look, evidence=made.evidence())
        yield made


def _execute(step: Step, patch: pytest.MonkeyPatch, *questions: Any, **options: Any) -> None:
    """Ask questions as the step's notebook does, close the step, and archive that notebook with what it showed."""
    shown: list[dict[str, str]] = []
    patch.setattr(tables, "display", lambda bundle, **_: shown.append(bundle))
    asked = [step.ask(question, **options) for question in questions]
    for answer in asked:
        tables.show(answer)
    step.close()
    notebook = json.loads((notebooks_folder() / f"{step_name(step.name)}.ipynb").read_text("utf-8"))
    code = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    for number, cell in enumerate(code):
        cell["execution_count"], cell["outputs"] = number + 1, []
    code[3]["outputs"] = [{"output_type": "display_data", "metadata": {}, "data": data} for data in shown]
    write_notebook(step.run.notebook(step.name), notebook)


def test_pages_and_folder_are_small(run: Run) -> None:
    write_pages(run)
    (run.path / "junit.xml").write_text(junit(run.evidence()), "utf-8")
    sizes = {path.name: path.stat().st_size for path in run.path.rglob("*") if path.is_file()}
    pages = {name: size for name, size in sizes.items() if re.fullmatch(r"\d\d_.*\.html", name)}
    assert pages.keys() == {"01_preflight.html", "07_report.html"}
    assert max(pages.values()) < MAX_PAGE_BYTES, pages
    assert sum(sizes.values()) < MAX_FOLDER_BYTES - 500_000, sizes  # the dump and the other steps' files


def test_the_record_keeps_every_finding(run: Run) -> None:
    phase = load_phase(str(run.path.parents[2] / "LARGE"))
    record = run.record("preflight")
    assert record is not None
    found = {(finding.check, finding.object) for finding in record.answers["schema"].findings}
    for name in (each.name for each in phase.tables):
        assert {
            ("has_table", name),
            ("columns_are", name),
            ("col_is_pk", name),
            ("row_count_is", name),
        } <= found
    assert {("has_index", each.name) for each in phase.indexes} <= found
    assert record.verdict is Verdict.PASS


def test_a_table_that_is_as_declared_is_one_line(run: Run) -> None:
    page = (run.path / "01_preflight.html").read_text("utf-8").replace("<wbr>", "")
    assert (
        len(re.findall(r"<td[^>]*>public\.WorkerRuntime77</td>", page)) == 2
    )  # of the finder, of the schema
    assert INDEX not in page
    for check in ("has_table", "columns_are", "index_is"):
        assert page.count(f'id="check-{check}"') == 1  # what the report's links lead to
    assert f"{large.TABLES}: " in page


def test_what_is_not_as_declared_is_never_folded(run: Run) -> None:
    """The same record with one index that differs, as it would have been found."""
    path = run.path / "01_preflight.json"
    content = json.loads(path.read_text("utf-8"))
    for finding in content["answers"]["schema"]["findings"]:
        if finding["object"] == f"public.{INDEX}" and finding["check"] == "index_is":
            finding |= {"verdict": "FAIL", "have": "another definition"}
    other = Run(run.path.with_name("other"))
    (other.path / "plan").mkdir(parents=True)
    for file in ("01_preflight.ipynb", "plan/phase.toml"):
        (other.path / file).write_bytes((run.path / file).read_bytes())
    write_json(other.path / "run.json", {**run.header_json(), "digests": {}})
    write_json(other.path / path.name, content)
    write_pages(other)
    page = (other.path / "01_preflight.html").read_text("utf-8")
    # At two targets: once for both among what did not pass, and one by one among all findings.
    assert page.count("another definition") == 3


def test_databases_that_hold_little_of_the_phase_are_counted(run: Run) -> None:
    page = (run.path / "01_preflight.html").read_text("utf-8").replace("<wbr>", "")
    heads = re.findall(r"<th[^>]*>([^<]*)</th>", page)
    assert sum("large" in head for head in heads) == 1
    assert not any("other_" in head for head in heads)
    assert re.search(r"absent in \d+", page)
    assert MANY < large.TABLES


def test_half_of_the_tables_missing_is_a_line_for_each(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a settlement says of it: each object that the migrations make, with the statement that made it."""
    phase = load_phase(str(run.path.parents[2] / "LARGE"))
    made = Run.create(run.path.parents[2] / "half", phase)
    step = Step("baseline_migration", phase, made, apply=False)
    gone = tuple(each for number in range(0, large.TABLES, 2) for each in _missing(large.table(number)))
    assert len(gone) > 300
    shown: list[dict[str, str]] = []
    monkeypatch.setattr(tables, "display", lambda bundle, **_: shown.append(bundle))
    found = tuple(judge_objects("leader", gone, phase))
    asked = step.ask(lambda phase, sessions: Answer(findings=found, rows=({"kind": "table"},)))
    tables.show(asked)
    with pytest.raises(GateClosed) as stopped:
        tables.gate(asked.findings)
    assert len(stopped.value.what_happened) < 60_000
    record = made.record("baseline_migration")
    assert record is not None
    (answer,) = record.answers.values()
    assert len(answer.findings) == len(gone)  # the record keeps each
    notebook = _stopped(shown, str(stopped.value))
    write_notebook(made.notebook("baseline_migration"), notebook)
    write_pages(made)
    page = (made.path / "03_baseline_migration.html").read_text("utf-8").replace("<wbr>", "")
    assert len(page.encode()) < MAX_PAGE_BYTES
    assert page.count(f"and 7 more of public.{large.table(2)}, each in the record") >= 2
    assert len(render(phase, made.evidence(), "en").text) < 100_000


def _stopped(shown: list[dict[str, str]], error: str) -> dict[str, Any]:
    """Return the step's notebook with these tables, stopped by a gate."""
    notebook = json.loads(
        (notebooks_folder() / f"{step_name('baseline_migration')}.ipynb").read_text("utf-8")
    )
    code = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    for number, cell in enumerate(code):
        cell["execution_count"], cell["outputs"] = number + 1, []
    code[2]["outputs"] = [{"output_type": "display_data", "metadata": {}, "data": data} for data in shown]
    code[3]["outputs"] = [
        {"output_type": "error", "ename": "GateClosed", "evalue": error, "traceback": [error]}
    ]
    return notebook


def _missing(table: str) -> Iterator[ObjectState]:
    """Yield a table and what hangs on it, as they are told when the table is missing."""
    statement = StatementRan(
        line=2, words=f"CREATE TABLE {table}", tag="CreateStmt", text="CREATE TABLE " + "x" * 500
    )
    origins = (Origin(migration=f"20230101000000_create_{table.lower()}", statement=statement),)
    columns = tuple((("name", f"column_{number}"), ("type", "text")) for number in range(8))
    yield from (
        ObjectState(kind=kind, name=name, want=want, there=False, origins=origins, stands=False)
        for kind, name, want in (
            ("columns", f"public.{table}", columns),
            ("relation", f"public.{table}", ((("kind", "r"), ("owner", "o")),)),
            *(
                ("constraint", f"public.{table}.{table}_{n}", ((("definition", "CHECK (true)"),),))
                for n in range(3)
            ),
            *(("index", f"public.{table}_{n}_idx", ((("relation", f"public.{table}"),),)) for n in range(3)),
        )
    )
