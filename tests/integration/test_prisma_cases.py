"""Every state in which Prisma finds a database, with the real command line: Prisma's words, and our verdict beside.

The table is what `prisma migrate` says of each; ours must never be a PASS where the state is bad, above all where
Prisma ends with exit code 0.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
import pytest

from runbooks_lib.findings import CLOSING, Verdict
from runbooks_lib.prisma.command import CliResult, Prisma
from runbooks_lib.prisma.project import NEWEST

from .conftest import PHASE, Place

FIRST = "20251210093000_init_amazon_inbound"
NAME = PHASE.prisma.settle[0]
ELSEWHERE = "20260101000000_elsewhere"
UP_TO_DATE = "Database schema is up to date!"


class Remembering(Prisma):
    """Prisma whose status is the one that it was given: the state is the same, and each call costs a second."""

    remembered: CliResult

    def status(self, *, state: str = "") -> CliResult:
        del state
        return self.remembered


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """A state, what Prisma does in it, and where and by which checks our notebook stops (nowhere: None)."""

    state: Callable[[Place], None]
    does: Callable[[Prisma], CliResult] = Prisma.status
    exit_code: int = 1
    code: str | None = None
    words: str = ""
    stops_at: str | None = "history"
    checks: tuple[tuple[str, str], ...] = ()  # check, verdict
    have: str = ""
    major: int = NEWEST


def leads_wrong(place: Place, **changes: Any) -> None:
    """Let the place's service be the leader's with something wrong, for us and for Prisma."""
    with psycopg.connect("service=keybuzz_leader") as conn:
        given = {"host": conn.info.host, "port": conn.info.port, "user": conn.info.user, **changes}
    lines = "\n".join(f"{key}={value}" for key, value in given.items())
    path = place.project / "services.conf"
    path.write_text(Path(os.environ["PGSERVICEFILE"]).read_text() + f"\n[wrong]\n{lines}\n")
    os.environ["PGSERVICEFILE"] = str(path)  # the fixture's monkeypatch puts it back
    place.service, place.wrong = "wrong", changes


def unreachable(place: Place) -> None:
    leads_wrong(place, port=1)


def wrong_password(place: Place) -> None:
    leads_wrong(place, password="wrong-password")


def missing_database(place: Place) -> None:
    place.database = "nowhere"


def no_table(place: Place) -> None:
    place.execute("DROP TABLE _prisma_migrations")


def no_table_no_migrations(place: Place) -> None:
    no_table(place)
    for script in place.migrations.glob("*/migration.sql"):
        script.unlink()
        script.parent.rmdir()


def extra_and_pending(place: Place) -> None:
    place.record(ELSEWHERE)


def extra_only(place: Place) -> None:
    place.record(NAME)
    place.record(ELSEWHERE)


def edited(place: Place) -> None:
    place.record(NAME)
    with (place.migrations / NAME / "migration.sql").open("a") as script:
        script.write("-- edited\n")


def another_has_failed(place: Place) -> None:
    """And none is pending: else Prisma speaks of the pending one only."""
    place.execute("UPDATE _prisma_migrations SET finished_at = NULL")
    place.record(NAME)


def already_applied(place: Place) -> None:
    place.record(NAME)


def applied_from_another_file(place: Place) -> None:
    place.record(NAME, checksum="b" * 64)


def unknown_name(place: Place) -> None:
    place.migration = "20260101000000_not_there"


def as_the_lab(place: Place) -> None:
    del place


def rolled_back(place: Place) -> None:
    """Rolled back as it should be: the row by Prisma, its table by hand."""
    place.record(NAME, finished=False)
    prisma = place.prisma()
    assert prisma.rolled_back_is_pending is (prisma.project.version >= (7, 9))
    assert prisma.resolve(rolled_back=[NAME]).failed is None
    place.execute('DROP TABLE "OAuthState"')


def another_provider(place: Place) -> None:
    (place.migrations / "migration_lock.toml").write_text('provider = "mysql"\n')


def lost_script(place: Place) -> None:
    (place.migrations / FIRST / "migration.sql").unlink()


def resolve(prisma: Prisma) -> CliResult:
    return prisma.resolve(applied=[NAME]).said[0]


def resolve_unknown(prisma: Prisma) -> CliResult:
    return prisma.resolve(applied=["20260101000000_not_there"]).said[0]


def take_back(prisma: Prisma) -> CliResult:
    return prisma.resolve(rolled_back=[NAME]).said[0]


NOT_REACHED = (("history_is_clean", "ERROR"),)
CASES = {
    "unreachable": Case(state=unreachable, code="P1001", checks=NOT_REACHED, have="does not answer"),
    "missing database": Case(
        state=missing_database, code="P1003", checks=NOT_REACHED, have='database "nowhere" does not exist'
    ),
    "wrong password": Case(
        state=wrong_password, code="P1000", checks=NOT_REACHED, have="password authentication failed"
    ),
    "no table, migrations on disk": Case(
        state=no_table,
        words="have not yet been applied",
        stops_at=None,  # what stands is recorded, and Prisma makes its table
    ),
    "no table, no migrations": Case(
        state=no_table_no_migrations,
        words="not managed by Prisma Migrate",
        checks=(("has_table", "FAIL"), ("migration_is_in_folder", "FAIL")),
    ),
    "extra in the database, one pending": Case(
        state=extra_and_pending,
        words="last common migration is: " + FIRST,
        checks=(("no_migration_is_extra", "FAIL"),),
        have=ELSEWHERE,
    ),
    "extra in the database, none pending": Case(
        state=extra_only,
        exit_code=0,
        words=UP_TO_DATE,
        checks=(("no_migration_is_extra", "FAIL"),),
        have=ELSEWHERE,
    ),
    "edited": Case(
        state=edited, exit_code=0, words=UP_TO_DATE, checks=(("no_migration_is_edited", "FAIL"),), have=NAME
    ),
    "failed": Case(
        state=another_has_failed,
        words="have failed",
        checks=(("no_migration_has_failed", "FAIL"),),
        have=FIRST,
    ),
    "already applied": Case(state=already_applied, does=resolve, code="P3008", stops_at=None),
    "already applied, from another file": Case(
        state=applied_from_another_file,
        does=resolve,
        code="P3008",
        checks=(("no_migration_is_edited", "FAIL"),),
        have=NAME,
    ),
    "unknown name": Case(
        state=unknown_name,
        does=resolve_unknown,
        code="P3017",
        checks=(("migration_is_in_folder", "FAIL"),),
    ),
    "rolled back, engine before 7.9": Case(
        state=rolled_back,
        exit_code=0,
        words=UP_TO_DATE,
        stops_at=None,  # it is deployed
        major=6,
    ),
    "rolled back": Case(
        state=rolled_back,
        words="have not yet been applied",
        stops_at=None,
    ),
    "to be rolled back, never applied": Case(state=as_the_lab, does=take_back, code="P3011", stops_at=None),
    "to be rolled back, not failed": Case(state=already_applied, does=take_back, code="P3012", stops_at=None),
    "another lock provider": Case(
        state=another_provider,
        code="P3019",
        stops_at="status",
        checks=(("prisma_answers", "ERROR"),),
        have="exit code 1, P3019",
    ),
    "lost migration.sql": Case(
        state=lost_script, code="P3015", checks=(("no_migration_is_lost", "FAIL"),), have=FIRST
    ),
}


@pytest.mark.family(6)
@pytest.mark.parametrize(("name", "major"), [(name, case.major) for name, case in CASES.items()], ids=CASES)
def test_prismas_words_and_our_verdict(name: str, place: Place) -> None:
    case = CASES[name]
    case.state(place)
    prisma = Remembering(place.project, place.url())
    prisma.remembered = said = Prisma.status(prisma)
    if case.does is not Prisma.status:
        said = case.does(prisma)
    assert (said.exit_code, said.code) == (case.exit_code, case.code), said.output
    assert case.words in said.output

    question, answer = place.notebook(prisma)
    closing = {(f.check, f.verdict.value) for f in answer.findings if f.verdict in CLOSING}
    assert (question if closing else None) == case.stops_at
    assert closing == set(case.checks)
    assert any(case.have in f.have for f in answer.findings if f.verdict in CLOSING or not closing)
    if case.stops_at is None:
        planned = case.state in (as_the_lab, no_table, rolled_back)
        assert answer.verdict is (Verdict.SKIP if planned else Verdict.PASS)
