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
    ('ALTER TABLE inbound_connections ALTER "updatedAt" DROP NOT NULL, ADD label TEXT',
     '"updatedAt" TIMESTAMP(3) NOT NULL,\n\n    CONSTRAINT "inbound_connections_pkey"',
     '"updatedAt" TIMESTAMP(3),\n    "label" TEXT,\n\n    CONSTRAINT "inbound_connections_pkey"'),
    ('ALTER TABLE "MarketplaceSyncState" DROP cursor', '    "cursor" TEXT,\n', ''),
    ('ALTER TABLE inbound_addresses RENAME "emailAddress" TO email', '"emailAddress"', '"email"'),
)  # fmt: skip

COLUMNS = """
SELECT relname, attname, format_type(atttypid, atttypmod), attnotnull, pg_get_expr(adbin, adrelid)
FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND attnum > 0 AND NOT attisdropped
LEFT JOIN pg_attrdef ON adrelid = c.oid AND adnum = attnum WHERE relname = ANY(%s)
"""


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
    planned = carry_out(phase, tmp_path / "runs")
    plan = planned.evidence().plan
    assert plan is not None
    applied = carry_out(phase, tmp_path / "runs", confirm=plan.confirmation).evidence()
    assert not [f for _, f in applied.all_findings() if f.verdict in CLOSING]
    opened = {step for step, verdict in applied.verdicts.items() if verdict is Verdict.OPEN}
    assert (opened, len(applied.verdicts)) == ({"api_routes", "report"}, 7)
    assert set(applied.verdicts.values()) == {Verdict.PASS, Verdict.OPEN}
    with fresh_lab.admin("keybuzz") as legacy, fresh_lab.admin("keybuzz_backend") as leader:
        made, wanted = (
            set(conn.execute(COLUMNS, ([each.name.partition(".")[2] for each in phase.tables],)).fetchall())
            for conn in (legacy, leader)
        )
    assert made == wanted
    assert "varchar(120)" in (planned.path / "plan" / "baseline_of_migrations.sql").read_text().lower()
    again = carry_out(
        phase, tmp_path / "runs"
    ).evidence()  # of the baseline's own target, which has them all by now
    assert not [f for _, f in again.all_findings() if f.verdict in CLOSING]
    assert {each.would for each in again.plan.statements} == {"exists, same"}  # type: ignore[union-attr]
