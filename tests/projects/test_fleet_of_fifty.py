"""Databases on two servers, by local processes and on a dask cluster of worker processes: the same fleet report.

Two of them in every run of the tests; fifty where RUNBOOKS_TEST_PROJECTS is set: `make projects`.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

import pytest

from runbooks_lib.execution.fleet.verify import verify_fleet
from runbooks_lib.lab.lab import running

from ..fleets import Tenants, cluster, folder_of, tenants

thorough = pytest.mark.skipif(
    not os.environ.get("RUNBOOKS_TEST_PROJECTS"),
    reason="takes minutes: RUNBOOKS_TEST_PROJECTS=1, or make projects",
)


@pytest.mark.timeout(3600)
@pytest.mark.parametrize("databases", [2, pytest.param(50, marks=thorough)])
def test_local_processes_and_a_cluster_end_the_same(tmp_path: Path, databases: int) -> None:
    """Planned and applied twice; between that the tables are taken away again."""
    with running() as lab, running() as second:
        made = tenants(lab, tmp_path, databases, second)
        made.fleet_file('[[patterns]]\nservices = "tenant_*"\n[limits]\nper_server = 2\n')
        here = carried_out(made, "--workers", "2")
        with cluster(made.env, workers=2) as found:
            there = carried_out(made, "--scheduler", found.address)
        assert here == there


def carried_out(made: Tenants, *options: str) -> list[Any]:
    """Plan and apply at all databases, take the tables away again; return what stands in both fleet reports."""
    found: list[Any] = []
    plan = made.plan(*options)
    done = made.apply(plan, *options, "--canary", "1", "--wave", "20")
    for told in (plan, done):
        assert {each["ended"]["state"] for each in told["members"]} == {"done"}
        assert len({each["place"]["server"] for each in told["members"]}) == len(made.labs)
        assert verify_fleet(folder_of(told)).problems == ()
        found += [
            (each["place"], each["ended"]["steps"], each["ended"]["verdict"]) for each in told["members"]
        ]
        found += [without_moments(folder_of(told).path / f"report.{lang}.md") for lang in ("en", "fr")]
    assert all(map(made.has_table, made.names))
    for name in made.names:
        made.ask(name, "DROP TABLE public.invoice")
    return found


def without_moments(report: Path) -> str:
    return re.sub(r"\d{8}T\d{6}Z-[0-9a-f]{6}|\b\d+\.\d\b|TENANTS:[0-9a-f]{8}", "…", report.read_text())
