"""The grammar of the notebooks: whoever has read one can read them all."""

from __future__ import annotations

import ast
import importlib
import inspect
import json
import re
from functools import cache
from pathlib import Path
from typing import Any

import papermill
import pytest

from runbooks_lib.phase import STEPS

FOLDER = Path(__file__).resolve().parents[2] / "notebooks"
NAMES = tuple(f"{number:02d}_{step}" for number, step in enumerate(STEPS, start=1))
START = "00_start"
FLEET = "08_fleet"
WALK = (START, *NAMES, FLEET)
MAX_CELLS = 30
MAX_CODE_LINES = 12
MAX_CODE_WIDTH = 93  # what JupyterLab shows at 1280 pixels
QUESTIONS = range(3, 7)
COMMON_PARAMETERS = {"phase": "str", "run": "str", "apply": "bool"}
# Questions that write when apply is True, or a file whatever it is.
WRITING = frozenset({"dump", "apply", "second_run", "resolve", "write"})
FORBIDDEN = (
    ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Lambda, ast.For, ast.AsyncFor, ast.While, ast.If,
    ast.IfExp, ast.Try, ast.With, ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp, ast.JoinedStr,
)  # fmt: skip
SQL = re.compile(r"\b(SELECT|INSERT INTO|UPDATE|DELETE FROM|CREATE|ALTER|DROP|GRANT)\s+\S", re.IGNORECASE)

notebook = pytest.mark.parametrize("name", NAMES)
every = pytest.mark.parametrize("name", WALK)


@cache
def load(name: str) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((FOLDER / f"{name}.ipynb").read_text(encoding="utf-8"))
    return content


def cells(name: str, kind: str | None = None) -> list[dict[str, Any]]:
    return [cell for cell in load(name)["cells"] if kind in (None, cell["cell_type"])]


def text(cell: dict[str, Any]) -> str:
    return "".join(cell["source"])


def tags(cell: dict[str, Any]) -> list[str]:
    found: list[str] = cell["metadata"].get("tags", [])
    return found


def questions(name: str) -> list[list[dict[str, Any]]]:
    """Return the groups of four cells between the import cell and the verdict."""
    body = cells(name)[3:-2]
    return [body[start : start + 4] for start in range(0, len(body), 4)]


def step_module(name: str) -> Any:
    return importlib.import_module(f"runbooks_lib.steps.{name[3:]}")


def asked(cell: dict[str, Any], name: str) -> list[str]:
    """Return the functions of the step's module that a cell hands to step.ask, or has decided."""
    return [
        question.attr
        for question, _ in put(cell)
        if isinstance(question, ast.Attribute) and ast.unparse(question.value) == name[3:]
    ]


def put(cell: dict[str, Any]) -> list[tuple[ast.expr, ast.Call]]:
    """Return the questions that a cell puts: to the step, or to whoever decides."""
    calls = [node for node in ast.walk(ast.parse(text(cell))) if isinstance(node, ast.Call)]
    asking = [(call.args[0], call) for call in calls if ast.unparse(call.func) == "step.ask"]
    deciding = [(call.args[1], call) for call in calls if ast.unparse(call.func) == "decide"]
    return [*asking, *deciding]


def links(name: str) -> str:
    """Return the line of links that a notebook must have."""
    place = WALK.index(name)
    words = {n: f"{n[:2]} {n[3:].replace('_', ' ').capitalize().replace('Api', 'API')}" for n in WALK}
    around = []
    if place > 0:
        around.append(f"[← {words[WALK[place - 1]]}]({WALK[place - 1]}.ipynb)")
    if place + 1 < len(WALK):
        around.append(f"[{words[WALK[place + 1]]} →]({WALK[place + 1]}.ipynb)")
    return " | ".join(around)


def test_there_is_a_notebook_for_each_step_before_them_the_landing_page_behind_them_the_fleet() -> None:
    assert tuple(sorted(file.stem for file in FOLDER.glob("*.ipynb"))) == WALK


@every
def test_it_opens_with_a_promise_and_a_table(name: str) -> None:
    first, *others = cells(name, "markdown")
    title, promise, head, rule, row, navigation = [line for line in text(first).splitlines() if line.strip()]
    assert re.match(rf"# {int(name[:2])}\. \S", title)
    assert promise.endswith(".")
    assert promise.count(". ") == 0, "one sentence"
    assert head == "| reads | writes | takes | undo |"
    assert re.fullmatch(r"\|(-+\|){4}", rule)
    assert len([cell for cell in row.strip("|").split("|") if cell.strip()]) == 4
    assert navigation == links(name)
    assert not any(line.startswith("# ") for cell in others for line in text(cell).splitlines())


