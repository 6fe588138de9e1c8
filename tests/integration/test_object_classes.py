"""Every class of object and every change to it alters the fingerprint, is named, and is not called applied without it.

The rows stand in `object_classes.py`, which prints `docs/object-classes.md` when it is run.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psycopg
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runbooks_lib.postgres.catalog.catalog import Catalog, read_catalog
from runbooks_lib.postgres.catalog.definitions import FIELDS_NOT_DUMPED, LEFT_OUT, NOT_DUMPED
from runbooks_lib.postgres.catalog.differences import describe, differences, in_words
from runbooks_lib.postgres.scratch.scratch import scratch
from runbooks_lib.postgres.session.connect import Connection
from runbooks_lib.prisma.parts import parts_of

from .object_classes import CHANGES, MAKE, ROLES, SUBSCRIPTION, Change, page
from .oracle import Oracle, programs_of

SECRET = "hunter2-never-read"
MAJORS = (15, 18)


@dataclass(frozen=True, slots=True)
class Classes:
    """A database with one object of every class, in a server of one version."""

    conn: Connection
    major: int
    before: Catalog


@pytest.fixture(scope="module", params=MAJORS, ids=lambda major: f"PostgreSQL {major}")
def classes(request: pytest.FixtureRequest) -> Iterator[Classes]:
    with scratch(programs_of(request.param)) as server:
        server.create_database("classes", roles=ROLES)
        with server.connect("classes") as conn:
            conn.execute("SET client_min_messages = error")
            conn.execute(MAKE.encode())
            conn.execute(SUBSCRIPTION.encode())
            yield Classes(conn, request.param, read_catalog(conn))


@pytest.fixture(scope="module")
def oracle() -> Iterator[Oracle]:
    with scratch() as server:
        yield Oracle(server, MAKE, SUBSCRIPTION, ROLES)


def title(change: Change) -> str:
    return f"{change.object}: {change.change}"


@pytest.mark.parametrize("change", CHANGES, ids=title)
def test_a_change_is_seen_named_and_never_called_applied_without_it(classes: Classes, change: Change) -> None:
    if classes.major < change.since:
        pytest.skip(f"since PostgreSQL {change.since}")
    with classes.conn.transaction(force_rollback=True):
        classes.conn.execute(change.sql.encode())
        after = read_catalog(classes.conn)
    assert after.fingerprint() != classes.before.fingerprint()
    found = differences(after, classes.before)
    assert change.kind in {difference.key[0] for difference in found}, found
    assert all(": " in line and SECRET not in line for line in map(in_words, found))
    same_dump = after.dumped().fingerprint() == classes.before.dumped().fingerprint()
    assert same_dump is not change.dumped
    made, unmade = (
        parts_of({key: side for key, *sides in found if (side := sides[number]) is not None}, server_major=18)
        for number in (0, 1)
    )
    assert made != unmade, "a migration that makes it is not applied without it"


def test_nothing_is_different_when_nothing_was_changed(classes: Classes) -> None:
    again = read_catalog(classes.conn)
    assert again == classes.before
    assert again.fingerprint() == classes.before.fingerprint()
    assert again.dumped().fingerprint() != again.fingerprint(), "there is more than a dump carries"


def test_no_secret_is_read(classes: Classes) -> None:
    assert SECRET not in repr(describe(classes.before))
    statement = "ALTER SERVER elsewhere OPTIONS (ADD aws_secret_access_key 'hunter2-never-read')"
    with classes.conn.transaction(force_rollback=True):
        classes.conn.execute(statement)
        said = repr(describe(read_catalog(classes.conn)))
    assert "(masked)" in said
    assert SECRET not in said


def test_an_ordinary_role_reads_the_same(classes: Classes) -> None:
    with classes.conn.transaction(force_rollback=True):
        classes.conn.execute("SET LOCAL ROLE reader")
        assert read_catalog(classes.conn) == classes.before


@settings(max_examples=5, deadline=None, database=None)
@given(changes=st.lists(st.sampled_from(CHANGES), min_size=1, max_size=5))
def test_pg_dump_differs_exactly_when_the_fingerprint_does(oracle: Oracle, changes: list[Change]) -> None:
    """More of them, and each change by itself, are in tests/projects."""
    dumps_differ, fingerprints_differ = oracle.differ([c.sql for c in changes if oracle.major >= c.since])
    assert dumps_differ is fingerprints_differ


def test_the_page_is_that_of_the_rows() -> None:
    shown = Path(__file__).parents[2] / "docs" / "object-classes.md"
    assert shown.read_text(encoding="utf-8") == page(LEFT_OUT, NOT_DUMPED, FIELDS_NOT_DUMPED)


def test_a_broken_query_is_an_error(classes: Classes) -> None:
    with classes.conn.transaction(force_rollback=True):
        with pytest.raises(psycopg.errors.UndefinedTable):
            classes.conn.execute("SELECT FROM nothing")
        with pytest.raises(psycopg.errors.InFailedSqlTransaction):
            read_catalog(classes.conn)
