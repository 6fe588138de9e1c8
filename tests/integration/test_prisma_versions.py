"""The same notebook with Prisma 6 and with Prisma 7, whose engine takes a rolled-back migration as pending."""

from __future__ import annotations

from runbooks_lib.findings import Verdict

from .conftest import BOTH, PHASE, Place

NAME = PHASE.prisma.settle[0]
FIRST = "20251210093000_init_amazon_inbound"
VERSIONS = {6: "6.19.3", 7: "7.10.0"}
UP_TO_DATE = "Database schema is up to date!"

pytestmark = BOTH


def test_green_by_prisma_and_red_by_us_naming_the_table(place: Place, major: int) -> None:
    place.record(NAME)
    place.execute("DROP TABLE inbound_addresses")
    prisma = place.prisma()
    assert prisma.version() == VERSIONS[major]
    said = prisma.status()
    assert (said.exit_code, UP_TO_DATE in said.output) == (0, True), said.output
    question, answer = place.notebook(prisma)
    assert question == "live_schema"
    missing = [f.object for f in answer.findings if f.verdict is Verdict.FAIL]
    assert "relation public.inbound_addresses" in missing


def test_recorded_by_prisma_and_confirmed(place: Place) -> None:
    prisma = place.prisma()
    question, answer = place.notebook(prisma, apply=True)
    assert (question, answer.verdict) == ("confirm", Verdict.PASS), answer
    assert place.rows(NAME) == [(True, False)]
    assert len(prisma.ran) == 3


def test_a_failed_migration_is_recorded_or_taken_back(place: Place, major: int) -> None:
    place.record(NAME, finished=False)
    prisma = place.prisma()
    assert prisma.rolled_back_is_pending is (major == 7)
    question, answer = place.notebook(prisma, apply=True)
    assert (question, answer.verdict) == ("confirm", Verdict.PASS), answer
    assert place.rows(NAME) == [(False, True), (True, False)]

    place.execute("DELETE FROM _prisma_migrations WHERE finished_at IS NULL", 'DROP TABLE "OAuthState"')
    place.execute(f"UPDATE _prisma_migrations SET finished_at = NULL WHERE migration_name = '{NAME}'")
    assert prisma.resolve(rolled_back=[NAME]).failed is None
    said = prisma.status()
    assert ("have not yet been applied" in said.output) is (said.exit_code == 1) is (major == 7), said.output
    question, answer = place.notebook(
        prisma, apply=True
    )  # by our rules it is pending, whatever the engine says
    assert (question, answer.verdict) == ("confirm", Verdict.PASS), answer
    assert place.rows(NAME) == [(False, True), (True, False)]


def test_another_provider_is_an_error_of_prismas_own(place: Place) -> None:
    (place.migrations / "migration_lock.toml").write_text('provider = "mysql"\n')
    question, answer = place.notebook(place.prisma())
    assert (question, answer.findings[0].have) == ("status", "exit code 1, P3019")


def test_a_history_is_recorded_and_the_rest_deployed(place: Place) -> None:
    """As of a database that was never under Prisma's control: no table, and a migration that is not there yet."""
    place.execute("DROP TABLE _prisma_migrations")
    place.migrate("20260101000000_more", "CREATE TABLE more ();", run=False, record=False)
    place.migrate("20260102000000_wrong", "CREATE TABLE wrong (); SELECT 1/0;", run=False, record=False)
    prisma = place.prisma()
    assert prisma.deploy(role="kb_backend").code == "P3005"
    written = prisma.resolve(applied=[FIRST, NAME], role="kb_backend")
    assert (written.done, written.failed) == ((FIRST, NAME), None), written.said
    assert len(prisma.ran) == 3  # a status, the deployment that is refused, both names
    said = prisma.deploy(role="kb_backend")
    assert (said.exit_code, said.code) == (1, "P3018"), said.output
    assert place.rows("20260101000000_more") == [(True, False)]
    assert prisma.deploy(role="kb_backend").code == "P3009"
    assert prisma.resolve(rolled_back=["20260102000000_wrong"], role="kb_backend").failed is None
    (place.migrations / "20260102000000_wrong" / "migration.sql").write_text("CREATE TABLE wrong ();")
    assert prisma.deploy(role="kb_backend").exit_code == 0
    assert place.rows("20260102000000_wrong") == [(False, True), (True, False)]