@notebook
def test_it_ends_with_the_verdict_and_the_same_links(name: str) -> None:
    told, last = cells(name)[-2:]
    assert told["cell_type"] == "markdown"
    assert text(told).startswith("## Verdict\n")
    assert text(told).splitlines()[-1] == links(name)
    assert (last["cell_type"], text(last)) == ("code", "show(step.close())")


@every
def test_no_line_of_code_is_cut(name: str) -> None:
    lines = [line for cell in cells(name, "code") for line in text(cell).splitlines()]
    assert [line for line in lines if len(line) > MAX_CODE_WIDTH] == []


@every
def test_every_link_leads_to_a_notebook(name: str) -> None:
    found = re.findall(r"\]\(([^)]+)\)", "\n".join(map(text, cells(name, "markdown"))))
    assert [link for link in found if not (FOLDER / link).is_file()] == []


@notebook
def test_it_has_one_cell_of_parameters_that_papermill_reads(name: str) -> None:
    tagged = [cell for cell in cells(name) if "parameters" in tags(cell)]
    assert tagged == [cells(name)[1]]
    lines = text(tagged[0]).splitlines()
    assert [line for line in lines if not re.fullmatch(r"[a-z_]+: (str|bool) = \S+  # \S.+", line)] == []
    read = papermill.inspect_notebook(str(FOLDER / f"{name}.ipynb"))
    assert [n for n, p in read.items() if not (p["inferred_type_name"] and p["help"])] == []
    types = {n: p["inferred_type_name"] for n, p in read.items()}
    own = {"03_baseline_migration": {"confirm": "str"}, "02_backup": {"allow_superuser_objects": "str"}}
    assert types == COMMON_PARAMETERS | own.get(name, {})
    assert read["apply"]["default"] == "False"


@notebook
def test_it_imports_in_one_cell(name: str) -> None:
    importing = [
        cell
        for cell in cells(name, "code")
        if any(isinstance(node, ast.Import | ast.ImportFrom) for node in ast.walk(ast.parse(text(cell))))
    ]
    assert importing == [cells(name)[2]]
    imported = [line for line in text(importing[0]).splitlines() if "import" in line]
    decides = "decide, " if any("decide(" in text(cell) for cell in cells(name, "code")) else ""
    assert imported == [
        f"from runbooks_lib.notebook import {decides}gate, open_step, show",
        f"from runbooks_lib.steps import {name[3:]}",
    ]
    assert f'step = open_step("{name[3:]}", phase=phase, run=run, apply=apply)' in text(importing[0])


@notebook
def test_every_question_is_four_cells(name: str) -> None:
    assert len(questions(name)) in QUESTIONS
    for question in questions(name):
        assert [cell["cell_type"] for cell in question] == ["markdown", "code", "markdown", "code"]
        why, ask, if_not, close = map(text, question)
        assert re.match(r"## [^\n]+\?\n\n\S", why), why
        assert "\n\n**What good looks like**: " in why
        assert if_not.startswith("**If not**: ")
        assert len(ask.splitlines()) <= MAX_CODE_LINES
        answer = re.fullmatch(r"show\(([a-z]+)\)", ask.splitlines()[-1])
        assert answer is not None, ask
        assert re.search(rf"^{answer[1]} = (step\.ask|decide)\(", ask, re.MULTILINE)
        goes_on = ", at_end=True" if name == "01_preflight" else ""  # it shows all problems of a run at once
        assert close == f"gate({answer[1]}.findings{goes_on})"
        assert len(asked(question[1], name)) == 1


@notebook
def test_its_code_only_asks_and_shows(name: str) -> None:
    for cell in cells(name, "code"):
        source = text(cell)
        assert not re.search(r"^\s*[%!?]", source, re.MULTILINE), "no magics"
        tree = ast.parse(source)
        found = [type(node).__name__ for node in ast.walk(tree) if isinstance(node, FORBIDDEN)]
        assert found == [], source
        words = [n.value for n in ast.walk(tree) if isinstance(n, ast.Constant) and isinstance(n.value, str)]
        assert [word for word in words if SQL.search(word)] == []


@notebook
def test_it_is_short_and_explains_more_than_it_does(name: str) -> None:
    assert len(cells(name)) <= MAX_CELLS
    prose = cells(name, "markdown")
    code = [cell for cell in cells(name, "code") if "parameters" not in tags(cell)]  # parameters are a form
    assert len(prose) >= len(code)
    assert sum(len(text(cell)) for cell in prose) >= sum(len(text(cell)) for cell in code)


