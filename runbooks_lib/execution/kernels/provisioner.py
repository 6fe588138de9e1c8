"""What Jupyter sees of a kernel: where it comes from, and when it is ready or gone, without waiting in fixed steps."""

from __future__ import annotations

import asyncio
import logging
import os
import select
import signal
import subprocess
import sys
import time
import uuid
from pathlib import Path
from queue import Empty
from typing import Any

from jupyter_client.asynchronous.client import AsyncKernelClient
from jupyter_client.kernelspec import KernelSpecManager
from jupyter_client.manager import AsyncKernelManager
from jupyter_client.provisioning.local_provisioner import LocalProvisioner

from runbooks_lib.execution.kernels.warm import Forked, NotForked, current
from runbooks_lib.package import own_ipython, own_python

logger = logging.getLogger("papermill")

SOCKET_PATH_BYTES = 80  # a socket's path may have 104 bytes on macOS, 108 on Linux
LAUNCHER = ["-m", "ipykernel_launcher"]
SAID = "said"  # beside a kernel's sockets: what it prints that no cell does
POLL_S = 0.005


class ForkedProcess:
    """A kernel that is another process's child, with the part of Popen's face that Jupyter looks at."""

    stdin = stdout = stderr = None

    def __init__(self, forked: Forked) -> None:
        self.pid = forked.pid
        self.pidfd = forked.pidfd
        self.returncode: int | None = None

    def poll(self) -> int | None:
        """Return None while the process runs, then 0: its real code is known to its parent alone."""
        if self.returncode is None and select.select([self.pidfd], [], [], 0)[0]:
            os.close(self.pidfd)
            self.returncode = 0
        return self.returncode

    def wait(self) -> int:
        """Wait for the end of the process."""
        if self.returncode is None:
            select.select([self.pidfd], [], [])
        return self.poll() or 0

    def send_signal(self, number: int) -> None:
        """Send a signal to this process and no other, if it still runs."""
        if self.poll() is None:
            signal.pidfd_send_signal(self.pidfd, number)

    def kill(self) -> None:
        """Kill the process."""
        self.send_signal(signal.SIGKILL)

    def terminate(self) -> None:
        """Ask the process to end."""
        self.send_signal(signal.SIGTERM)


class WarmProvisioner(LocalProvisioner):  # type: ignore[misc]
    """Forks a kernel from the preloaded process where there is one, and starts an ordinary one where not."""

    async def launch_kernel(self, cmd: list[str], **kwargs: Any) -> Any:
        """Return the connection of a kernel that was started; a forked one already listens.

        It is a Python of our own: with IPython's folder beside its sockets, and what is installed as its modules.
        """
        folder = Path(self.parent.connection_file).parent
        kwargs["env"] = {**own_python(kwargs["env"]), "IPYTHONDIR": own_ipython(folder / "ipython")}
        forker = current()
        if forker is not None and cmd[:3] == [sys.executable, *LAUNCHER]:
            cwd = kwargs.get("cwd") or os.getcwd()
            try:
                await self._fork(forker.fork(cmd[3:], env=kwargs["env"], cwd=cwd))
            except NotForked as refusal:
                logger.debug("An ordinary kernel is started: %s", refusal)
            else:
                return self.connection_info
        # What cells print comes as messages; the rest is what a kernel says that was stopped, or does not start.
        with open(folder / SAID, "wb") as said:
            return await super().launch_kernel(cmd, stdout=said, stderr=subprocess.STDOUT, **kwargs)

    async def _fork(self, forked: Forked) -> None:
        self.process = ForkedProcess(forked)
        self.pid = self.pgid = forked.pid
        try:
            await _readable(forked.ready)
        finally:
            os.close(forked.ready)

    async def wait(self) -> Any:
        """Wait for the end of the kernel."""
        while self.process is not None and self.process.poll() is None:
            if isinstance(self.process, ForkedProcess):
                await _readable(self.process.pidfd)
            else:
                await asyncio.sleep(POLL_S)
        return await super().wait()


class QuickClient(AsyncKernelClient):  # type: ignore[misc]
    """A client that begins as soon as the kernel answers."""

    async def _async_wait_for_ready(self, timeout: float | None = None) -> None:
        """Wait until the kernel answers on both channels.

        Jupyter's own waits 200 ms more, to drop messages that nbclient knows to be of no cell of its own.
        Raises RuntimeError when the kernel dies or stays silent.
        """
        end = time.monotonic() + (timeout or float("inf"))
        while time.monotonic() < end:
            self.kernel_info()
            try:
                message = await self.shell_channel.get_msg(timeout=1)
                await self.iopub_channel.get_msg(timeout=0.2)
            except Empty:
                if not await self._async_is_alive():
                    raise RuntimeError("Kernel died before replying to kernel_info") from None
                continue
            self._handle_kernel_info_reply(message)
            return
        raise RuntimeError(f"Kernel did not respond in {timeout:g} seconds")

    wait_for_ready = _async_wait_for_ready


class QuickManager(AsyncKernelManager):  # type: ignore[misc]
    """Manages one kernel of this very Python, whatever kernels a user has installed elsewhere."""

    async def _async_wait(self, pollinterval: float = POLL_S) -> None:
        if self.provisioner is not None:
            await self.provisioner.wait()


def kernel_manager(kernel_name: str, sockets: Path) -> QuickManager:
    """Return a manager for a kernel that is reached over Unix sockets in a private folder."""
    own = Path(sys.prefix, "share", "jupyter", "kernels")
    specs = KernelSpecManager(kernel_dirs=[str(own)])
    manager = QuickManager(kernel_name=kernel_name, kernel_spec_manager=specs)
    manager.client_factory = QuickClient
    if os.name == "posix" and len(bytes(sockets)) < SOCKET_PATH_BYTES:
        manager.transport = "ipc"
        manager.connection_file = str(sockets / "kernel.json")
        manager.kernel_id = str(uuid.uuid4())
        manager.provisioner = WarmProvisioner(
            kernel_id=manager.kernel_id, kernel_spec=manager.kernel_spec, parent=manager
        )
    return manager


async def _readable(descriptor: int) -> None:
    """Wait until a descriptor can be read."""
    loop = asyncio.get_running_loop()
    ready = asyncio.Event()
    loop.add_reader(descriptor, ready.set)
    try:
        await ready.wait()
    finally:
        loop.remove_reader(descriptor)
