"""Who carries a fleet run out: processes of this machine, or the workers of a dask cluster; both are executors."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

from runbooks_lib.archive.masking.mask import redact
from runbooks_lib.errors import PreconditionFailed
from runbooks_lib.execution.fleet.carriers import ask, end_carriers
from runbooks_lib.execution.fleet.hello import differences, look
from runbooks_lib.package import how_to_add

CONNECT_S = 30
LOOK_S = 120


@dataclass(frozen=True, slots=True, kw_only=True)
class Crew:
    """Workers behind an executor, how many, and what they have in common.

    `gone` says why no worker can be reached any more, and is empty while one can. `leave` interrupts what they do.
    """

    executor: Executor
    size: int
    has: Mapping[str, Any]
    dashboard: str = ""
    gone: Callable[[], str] = lambda: ""
    leave: Callable[[], None] = lambda: None


@contextmanager
def crew(asked: Mapping[str, Any], *, workers: int | None, scheduler: str) -> Iterator[Crew]:
    """Open the workers: so many processes here (default: one a processor), or those of the cluster at `scheduler`.

    `asked` is what `hello.look` is asked of each of them. What they have must be what this process has.
    Raises PreconditionFailed when one of them differs, naming it; when there is none, or the cluster does not answer.
    """
    ours = look(asked)
    if "refused" in ours:
        raise PreconditionFailed(ours["refused"], "Mend it here first; each worker needs the same.")
    with (
        _cluster(scheduler, asked, ours)
        if scheduler
        else _local(workers or os.cpu_count() or 1, ours) as found
    ):
        yield found


@contextmanager
def _local(workers: int, ours: Mapping[str, Any]) -> Iterator[Crew]:
    executor = ThreadPoolExecutor(workers, thread_name_prefix="fleet")
    try:
        yield Crew(executor=executor, size=workers, has=ours, leave=end_carriers)
    finally:
        end_carriers()
        executor.shutdown(wait=True, cancel_futures=True)


@contextmanager
def _cluster(address: str, asked: Mapping[str, Any], ours: Mapping[str, Any]) -> Iterator[Crew]:
    try:
        from distributed import Client
    except ImportError as error:
        raise PreconditionFailed("dask.distributed is not installed.", how_to_add("fleet")) from error
    try:
        client = Client(address, timeout=CONNECT_S, set_as_default=False)
    except (OSError, ValueError, RuntimeError, TypeError) as error:
        raise PreconditionFailed(
            f"The scheduler at {address} does not answer: {redact(str(error))}.",
            "Start it: dask scheduler. For tls:// dask's own configuration names the certificates.",
        ) from error
    try:
        size = _require_alike(client, asked, ours)
        yield Crew(
            executor=client.get_executor(pure=False, retries=0),
            size=size,
            has=ours,
            dashboard=str(client.dashboard_link or ""),
            gone=lambda: (
                "" if client.status in ("running", "connecting") else f"the scheduler at {address} is gone"
            ),
        )
    finally:
        client.close(timeout=5)


def _require_alike(client: Any, asked: Mapping[str, Any], ours: Mapping[str, Any]) -> int:
    """Compare what each worker has with what this process has; return how many orders they take at the same time."""
    with suppress(TimeoutError):
        client.wait_for_workers(1, timeout=CONNECT_S)
    threads: dict[str, int] = client.nthreads()
    if not threads:
        raise PreconditionFailed("The cluster has no worker.", "Start one: dask worker ADDRESS --nthreads 1.")
    order = {"do": "look", **asked}
    asked_of = {
        a: client.submit(ask, order, workers=[a], allow_other_workers=False, pure=False) for a in threads
    }
    differ: list[str] = []
    for address, future in asked_of.items():
        try:
            theirs = future.result(timeout=LOOK_S)
        except Exception as error:  # noqa: BLE001 -- a worker without this package, say: whatever it is, it is named
            theirs = {"refused": redact(f"{type(error).__name__}: {error}")}
        differ += [f"{address}: {why}" for why in differences(ours, theirs)]
    if differ:
        raise PreconditionFailed(
            f"Workers differ from this process; nothing was begun. {'; '.join(differ[:20])}.",
            "Each needs the same runbooks-lib, phase, Prisma project, service file and archive folder.",
        )
    return sum(threads.values())
