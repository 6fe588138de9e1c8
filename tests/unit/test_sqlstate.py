"""What to do is chosen by SQLSTATE: every code is PostgreSQL's own, and the server's words are never read."""

from __future__ import annotations

import psycopg
import pytest
from psycopg import errors

from runbooks_lib.postgres.session import sqlstate
from runbooks_lib.postgres.session.sqlstate import cancelled_by_replay, what_to_do


def test_every_code_is_one_of_postgresql_and_every_hint_is_a_sentence() -> None:
    for code, hint in sqlstate._BY_CODE.items():
        assert issubclass(errors.lookup(code), psycopg.Error), code
        assert hint[0].isupper(), code
        assert hint.endswith("."), code
    classes = {code[:2] for code in errors._sqlcodes}
    assert set(sqlstate._BY_CLASS) <= classes


@pytest.mark.parametrize(
    ("code", "same_as"),
    [("55P03", "55P03"), ("42P17", "42000"), ("08P01", "08006"), ("23P01", "23000"), ("ZZ001", "QQ999")],
)
def test_a_code_without_a_hint_of_its_own_gets_that_of_its_class(code: str, same_as: str) -> None:
    assert what_to_do(code) == what_to_do(same_as)


def test_codes_that_ask_for_different_things_get_different_hints() -> None:
    hints = [
        what_to_do(code) for code in (None, "28P01", "3D000", "42501", "55P03", "57014", "58P01", "ZZ001")
    ]
    assert len(set(hints)) == len(hints)


@pytest.mark.parametrize(
    ("error", "in_recovery", "told"),
    [
        (errors.SerializationFailure("abgebrochen"), True, True),
        (errors.DeadlockDetected(""), True, True),
        (errors.SerializationFailure(""), False, False),
        (errors.QueryCanceled("canceling statement due to conflict with recovery"), True, False),
        (psycopg.OperationalError("connection to server was lost"), True, False),
    ],
)
def test_replay_is_told_by_the_code_alone(error: psycopg.Error, in_recovery: bool, told: bool) -> None:
    assert cancelled_by_replay(error, in_recovery=in_recovery) is told


def test_hidden_rows_are_shown_by_a_privilege_that_no_grant_gives() -> None:
    assert "BYPASSRLS" in what_to_do("42501")
