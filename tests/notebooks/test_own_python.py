"""Children judge with the library that started them: no code of a working directory, a startup file or a variable."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import nbformat
import papermill
import pytest

import runbooks_lib
from runbooks_lib.execution import jupyter
from runbooks_lib.execution.kernels import warm
from runbooks_lib.execution.kernels.warm import KIND_VARIABLE, warm_kernels
from runbooks_lib.lab import services
from runbooks_lib.package import library_digest, own_python, package, package_files
from runbooks_lib.steps.confirming import changed_parts

KINDS = ["cold", pytest.param("warm", marks=pytest.mark.skipif(not warm.can_fork(), reason="no fork here"))]
LOOK = """
import json, os, sys
import runbooks_lib, runbooks_lib.findings
print(json.dumps({"library": runbooks_lib.__file__, "path": sys.path, "cwd": os.getcwd(),
    "gate": runbooks_lib.findings.gate.__module__ + repr(runbooks_lib.findings.CLOSING),
    "changed": globals().get("CHANGED"), "ipython": os.environ.get("IPYTHONDIR")}))
"""
CANARY = "open({canary!r}, 'a').write({name!r} + '\\n')\n"


@pytest.fixture
def canary(tmp_path: Path) -> Path:
    return tmp_path / "canary"


@pytest.fixture
def hostile(tmp_path: Path, canary: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with an older library, whose gate lets everything pass; startup files; variables."""
    folder = tmp_path / "cwd"
    startup = tmp_path / "ipython" / "profile_default" / "startup"
    startup.mkdir(parents=True)
    (folder / "runbooks_lib").mkdir(parents=True)
    said = {name: CANARY.format(canary=str(canary), name=name) for name in (
        "library", "findings", "sitecustomize", "usercustomize", "json", "ipython", "python", "config", "papermill",
    )}  # fmt: skip
    (folder / "runbooks_lib" / "__init__.py").write_text(said["library"])
    (folder / "runbooks_lib" / "findings.py").write_text(said["findings"] + "CLOSING = frozenset()\n")
    for name in ("sitecustomize", "usercustomize", "json", "papermill"):
        (folder / f"{name}.py").write_text(said[name])
    (startup / "00.py").write_text(said["ipython"] + "CHANGED = True\n")
    (startup.parent / "ipython_kernel_config.py").write_text(said["config"])
    (tmp_path / "startup.py").write_text(said["python"])
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    monkeypatch.setenv("PYTHONSTARTUP", str(tmp_path / "startup.py"))
    monkeypatch.setenv("PYTHONPATH", str(folder))
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, hostile: Path) -> Iterator[str]:
    monkeypatch.setenv(KIND_VARIABLE, request.param)
    with warm_kernels():
        yield request.param


def test_a_kernel_has_nothing_of_it(kind: str, hostile: Path, canary: Path, tmp_path: Path) -> None:
    notebook = nbformat.v4.new_notebook(
        cells=[nbformat.v4.new_code_cell(LOOK)],
        metadata={"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}},
    )
    nbformat.write(notebook, tmp_path / "in.ipynb")
    done = papermill.execute_notebook(
        str(tmp_path / "in.ipynb"), None, engine_name="runbooks", progress_bar=False
    )
    seen = json.loads("".join(output.get("text", "") for output in done.cells[0].outputs))
    assert seen["library"] == runbooks_lib.__file__
    assert "FAIL" in seen["gate"]
    assert seen["cwd"] == str(hostile)
    assert not {"", ".", str(hostile)} & set(seen["path"])
    assert seen["changed"] is None
    assert not canary.exists(), canary.read_text()
    assert not Path(seen["ipython"]).exists()  # it was made for this kernel, and is gone


def test_the_lab_s_api_has_nothing_of_it(hostile: Path, canary: Path) -> None:
    process = services.start_api(hostile, services.quiet_port())
    services.wait_for_api(hostile, process, int(_port_of(process.pid)))
    assert process.end(((15, 5.0), (9, 5.0)))  # type: ignore[arg-type]
    assert not canary.exists(), canary.read_text()


def _port_of(pid: int) -> str:
    return Path(f"/proc/{pid}/cmdline").read_text().split("\0")[-2]


def test_jupyterlab_and_its_kernels_have_nothing_of_it(hostile: Path, canary: Path, tmp_path: Path) -> None:
    folder = jupyter.lay_out(tmp_path / "runs")
    env = jupyter.environment(folder, {})
    kernel = (
        "import sys; from jupyter_client.manager import start_new_kernel\n"
        "manager, client = start_new_kernel(kernel_name='python3', cwd=sys.argv[1])\n"
        f"reply = client.execute_interactive({LOOK!r}, timeout=60)\n"
        "client.stop_channels(); manager.shutdown_kernel(now=True)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", kernel, str(hostile)],
        env=env,
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    seen = json.loads(done.stdout)
    assert seen["library"] == runbooks_lib.__file__
    assert "FAIL" in seen["gate"]
    assert seen["changed"] is None
    assert not canary.exists(), canary.read_text()


def test_a_package_that_is_reached_by_pythonpath_alone_is_handed_on(tmp_path: Path) -> None:
    place = package().parent.resolve()
    own = own_python(
        {"PYTHONPATH": os.pathsep.join(["", str(tmp_path), str(place)]), "PYTHONINSPECT": "1", "A": "b"}
    )
    assert own == {"PYTHONPATH": str(place), "PYTHONSAFEPATH": "1", "A": "b"}
    assert "PYTHONPATH" not in own_python({"PYTHONPATH": str(tmp_path)})
    shutil.copytree(
        package(), tmp_path / "elsewhere" / "runbooks_lib", ignore=shutil.ignore_patterns("node_modules")
    )
    code = (
        "import subprocess, sys; from runbooks_lib.package import own_python; import os\n"
        "look = [sys.executable, '-c', 'import runbooks_lib; print(runbooks_lib.__file__)']\n"
        "print(subprocess.run(look, env=own_python(os.environ), capture_output=True, text=True).stdout)"
    )
    env = {**os.environ, "PYTHONPATH": str(tmp_path / "elsewhere")}
    done = subprocess.run(
        [sys.executable, "-P", "-c", code], env=env, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == str(tmp_path / "elsewhere" / "runbooks_lib" / "__init__.py")


@pytest.mark.parametrize("name", ["findings.py", "texts/fr.po", "checks/has_table.md", "__init__.py"])
def test_an_edited_library_is_another_one(tmp_path: Path, name: str) -> None:
    shutil.copytree(package(), tmp_path / "runbooks_lib", ignore=shutil.ignore_patterns("node_modules"))

    def digest() -> str:
        code = "from runbooks_lib.package import library_digest; print(library_digest())"
        env = {**os.environ, "PYTHONPATH": str(tmp_path), "PYTHONDONTWRITEBYTECODE": "1"}
        return subprocess.run(
            [sys.executable, "-P", "-c", code], env=env, capture_output=True, text=True, check=True
        ).stdout.strip()

    assert digest() == library_digest()
    with (tmp_path / "runbooks_lib" / name).open("a") as stream:
        stream.write("\n")
    edited = digest()
    assert edited != library_digest()
    (changed,) = changed_parts({"library": library_digest()}, {"library": edited})
    assert changed.part == "library"


def test_what_the_digest_covers() -> None:
    names = {path.relative_to(package()).as_posix() for path in package_files()}
    assert {"findings.py", "texts/fr.po", "phases/PH15-AMAZON-DB-FOUNDATION-01/phase.toml"} <= names
    assert not any("__pycache__" in name or "node_modules" in name for name in names)
