"""What changed between two runs, and nothing else."""

from __future__ import annotations

import json
import time
from typing import Any

from runbooks_lib.archive.run import Run
from runbooks_lib.report import diff as module
from runbooks_lib.typed import plain


def diff(a: Run, b: Run) -> dict[str, Any]:
    told: dict[str, Any] = plain(module.diff(a, b))
    return told


A, B = "20260107T174759Z-aaaaaa", "20260108T174759Z-bbbbbb"
BEFORE = {
    "preflight": {
        "schema": [
            ("has_table", "public.A", "there", "PASS"),
            ("has_table", "public.B", "there", "PASS"),
            ("has_table", "public.C", "there", "PASS"),
        ]
    },
    "backup": {"dump": [("dump_is_complete", "schema_backup_20260107_174801.sql", "1680 bytes", "PASS")]},
}
AFTER = {
    "preflight": {
        "schema": [
            ("has_table", "public.A", "there", "PASS"),
            ("has_table", "public.B", "absent", "FAIL"),
            ("has_table", "public.D", "there", "PASS"),
        ]
    },
    "backup": {"dump": [("dump_is_complete", "schema_backup_20260108_174901.sql", "1680 bytes", "PASS")]},
}


def test_a_run_and_itself_are_the_same(make_run: Any) -> None:
    run = make_run(BEFORE)
    told = diff(run, run)
    assert told["same"] is True
    assert (told["facts"], told["findings"]) == ([], {"changed": [], "new": [], "vanished": []})


def test_findings_changed_new_and_vanished(make_run: Any) -> None:
    told = diff(make_run(BEFORE, id=A), make_run(AFTER, id=B))
    assert told["same"] is False
    about = {"step": "preflight", "question": "schema", "check": "has_table", "target": "leader"}
    want = {"want": "as declared"}
    assert told["findings"] == {
        "changed": [about | {"object": "public.B", "a": {"verdict": "PASS", "have": "there", **want},
                             "b": {"verdict": "FAIL", "have": "absent", **want}}],
        "new": [about | {"object": "public.D", "verdict": "PASS", "have": "there", **want}],
        "vanished": [about | {"object": "public.C", "verdict": "PASS", "have": "there", **want}],
    }  # fmt: skip
    assert told["a"]["id"] == A
    assert told["b"] == {
        "id": B, "phase": "PH15-AMAZON-DB-FOUNDATION-01", "mode": "plan", "verdict": "FAIL",
        "started_at": "2026-01-07T17:47:59.250Z", "folder": told["b"]["folder"],
    }  # fmt: skip
    assert json.loads(json.dumps(told)) == told


def test_the_order_of_findings_and_the_time_in_a_dumps_name_are_no_difference(make_run: Any) -> None:
    turned = {"backup": {"dump": [("dump_is_complete", "schema_backup_20260109_000000.sql", "1680 bytes", "PASS")]},
              "preflight": {"schema": list(reversed(BEFORE["preflight"]["schema"]))}}  # fmt: skip
    assert diff(make_run(BEFORE, id=A), make_run(turned, id=B))["same"] is True


def test_several_findings_about_the_same_are_paired_in_order(make_run: Any) -> None:
    twice = {"preflight": {"schema": [("role_may", "x", "1", "PASS"), ("role_may", "x", "2", "PASS")]}}
    other = {"preflight": {"schema": [("role_may", "x", "1", "PASS"), ("role_may", "x", "3", "PASS")]}}
    (changed,) = diff(make_run(twice, id=A), make_run(other, id=B))["findings"]["changed"]
    assert (changed["a"]["have"], changed["b"]["have"]) == ("2", "3")


def test_the_facts_that_matter(make_run: Any) -> None:
    steps = {
        "preflight": {"targets": [("target_role_is", "x", "primary", "PASS")]},
        "baseline_migration": {"plan": [("object_is_absent_or_equal", "x", "absent", "PASS")]},
        "seed_verification": {"row_counts": [("row_count_is", "x", "2", "PASS")]},
    }

    def facts(hash: str, catalogue: str, backup: str, rows: int, server: str) -> dict[str, Any]:
        return {
            "targets": {"targets": {"leader": {"server_version": server, "system_identifier": "77"}}},
            "plan": {"hash": hash, "confirmation": "db:x",
                     "parts": {"catalogue": catalogue, "services": {}, "backup": {"leader": backup}}},
            "row_counts": {"rows": {"leader": {"public.A": rows, "public.B": 1}}},
        }  # fmt: skip

    other = {"role": "primary", "database": "d"}
    here, there = ([{"name": "leader", "service": name, **other}] for name in ("production", "staging"))
    told = diff(
        make_run(steps, id=A, facts=facts("h1", "c1", "b1", 2, "18.5"), header={"targets": here}),
        make_run(
            steps,
            id=B,
            facts=facts("h2", "c2", "b2", 3, "18.6"),
            header={"mode": "apply", "versions": {"runbooks": "2"}, "targets": there},
        ),
    )
    assert {f["fact"]: (f["a"], f["b"]) for f in told["facts"]} == {
        "mode": ("plan", "apply"),
        "plan's hash": ("h1", "h2"),
        "service of leader": ("production", "staging"),
        "plan: catalogue": ("c1", "c2"),
        "plan: backup of leader": ("b1", "b2"),
        "version of runbooks": ("0.1.0", "2"),
        "version of python": ("3.11.7", None),
        "server's version of leader": ("18.5", "18.6"),
        "rows of leader public.A": (2, 3),
    }


def test_rows_come_from_the_last_look_when_step_5_did_not_count(make_run: Any) -> None:
    steps = {"preflight": {"schema": [("has_table", "x", "there", "PASS")]}}
    facts = [{"schema": {"targets": {"leader": {"tables": {"public.A": {"rows": n}}}}}} for n in (1, 2)]
    told = diff(make_run(steps, id=A, facts=facts[0]), make_run(steps, id=B, facts=facts[1]))
    assert told["facts"] == [{"fact": "rows of leader public.A", "a": 1, "b": 2}]


def test_durations_are_told_and_no_difference(make_run: Any) -> None:
    slow = [{"step": "preflight", "verdict": "PASS", "duration_s": 9.0}]
    run = {"preflight": BEFORE["preflight"]}
    told = diff(make_run(run, id=A), make_run(run, id=B, header={"steps": slow}))
    assert told["same"] is True
    assert told["durations_s"] == [{"step": "preflight", "a": 2.5, "b": 9.0}]


def test_many_findings_take_linear_time(make_run: Any) -> None:
    rows = [("has_table", f"public.t{n}", "there", "PASS") for n in range(5_000)]
    gone = [("has_table", f"public.t{n}", "absent", "FAIL") for n in range(5_000)]
    one = make_run({"preflight": {"schema": rows}}, id=A)
    other = make_run({"preflight": {"schema": gone}}, id=B)
    began = time.process_time()
    assert len(diff(one, other)["findings"]["changed"]) == 5_000
    assert time.process_time() - began < 2
