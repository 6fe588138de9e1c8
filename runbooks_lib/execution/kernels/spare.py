"""The next notebook's kernel, started while this notebook runs: it has seen nothing, and has only to be connected."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from jupyter_core.utils import ensure_event_loop, run_sync

from runbooks_lib.execution.kernels.provisioner import QuickManager, kernel_manager
from runbooks_lib.interrupts import running_loop
from runbooks_lib.temporary import SOCKETS, delete_folder, new_folder

logger = logging.getLogger("papermill")


@dataclass(frozen=True, slots=True, kw_only=True)
class Spare:
    """A kernel that nobody has used, and what it was started with."""

    kernel_name: str
    manager: QuickManager
    sockets: Path
    env: dict[str, str]
    cwd: str


_coming: list[asyncio.Task[Spare]] = []  # at most one
_blocks: list[None] = []


@contextmanager
def spare_kernels() -> Iterator[None]:
    """Have kernels started ahead within this block; the one that was not used is gone at its end."""
    _blocks.append(None)
    try:
        yield
    finally:
        _blocks.pop()
        if not _blocks and (spare := _come()):
            discard(spare.manager, spare.sockets)


def prepare(kernel_name: str, arguments: list[str]) -> None:
    """Begin to start the next kernel, in this thread's event loop.

    Does nothing outside of `spare_kernels`, nor where a loop is running already, as in a notebook: what is begun in
    that one would come only when it goes on, after the block.
    """
    if _blocks and not _coming and running_loop() is None:
        _coming.append(ensure_event_loop().create_task(_start(kernel_name, arguments)))


def take(kernel_name: str) -> Spare | None:
    """Return the kernel that was started ahead, if it lives and was started as one would be started now."""
    spare = _come()
    if spare is None:
        return None
    now = (kernel_name, dict(os.environ), os.getcwd())
    if (spare.kernel_name, spare.env, spare.cwd) == now and run_sync(spare.manager.is_alive)():
        return spare
    discard(spare.manager, spare.sockets)
    return None


def _come() -> Spare | None:
    """Wait for the kernel that was begun; None without one, and when it could not be started: another one is tried."""
    if not _coming:
        return None
    try:
        spare: Spare = ensure_event_loop().run_until_complete(_coming.pop())
    except (OSError, RuntimeError, asyncio.CancelledError) as error:
        logger.debug("No kernel was started ahead: %s", error)
        return None
    return spare


async def _start(kernel_name: str, arguments: list[str]) -> Spare:
    sockets = new_folder(SOCKETS)
    try:
        manager = kernel_manager(kernel_name, sockets)
        env, cwd = dict(os.environ), os.getcwd()
        await manager.start_kernel(extra_arguments=arguments)
    except BaseException:
        delete_folder(sockets)
        raise
    return Spare(kernel_name=kernel_name, manager=manager, sockets=sockets, env=env, cwd=cwd)


def discard(manager: QuickManager | None, sockets: Path) -> None:
    """Kill the kernel of a manager, if there is one that lives; then delete the folder of its sockets."""
    try:
        if manager is not None:
            forget_stop()
            run_sync(_stop)(manager)
    finally:
        delete_folder(sockets)


def forget_stop() -> None:
    """Have this thread's loop run again: a stop that was meant for what Ctrl-C ended would end what cleans up."""
    with suppress(RuntimeError):
        run_sync(asyncio.sleep)(0)


async def _stop(manager: QuickManager) -> None:
    if await manager.is_alive():
        await manager.shutdown_kernel(now=True)
    await manager.cleanup_resources()
