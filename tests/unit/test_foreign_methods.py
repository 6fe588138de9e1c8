"""Methods of other packages that we replace or call without their being promised: each is the one that we read."""

from __future__ import annotations

import ast
import hashlib
import inspect
import textwrap
from collections.abc import Iterator
from importlib.metadata import version

import papermill  # noqa: F401 - it is papermill that loads its engines, while it is imported itself
import pytest
from jupyter_client.client import KernelClient
from jupyter_client.manager import KernelManager
from jupyter_client.provisioning.local_provisioner import LocalProvisioner
from nbclient.client import NotebookClient
from papermill.clientwrap import PapermillNotebookClient
from papermill.engines import NotebookExecutionManager
from psycopg import Connection

from runbooks_lib.execution.kernels import engine, provisioner
from runbooks_lib.postgres.session.session import Session

READ = {
    (KernelClient, "_async_wait_for_ready"): "1dea60830e4a6084",
    (KernelClient, "_handle_kernel_info_reply"): "541eee107b0da56a",
    (KernelClient, "_async_is_alive"): "5712813cd704f270",
    (KernelManager, "_async_wait"): "85a6674242d0bde6",
    (LocalProvisioner, "launch_kernel"): "8952d158117238ff",
    (LocalProvisioner, "wait"): "37be0ff148f8ae3f",
    (NotebookClient, "create_kernel_manager"): "b5fc6a333419392c",
    (PapermillNotebookClient, "papermill_execute_cells"): "af1643e2a8913f87",
    (PapermillNotebookClient, "execute"): "78735c274146a291",
    (NotebookExecutionManager, "cell_start"): "d49e62d66529f36c",
    (NotebookExecutionManager, "cell_complete"): "891f2fe25564d5d5",
    (NotebookExecutionManager, "notebook_complete"): "66a73d110f890623",
    (NotebookExecutionManager, "save"): "cfb70a489bb26b12",
    (Connection, "wait"): "a3342c2de136b4ed",
}
OURS = (
    *(
        engine.HonestClient,
        engine.CheapSaving,
        provisioner.WarmProvisioner,
        provisioner.QuickClient,
        provisioner.QuickManager,
    ),
    Session,
)


def changed(owner: type, name: str, digest: str) -> str | None:
    """The sentence for a method that is not the one with this digest of its source; None for the one."""
    method = getattr(owner, name, None)
    source = inspect.getsource(method).strip() if method else ""
    found = hashlib.sha256(source.encode()).hexdigest()[:16]
    package = owner.__module__.partition(".")[0]
    return None if found == digest else (
        f"{package} {version(package)} has another {owner.__name__}.{name} than the one that our code was written for: "
        f"read it, compare what we do in its place, and write {found} here."
    )  # fmt: skip


def leant_on(ours: type) -> Iterator[tuple[type, str]]:
    """Each function of another package's class that one of ours replaces, or calls although it is private."""
    tree = ast.parse(textwrap.dedent(inspect.getsource(ours)))
    private = {
        node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute) and node.attr[:1] == "_"
    }
    replaced = {name for name, value in vars(ours).items() if inspect.isfunction(value)}
    for name in {name for name in private | replaced if not name.startswith("__")}:
        foreign = (base for base in ours.__mro__ if not base.__module__.startswith("runbooks_lib"))
        owner = next((base for base in foreign if name in vars(base)), None)
        if owner and inspect.isfunction(method := vars(owner)[name]) and method.__name__ == name:
            yield owner, name


@pytest.mark.parametrize(("owner", "name"), READ, ids=lambda part: getattr(part, "__name__", part))
def test_it_is_the_method_that_our_code_was_written_for(owner: type, name: str) -> None:
    assert changed(owner, name, READ[owner, name]) is None


def test_a_change_is_told_in_a_sentence() -> None:
    class Later(KernelManager):
        __module__ = KernelManager.__module__

        async def _async_wait(self) -> None: ...

    told = changed(Later, "_async_wait", READ[KernelManager, "_async_wait"])
    assert told is not None
    assert "Later._async_wait than the one that our code was written for: read it" in told


@pytest.mark.parametrize("ours", OURS, ids=lambda ours: ours.__name__)
def test_each_that_we_lean_on_is_among_them(ours: type) -> None:
    leant = set(leant_on(ours))
    assert leant
    assert leant - READ.keys() == set()
