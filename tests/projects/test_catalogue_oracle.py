"""pg_dump is the oracle: two schemas dump alike exactly when their fingerprints are equal.

Each change of the table by itself on a copy of its own, of which CI takes some, and random ones together.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from runbooks_lib.postgres.scratch.scratch import scratch

from ..integration.object_classes import CHANGES, MAKE, ROLES, SUBSCRIPTION, Change
from ..integration.oracle import Oracle, programs_of


@pytest.fixture(scope="module", params=(15, 18), ids=lambda major: f"PostgreSQL {major}")
def oracle(request: pytest.FixtureRequest) -> Iterator[Oracle]:
    with scratch(programs_of(request.param)) as server:
        yield Oracle(server, MAKE, SUBSCRIPTION, ROLES)


@pytest.mark.family(100)
@pytest.mark.parametrize("change", CHANGES, ids=lambda change: f"{change.object}: {change.change}")
def test_a_change_differs_in_the_dump_as_it_does_in_the_fingerprint(oracle: Oracle, change: Change) -> None:
    if oracle.major < change.since:
        pytest.skip(f"since PostgreSQL {change.since}")
    dumps_differ, fingerprints_differ = oracle.differ([change.sql])
    assert dumps_differ is change.dumped
    assert fingerprints_differ is change.dumped


@settings(
    max_examples=60, deadline=None, database=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(changes=st.lists(st.sampled_from(CHANGES), min_size=1, max_size=6))
def test_random_changes(oracle: Oracle, changes: list[Change]) -> None:
    dumps_differ, fingerprints_differ = oracle.differ([c.sql for c in changes if oracle.major >= c.since])
    assert dumps_differ is fingerprints_differ
