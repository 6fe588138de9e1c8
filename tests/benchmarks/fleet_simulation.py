"""A fleet run of any size, simulated: the client's own work, with workers that answer at once; no database is needed.

    python tests/benchmarks/fleet_simulation.py 10000 100

prints what it costs the client: time, memory, the size of the fleet folder. What a run at a database costs is not in
it: that is measured at real ones (`make bench`).
"""

from __future__ import annotations

import json
import resource
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec

from runbooks_lib.archive.run import new_id, now
from runbooks_lib.evidence import Operator, PhaseOfRun
from runbooks_lib.execution.fleet.campaign import Campaign, waves
from runbooks_lib.execution.fleet.crew import Crew
from runbooks_lib.execution.fleet.finish import finish
from runbooks_lib.execution.fleet.folder import FleetFolder
from runbooks_lib.execution.fleet.record import SCHEMA_VERSION, Ended, Fleet, Member, Pace, Place
from runbooks_lib.execution.fleet.runner import with_ends
from runbooks_lib.phase import STEPS
from runbooks_lib.typed import plain, typed

WORKERS = 64
FAILS = 200  # one of so many
DIGEST = "0" * 64


class AtOnce:
    """An executor whose workers answer before they are asked twice."""

    def submit(self, function: Any, order: dict[str, Any]) -> Future[dict[str, Any]]:
        future: Future[dict[str, Any]] = Future()
        future.set_result(answer(order["number"]))
        return future


def answer(number: int) -> dict[str, Any]:
    """Return what a worker says of a run: one of FAILS was stopped."""
    steps = dict.fromkeys(STEPS, "PASS")
    told = {"duration_s": 6.0 + number % 7, "plan_hash": f"{number:064x}", "confirmation": f"db:{number:08x}"}
    told |= {"manifest": f"{number:064x}", "worker": f"host-{number % WORKERS}:4711", "steps": steps}
    if number % FAILS:
        return {"state": "done", "verdict": "PASS", "exit_code": 0, **told}
    stop = {
        "step": "preflight",
        "check": "has_table",
        "object": "public.invoice",
        "have": "absent",
        "hint": "See.",
    }
    steps["preflight"] = "FAIL"
    return {
        "state": "stopped",
        "verdict": "FAIL",
        "exit_code": 1,
        "stops": [stop],
        "reason": "absent",
        **told,
    }


def fleet(databases: int, servers: int) -> Fleet:
    """Return the record of a fleet run in which nothing has begun."""
    members = tuple(
        Member(
            place=Place(
                name=f"server_{number % servers}/tenant_{number}",
                server=f"10.0.0.{number % servers}:5432",
                wave=1 + number % 3,
                labels={"region": f"r{number % 5}", "ring": f"w{number % 3}"},
                services={"leader": f"server_{number % servers}"},
                databases={"leader": f"tenant_{number}"},
            ),
            run=new_id(),
        )
        for number in range(databases)
    )
    return Fleet(
        schema_version=SCHEMA_VERSION,
        id=new_id(),
        phase=PhaseOfRun(id="SIMULATED", title={"en": "Simulated"}, digest=DIGEST),
        mode="plan",
        started_at=now(),
        operator=Operator(user="nobody", host="nowhere"),
        versions={},
        library=DIGEST,
        code=DIGEST,
        file_sha256=DIGEST,
        pace=Pace(per_server=4, max_failures=0),
        members=members,
    )


def simulated(databases: int, servers: int) -> Fleet:
    """Return the record of a simulated fleet run that has ended."""
    before = fleet(databases, servers)
    ends = {
        each.name: typed(answer(number), Ended, Path("simulated"))
        for number, each in enumerate(before.members)
    }
    return with_ends(before, ends, "")


def simulate(databases: int, servers: int, runs: Path) -> tuple[dict[str, float], FleetFolder]:
    """Carry a simulated fleet run out, write and seal it; return what it cost, and its folder."""
    figures: dict[str, float] = {}
    before = fleet(databases, servers)
    numbers = {each.name: number for number, each in enumerate(before.members)}
    with timed(figures, "folder_s"):
        folder = FleetFolder.of(runs, before)
        folder.begin(before)
    crew = Crew(executor=AtOnce(), size=WORKERS, has={})  # type: ignore[arg-type]
    campaign = Campaign(crew=crew, order=lambda each: {"number": numbers[each.name]}, pace=before.pace)
    with timed(figures, "handing_out_s"):
        campaign.carry_out(waves(before.members, before.pace))
    after = with_ends(before, campaign.ended, "")
    with timed(figures, "report_and_seal_s"):
        finish(folder, after)
    with timed(figures, "read_s"):
        folder.read()
    sizes = {path.name: path.stat().st_size for path in folder.path.iterdir()}
    order = {"phase": "/x/SIMULATED", **plain(before.members[0]), "asked": {"services": ["server"] * servers}}
    figures |= {"fleet_json_bytes": sizes["fleet.json"], "page_bytes": sizes["report.html"]}
    figures |= {"folder_bytes": sum(sizes.values()), "order_bytes": len(json.dumps(order))}
    figures |= {"answer_bytes": len(msgspec.json.encode(answer(1)))}
    figures["client_rss_mib"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return figures, folder


@contextmanager
def timed(figures: dict[str, float], name: str) -> Iterator[None]:
    begun = time.perf_counter()
    yield
    figures[name] = round(time.perf_counter() - begun, 3)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as home:
        found, _ = simulate(int(sys.argv[1]), int(sys.argv[2]), Path(home))
    print(json.dumps(found, indent=2))
