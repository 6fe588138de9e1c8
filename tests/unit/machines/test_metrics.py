"""metrics.prom, read by Prometheus' own parsers."""

from __future__ import annotations

import re
from typing import Any

import pytest
from prometheus_client.openmetrics import parser as openmetrics
from prometheus_client.parser import text_string_to_metric_families

from runbooks_lib.archive.run import Run
from runbooks_lib.execution.finish import write_exports
from runbooks_lib.report.metrics import HELP

PHASE = "PH15-AMAZON-DB-FOUNDATION-01"
STEPS = {
    "preflight": {"schema": [("has_table", "a", "there", "PASS"), ("has_table", "b", "absent", "FAIL")],
                  "replication": [("standby_lag_is_at_most", "replica", "4096", "PASS")]},
    "api_routes": {"routes": [("route_is_served", "x", "404", "OPEN")]},
}  # fmt: skip
LAG = {"replication": {"lag": {"replica": {"lag_bytes": 4096}}}}


def text_of(run: Run) -> str:
    write_exports(run)
    return (run.path / "metrics.prom").read_text(encoding="utf-8")


def samples(run: Run) -> dict[str, dict[tuple[tuple[str, str], ...], float]]:
    """{name: {labels but phase and mode: value}}"""
    found: dict[str, dict[tuple[tuple[str, str], ...], float]] = {}
    for family in openmetrics.text_string_to_metric_families(text_of(run)):
        assert (family.type, family.documentation) == ("gauge", HELP[family.name])
        for sample in family.samples:
            assert sample.timestamp is None
            assert (sample.labels.pop("phase"), sample.labels.pop("mode")) == (PHASE, "plan")
            found.setdefault(sample.name, {})[tuple(sorted(sample.labels.items()))] = sample.value
    return found


def test_a_run_in_numbers(make_run: Any) -> None:
    found = samples(make_run(STEPS, facts=LAG, header={"verdict": "FAIL"}))
    assert set(found) == set(HELP)
    (info,) = found["runbooks_run_info"]
    assert dict(info) == {
        "run": "20260107T174759Z-3f9c2a", "phase_digest": "d" * 64,
        "user": "anne", "host": "bastion", "version": "0.1.0",
    }  # fmt: skip
    assert {dict(labels)["verdict"] for labels, value in found["runbooks_run_verdict"].items() if value} == {
        "FAIL"
    }
    assert len(found["runbooks_run_verdict"]) == 5
    assert found["runbooks_run_complete"] == {(): 1}
    assert found["runbooks_run_start_timestamp_seconds"] == {(): 1767808079.25}
    assert found["runbooks_run_end_timestamp_seconds"] == {(): 1767808089.25}
    assert found["runbooks_step_duration_seconds"] == {
        (("step", "preflight"),): 2.5,
        (("step", "api_routes"),): 2.5,
    }
    counted = found["runbooks_findings"]
    assert counted[("step", "preflight"), ("verdict", "PASS")] == 2
    assert counted[("step", "preflight"), ("verdict", "FAIL")] == 1
    assert counted[("step", "preflight"), ("verdict", "ERROR")] == 0
    assert counted[("step", "api_routes"), ("verdict", "OPEN")] == 1
    assert found["runbooks_standby_lag_bytes"] == {(("standby", "replica"), ("step", "preflight")): 4096}
    assert found["runbooks_step_verdict"][("step", "api_routes"), ("verdict", "OPEN")] == 1


def test_a_stopped_run_ends_when_it_was_stopped(make_run: Any) -> None:
    stopped = {"finished_at": None, "stopped_at": "2026-01-07T17:48:00.000Z"}
    found = samples(make_run(STEPS, header=stopped))
    assert found["runbooks_run_complete"] == {(): 0}
    assert found["runbooks_run_end_timestamp_seconds"] == {(): 1767808080}


def test_a_step_that_was_kept_took_what_it_took(make_run: Any) -> None:
    """In a run that was taken up the runner measures nothing of it; its own record did."""
    kept = [{"step": "preflight", "verdict": "FAIL", "duration_s": 0.0, "kept": "it still stands"}]
    found = samples(make_run(STEPS, header={"steps": kept}))
    assert found["runbooks_step_duration_seconds"] == {
        (("step", "preflight"),): 1,
        (("step", "api_routes"),): 1,
    }


def test_a_run_that_has_no_end_and_no_steps(make_run: Any) -> None:
    found = samples(make_run({}, header={"finished_at": None, "verdict": None}))
    assert "runbooks_run_end_timestamp_seconds" not in found
    assert found["runbooks_run_verdict"][(("verdict", "ERROR"),)] == 1


@pytest.mark.parametrize("host", ['a"b', "a\\b", "a\nb", "a\\nb", 'é{}=,"\\', ""])
def test_labels_are_escaped(make_run: Any, host: str) -> None:
    found = samples(make_run(STEPS, header={"operator": {"user": "anne", "host": host}}))
    assert dict(*found["runbooks_run_info"])["host"] == host


def test_node_exporter_takes_it_too(make_run: Any) -> None:
    """Its textfile collector reads the older text format, without time stamps."""
    text = text_of(make_run(STEPS, facts=LAG))
    families = list(text_string_to_metric_families(text))
    assert {f.name for f in families} == set(HELP)
    assert {f.type for f in families} == {"gauge"}
    assert text.endswith("\n# EOF\n")
    lines = text.splitlines()
    assert all(re.fullmatch(r"# (HELP|TYPE) .*|# EOF|\w+\{.*\} -?[\d.e+-]+", line) for line in lines)
    assert len(set(lines)) == len(lines)