@notebook
def test_cells_that_write_say_so(name: str) -> None:
    for cell in cells(name):
        writes = cell["cell_type"] == "code" and bool(WRITING & set(asked(cell, name)))
        assert ("writes" in tags(cell)) is writes, text(cell)
        assert set(tags(cell)) <= {"parameters", "writes"}


@notebook
def test_prose_above_a_cell_that_writes_says_what(name: str) -> None:
    for why, ask, _, _ in questions(name):
        assert ("\n\n**Writes**: " in text(why)) is ("writes" in tags(ask)), text(ask)


def test_the_landing_page_only_looks() -> None:
    parameters, imports, *others = cells(START, "code")
    assert text(parameters).startswith('phase: str = ""  # ')
    assert text(imports) == "from runbooks_lib.notebook.landing.start import Start\n\nstart = Start(phase)"
    assert [text(cell) for cell in others] == [
        f"start.{panel}()" for panel in ("choose", "servers", "steps", "following")
    ]


def test_the_page_of_the_fleet_only_looks() -> None:
    parameters, imports, *others = cells(FLEET, "code")
    assert text(parameters).startswith('folder: str = ""  # ')
    assert text(imports) == "from runbooks_lib.notebook.landing.fleet import Fleet\n\nfleet = Fleet(folder)"
    assert [text(cell) for cell in others] == [
        f"fleet.{panel}()" for panel in ("progress", "matrix", "slowest", "failures")
    ]


@every
def test_it_is_committed_with_the_outputs_of_a_whole_run_and_no_metadata(name: str) -> None:
    content = load(name)
    assert (content["nbformat"], content["metadata"]["kernelspec"]["name"]) == (4, "python3")
    assert content["metadata"]["language_info"] == {"name": "python"}
    assert set(content["metadata"]) == {"kernelspec", "language_info"}
    code = cells(name, "code")
    assert [cell["execution_count"] for cell in code] == list(range(1, len(code) + 1))
    assert {output["output_type"] for cell in code for output in cell["outputs"]} == {"display_data"}
    assert [cell["metadata"] for cell in cells(name) if set(cell["metadata"]) > {"tags"}] == []
    assert len({cell["id"] for cell in cells(name)}) == len(cells(name))


@every
def test_its_outputs_read_well_and_name_no_folder_of_who_made_them(name: str) -> None:
    data = [output["data"] for cell in cells(name, "code") for output in cell["outputs"]]
    plain = "\n".join("".join(each["text/plain"]) for each in data)
    assert not re.search(r"<[\w.]+ object|object at 0x", plain), "a raw repr"
    paths = re.findall(r"(?<![\w.>:/])/(?:[\w.-]+/)+[\w.-]*", plain)
    assert [path for path in paths if not path.startswith(("/tmp/runs", "/api/"))] == []


@notebook
def test_it_asks_every_question_of_its_step_once_in_order(name: str) -> None:
    module = step_module(name)
    answering = {
        function: inspect.signature(value)
        for function, value in vars(module).items()
        if inspect.isfunction(value)
        and value.__module__ == module.__name__
        and not function.startswith("_")
        and value.__annotations__.get("return") == "Answer"
    }
    questions = [function for cell in cells(name, "code") for function in asked(cell, name)]
    assert sorted(questions) == sorted(answering), "asked, and public functions that answer"
    assert questions == [function for function in answering if function in questions], "in the module's order"
    for function, signature in answering.items():
        first = [(p.name, p.annotation) for p in list(signature.parameters.values())[:2]]
        assert first == [("phase", "Phase"), ("sessions", "Sessions")], function
        others = list(signature.parameters.values())[2:]
        assert {p.kind for p in others} <= {inspect.Parameter.KEYWORD_ONLY}, function


@notebook
def test_a_question_gets_the_options_that_its_function_takes(name: str) -> None:
    module = step_module(name)
    for cell in cells(name, "code"):
        for question, call in put(cell):
            function = getattr(module, ast.unparse(question).split(".")[1])
            given = {keyword.arg: None for keyword in call.keywords}
            inspect.signature(function).bind(None, None, **given)


@notebook
def test_a_step_writes_only_what_it_may_write_without_apply(name: str) -> None:
    """A question that writes to a database takes `apply`; dump and write make files of the run only."""
    module = step_module(name)
    for function in WRITING - {"dump", "write"}:
        if hasattr(module, function):
            assert "apply" in inspect.signature(getattr(module, function)).parameters
