"""A process that carries orders out, one after the other, and keeps its kernels warm between them.

It reads an order a line on stdin, as JSON, and answers with a line on stdout. When its stdin ends, whoever started it
is gone: what is being carried out is interrupted, sealed as such, and the process ends.
"""

from __future__ import annotations

import json
import os
import queue
import signal
import sys
import threading
from typing import Any

from runbooks_lib.execution.kernels.warm import warm_kernels
from runbooks_lib.postgres.catalog.finder import ONE_OF_A_FLEET

IDLE_S = 120.0  # without an order, and it ends: a cluster's worker does not keep it for ever
GRACE_S = 60.0  # for an interrupted run to be sealed


def main() -> None:
    """Carry orders out until there are none any more."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # nothing else is an answer
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    orders: queue.Queue[str | None] = queue.Queue()
    busy = threading.Event()
    os.environ[ONE_OF_A_FLEET] = "1"
    threading.Thread(target=_read, args=(orders, busy), daemon=True).start()
    with warm_kernels():
        from runbooks_lib.execution.fleet.hello import look
        from runbooks_lib.execution.fleet.task import carry_out

        does = {"carry_out": carry_out, "look": look}
        while True:
            try:
                line = orders.get(timeout=IDLE_S)
            except queue.Empty:
                return
            if line is None:
                return
            order: dict[str, Any] = json.loads(line)
            try:
                answer = does[order.pop("do")](order)
            finally:
                busy.clear()
            print(json.dumps(answer), file=answers, flush=True)


def _read(orders: queue.Queue[str | None], busy: threading.Event) -> None:
    for line in sys.stdin:
        busy.set()
        orders.put(line)
    orders.put(None)
    if busy.is_set():
        os.kill(os.getpid(), signal.SIGTERM)
        threading.Event().wait(GRACE_S)
        os._exit(1)


if __name__ == "__main__":
    try:
        main()
    except (KeyboardInterrupt, BrokenPipeError):
        os._exit(130)
