"""The reference phase on a database whose columns are not those that were once guessed: the same verdicts."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from runbooks_lib.archive.run import SEALED_BY_RUNNER
from runbooks_lib.findings import CLOSING, Verdict
from runbooks_lib.lab.lab import Lab
from runbooks_lib.phase import load_phase

from .test_left_out_sections import carry_out

INIT = "20251210093000_init_amazon_inbound"
# In the database, and in the migration that makes it.
ALTERED = (
    ('ALTER TABLE "MarketplaceConnection" ALTER "displayName" TYPE varchar(120)',
     '"displayName" TEXT', '"displayName" VARCHAR(120)'),
    ('ALTER TABLE "MarketplaceSyncState" ALTER "errorCount" SET DEFAULT 1',
     '"errorCount" INTEGER NOT NULL DEFAULT 0', '"errorCount" INTEGER NOT NULL DEFAULT 1'),
    ('ALTER TABLE inbound_addresses RENAME "emailAddress" TO email', '"emailAddress"', '"email"'),
)  # fmt: skip


def test_real_columns_that_differ_from_the_old_guesses_change_no_verdict(
    fresh_lab: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(SEALED_BY_RUNNER, "nobody")
    script = (
        Path(fresh_lab.env()["RUNBOOKS_PRISMA_PROJECT"]) / "prisma" / "migrations" / INIT / "migration.sql"
    )
    text = script.read_text()
    with fresh_lab.admin("keybuzz_backend") as admin:
        for statement, old, new in ALTERED:
            assert old in text
            text = text.replace(old, new)
            admin.execute(statement)
        script.write_text(text)
        digest = hashlib.sha256(script.read_bytes()).hexdigest()
        admin.execute("UPDATE _prisma_migrations SET checksum = %s WHERE migration_name = %s", (digest, INIT))
    phase = load_phase("PH15-AMAZON-DB-FOUNDATION-01")
    planned = carry_out(phase, tmp_path / "runs").evidence()
    assert planned.plan is not None
    applied = carry_out(phase, tmp_path / "runs", confirm=planned.plan.confirmation).evidence()
    assert not [f for _, f in applied.all_findings() if f.verdict in CLOSING]
    opened = {step for step, verdict in applied.verdicts.items() if verdict is Verdict.OPEN}
    assert (opened, len(applied.verdicts)) == ({"api_routes", "report"}, 7)
    assert set(applied.verdicts.values()) == {Verdict.PASS, Verdict.OPEN}
