"""Tables of hundreds of migrations: those of which there is nothing to say are one line."""

from __future__ import annotations

from runbooks_lib.findings import MANY
from runbooks_lib.steps.folded_rows import folded


def rows(count: int, **said: str) -> list[dict[str, str]]:
    return [
        {"migration": f"{n:03}_m", "recorded": "applied", "checksum": str(n), **said} for n in range(count)
    ]


def test_many_that_are_plain_are_one_line_and_the_others_stay_in_their_order() -> None:
    failed, absent = rows(1, recorded="failed"), rows(MANY + 1, recorded="no")
    found = folded([*failed, *rows(MANY + 1), *absent], column="migration", by="recorded")
    line = {"migration": f"{MANY + 1}: 000_m … {MANY:03}_m", "recorded": "applied", "checksum": ""}
    assert found == (*failed, line, line | {"recorded": "no"})


def test_few_have_a_line_each() -> None:
    found = folded(rows(MANY), column="migration", by="recorded")
    assert found == tuple(rows(MANY))
    assert folded([], column="migration", by="recorded") == ()
