"""Kernels that are started ahead: as fresh as any other, used only as they would be started now, never left behind."""

from __future__ import annotations

import asyncio
import json
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import nbformat
import papermill
import psutil
import pytest
from jupyter_core.utils import ensure_event_loop

from runbooks_lib.execution.kernels import spare, warm
from runbooks_lib.execution.kernels.warm import KIND_VARIABLE, warm_kernels

Execute = Callable[..., dict[str, Any]]
LOOK = """
import decimal, json, os, sys
print(json.dumps({"variable": os.environ.get("LEAK"), "cwd": os.getcwd(), "module": "leak" in sys.modules,
    "attribute": hasattr(json, "leak"), "name": "leak" in globals(), "option": decimal.DefaultContext.prec}))
"""
LEAK = """
import decimal, json, os, sys, types
os.environ["LEAK"] = "x"; os.chdir("/"); sys.modules["leak"] = types.ModuleType("leak"); json.leak = leak = 1
decimal.DefaultContext.prec = 7
"""
PID = "import json, os; print(json.dumps({'pid': os.getpid(), 'variable': os.environ.get('VARIABLE')}))"
KINDS = ["cold", pytest.param("warm", marks=pytest.mark.skipif(not warm.can_fork(), reason="no fork here"))]


@pytest.fixture(params=KINDS, autouse=True)
def kind(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    monkeypatch.setenv(KIND_VARIABLE, request.param)
    with warm_kernels():
        yield request.param
    assert not list(Path(tempfile.gettempdir()).glob(f"{spare.SOCKETS}{psutil.Process().pid}-*"))


@pytest.fixture
def execute(tmp_path: Path) -> Execute:
    """Execute a cell as a notebook; return what it printed as JSON, if it did."""

    def run(cell: str, **options: Any) -> dict[str, Any]:
        notebook = nbformat.v4.new_notebook(
            cells=[nbformat.v4.new_code_cell(cell)],
            metadata={"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}},
        )
        nbformat.write(notebook, tmp_path / "in.ipynb")
        done = papermill.execute_notebook(
            str(tmp_path / "in.ipynb"), None, engine_name="runbooks", progress_bar=False, **options
        )
        printed = "".join(output.get("text", "") for output in done.cells[0].outputs)
        return dict(json.loads(printed)) if printed.startswith("{") else {}

    return run


def waiting() -> spare.Spare:
    """Return the kernel that was started ahead, and leave it where it is."""
    (task,) = spare._coming
    found: spare.Spare = ensure_event_loop().run_until_complete(task)
    return found


def process(found: spare.Spare) -> psutil.Process:
    return psutil.Process(found.manager.provisioner.pid)


def test_the_next_notebook_uses_it_and_it_has_seen_nothing(execute: Execute) -> None:
    with spare.spare_kernels():
        before = execute(LOOK, another_follows=True)
        execute(LEAK, another_follows=True)
        ahead = process(waiting()).pid
        assert execute(LOOK, another_follows=True) == before
        second = process(waiting()).pid
        assert execute(PID)["pid"] == second != ahead


def test_it_is_gone_at_the_end(execute: Execute) -> None:
    with spare.spare_kernels():
        execute(PID, another_follows=True)
        left = process(waiting())
        assert left.is_running()
    psutil.wait_procs([left], timeout=10)
    assert not left.is_running() or left.status() == psutil.STATUS_ZOMBIE


def test_it_is_gone_when_the_block_is_left_at_once(execute: Execute) -> None:
    with spare.spare_kernels():
        execute(PID, another_follows=True)
        assert spare._coming
    assert not spare._coming


def test_it_is_not_used_when_the_environment_has_changed(
    execute: Execute, monkeypatch: pytest.MonkeyPatch
) -> None:
    with spare.spare_kernels():
        execute(PID, another_follows=True)
        old = process(waiting()).pid
        monkeypatch.setenv("VARIABLE", "new")
        found = execute(PID)
    assert found["variable"] == "new"
    assert found["pid"] != old


def test_it_is_not_used_when_it_has_died(execute: Execute) -> None:
    with spare.spare_kernels():
        execute(PID, another_follows=True)
        dead = process(waiting())
        dead.kill()
        psutil.wait_procs([dead], timeout=10)
        assert execute(PID)["pid"] != dead.pid


def test_one_that_cannot_be_started_is_made_up_for(execute: Execute, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*arguments: Any) -> None:
        raise OSError("no memory")

    with spare.spare_kernels():
        monkeypatch.setattr(spare, "kernel_manager", fails)
        execute(PID, another_follows=True)
        assert execute(PID)["pid"]


def test_without_the_block_none_is_started(execute: Execute) -> None:
    execute(PID, another_follows=True)
    assert not spare._coming


def test_none_is_started_where_a_loop_is_running_already(execute: Execute) -> None:
    """As in a notebook, whose kernel runs one: what was begun in it would come only when that loop goes on."""

    async def notebook() -> list[Any]:
        with spare.spare_kernels():
            return [execute(PID, another_follows=True), list(spare._coming), execute(PID)]

    first, coming, second = asyncio.run(notebook())
    assert coming == []
    assert first["pid"] != second["pid"]
