"""The same with Prisma 7 and its engine, which takes a rolled-back migration as pending."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from runbooks_lib.findings import CLOSING, Verdict

from .conftest import PHASE, Place
from .prisma7 import VARIABLE, wanted

NAME = PHASE.migration.name
UP_TO_DATE = "Database schema is up to date!"
CONFIG = """
import { defineConfig, env } from "prisma/config";
export default defineConfig({
  schema: "prisma/schema.prisma",
  migrations: { path: "prisma/migrations" },
  datasource: { url: env("DATABASE_URL") },
});
"""

pytestmark = pytest.mark.skipif(
    not wanted(),
    reason=f"{VARIABLE} is not set: with {VARIABLE}=1 these tests install Prisma 7 (240 MB from npm) and run",
)


@pytest.fixture
def place7(place: Place, prisma7: Path) -> Place:
    """The place's project, moved to Prisma 7: the address stands in its configuration now."""
    shutil.copyfile(prisma7 / "package.json", place.project / "package.json")
    (place.project / "node_modules").unlink()
    (place.project / "node_modules").symlink_to(prisma7 / "node_modules")
    (place.project / "prisma.config.ts").write_text(CONFIG)
    schema = place.project / "prisma" / "schema.prisma"
    lines = schema.read_text().splitlines()
    schema.write_text("\n".join(line for line in lines if "env(" not in line) + "\n")
    return place


def test_green_by_prisma_and_red_by_us_naming_the_table(place7: Place) -> None:
    place7.record(NAME)
    place7.execute("DROP TABLE inbound_addresses")
    prisma = place7.prisma()
    assert prisma.version() == "7.10.0"
    said = prisma.status()
    assert (said.exit_code, UP_TO_DATE in said.output) == (0, True), said.output
    question, answer = place7.notebook(prisma)
    assert question == "live_schema"
    missing = [f.object for f in answer.findings if f.verdict is Verdict.FAIL]
    assert "relation public.inbound_addresses" in missing


def test_recorded_by_prisma_7_and_confirmed(place7: Place) -> None:
    prisma = place7.prisma()
    question, answer = place7.notebook(prisma, apply=True)
    assert (question, answer.verdict) == ("confirm", Verdict.PASS), answer
    assert place7.rows(NAME) == [(True, False)]
    assert len(prisma.ran) == 3


def test_a_failed_migration_is_recorded_or_taken_back_and_then_pending(place7: Place) -> None:
    place7.record(NAME, finished=False)
    prisma = place7.prisma()
    assert prisma.rolled_back_is_pending
    question, answer = place7.notebook(prisma, apply=True)
    assert (question, answer.verdict) == ("confirm", Verdict.PASS), answer
    assert place7.rows(NAME) == [(False, True), (True, False)]

    place7.execute("DELETE FROM _prisma_migrations WHERE finished_at IS NULL", 'DROP TABLE "OAuthState"')
    place7.execute(f"UPDATE _prisma_migrations SET finished_at = NULL WHERE migration_name = '{NAME}'")
    answer = place7.ask("resolve", prisma, apply=True)
    assert answer.facts.rolled_back is True
    said = prisma.status()
    assert (said.exit_code, "have not yet been applied" in said.output) == (1, True), said.output
    question, answer = place7.notebook(prisma)
    assert (question, answer.verdict in CLOSING) == ("live_schema", True)


@pytest.mark.parametrize("provider", ["mysql"])
def test_prismas_own_errors_are_errors(place7: Place, provider: str) -> None:
    (place7.migrations / "migration_lock.toml").write_text(f'provider = "{provider}"\n')
    question, answer = place7.notebook(place7.prisma())
    assert (question, answer.findings[0].have) == ("status", "exit code 1, P3019")
