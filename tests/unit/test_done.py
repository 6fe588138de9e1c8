"""Would a run change its database? Told from its plan and its rehearsal."""

from __future__ import annotations

from typing import Any

import pytest

from runbooks_lib.report.done import lacks

from .test_document import Json, evidence_of, facts, recorded

SAME, RUN, CREATE = "exists, same", "would run", "would create"
WROTE = {"public.t": {"inserted": 1, "updated": 0, "deleted": 0}}


def planned(would: str, rehearsed: Json, **plan: Any) -> bool:
    evidence = evidence_of("planned")
    statement = {"line": 3, "kind": "insert", "object": "public.t", "would": would}
    facts(evidence, "baseline_migration", "plan").update({"statements": [statement], **plan})
    evidence["baseline_migration"]["answers"]["rehearse"]["facts"] = rehearsed
    return lacks(recorded("planned", evidence))


@pytest.mark.parametrize(
    ("would", "rehearsed", "plan", "lacking"),
    [
        (SAME, {}, {}, False),
        (CREATE, {}, {}, True),
        (RUN, {}, {}, False),  # it was rehearsed, and wrote nothing
        (RUN, {"first": WROTE}, {}, True),
        (RUN, {"left": [3]}, {}, True),  # nobody saw that it writes nothing
        (RUN, {"left": [4]}, {}, False),
        (SAME, {"left": [3]}, {}, False),
        (SAME, {}, {"pending": [["table", "public.t"]]}, True),
    ],
)
def test_a_database_lacks_what_a_run_would_write_and_what_nobody_saw(
    would: str, rehearsed: Json, plan: Json, lacking: bool
) -> None:
    assert planned(would, rehearsed, **plan) is lacking


def test_without_a_plan_nothing_is_said() -> None:
    evidence = evidence_of("planned")
    del evidence["baseline_migration"]["answers"]["plan"]
    assert not lacks(recorded("planned", evidence))
