"""A phase whose baseline really creates things in Prisma's own database: planned, applied, and run again."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from runbooks_lib.archive.run import Run
from runbooks_lib.lab.lab import Lab
from runbooks_lib.phase import STEPS, load_phase
from runbooks_lib.prisma.history import read_folder

RUNBOOKS = Path(sys.executable).with_name("runbooks")
SHIPPED = load_phase("PH15-AMAZON-DB-FOUNDATION-01")
DATABASE = "keybuzz_backend"
MIGRATION = "20260201000000_parcels"
NEW = {
    "public.ParcelState",
    "public.Parcel",
    "public.Parcel_state_idx",
    "public.parcels_synced_idx",
}
MAKES = """
CREATE TYPE "ParcelState" AS ENUM ('PACKED', 'SENT');
CREATE TABLE "Parcel" (
    id text NOT NULL,
    state "ParcelState" NOT NULL DEFAULT 'PACKED',
    connection text REFERENCES "MarketplaceConnection" (id),
    CONSTRAINT "Parcel_pkey" PRIMARY KEY (id)
);
CREATE INDEX "Parcel_state_idx" ON "Parcel" (state);
ALTER TABLE "MarketplaceSyncState" ADD COLUMN "parcelId" text;
CREATE INDEX "parcels_synced_idx" ON "MarketplaceSyncState" ("parcelId");
"""
BASELINE = """
DO $$ BEGIN CREATE TYPE public."ParcelState" AS ENUM ('PACKED', 'SENT');
EXCEPTION WHEN duplicate_object THEN NULL; END $$;
CREATE TABLE IF NOT EXISTS public."Parcel" (
    id text NOT NULL,
    state public."ParcelState" NOT NULL DEFAULT 'PACKED',
    connection text REFERENCES public."MarketplaceConnection" (id),
    CONSTRAINT "Parcel_pkey" PRIMARY KEY (id)
);
CREATE INDEX IF NOT EXISTS "Parcel_state_idx" ON public."Parcel" (state);
ALTER TABLE public."MarketplaceSyncState" ADD COLUMN IF NOT EXISTS "parcelId" text;
CREATE INDEX IF NOT EXISTS parcels_synced_idx ON public."MarketplaceSyncState" ("parcelId");
INSERT INTO public."Parcel" (id, state) VALUES ('first', 'SENT') ON CONFLICT DO NOTHING;
"""
PHASE = """
spec_version = 2
id = "PH16-PARCELS"
title = { fr = "Colis", en = "Parcels" }
objective = { fr = "Créer la table des colis", en = "Make the table of parcels" }

[targets]
leader = { service = "keybuzz_leader", role = "primary", database = "keybuzz_backend" }
replica = { service = "keybuzz_replica", role = "standby", database = "keybuzz_backend", primary = "leader" }

[owners]
default = "kb_backend"

[[enums]]
name = "public.ParcelState"
labels = ["PACKED", "SENT"]

[[tables]]
name = "public.Parcel"
rows = 1
primary_key = ["id"]
columns = [
  { name = "id", type = "text", not_null = true },
  { name = "state", type = 'public."ParcelState"', not_null = true, default = "'PACKED'::public.\\"ParcelState\\"" },
  { name = "connection", type = "text" },
]

[[tables]]
name = "public.MarketplaceSyncState"
rows = 0
primary_key = ["connectionId"]
columns = [
  { name = "connectionId", type = "text", not_null = true },
  { name = "cursor", type = "text" },
  { name = "lastSyncedAt", type = "timestamp(3) without time zone" },
  { name = "errorCount", type = "integer", not_null = true, default = "0" },
  { name = "updatedAt", type = "timestamp(3) without time zone", not_null = true },
  { name = "parcelId", type = "text" },
]

[[indexes]]
name = "public.Parcel_state_idx"
table = "public.Parcel"
definition = 'CREATE INDEX "Parcel_state_idx" ON public."Parcel" USING btree (state)'

[[indexes]]
name = "public.parcels_synced_idx"
table = "public.MarketplaceSyncState"
definition = 'CREATE INDEX parcels_synced_idx ON public."MarketplaceSyncState" USING btree ("parcelId")'

[[seeds]]
table = "public.Parcel"
key = ["id"]
rows = [{ id = "first", state = "SENT" }]

[backup]
targets = ["leader"]
data = ["leader"]

[baseline]
file = "baseline.sql"
target = "leader"
lock_timeout_ms = 5_000
statement_timeout_ms = 60_000

[migration]
name = "20260201000000_parcels"
target = "leader"

[services.keybuzz_api]
url_env = "KEYBUZZ_API_URL"

[[routes]]
method = "GET"
path = "/api/parcels"
services = ["keybuzz_api"]
why = { fr = "Lire les colis", en = "To read parcels" }
table = ["public.Parcel"]

[[checklist]]
text = { fr = "La table des colis est là", en = "The table of parcels is there" }
steps = ["preflight", "report"]
checks = ["has_table"]
"""


@pytest.fixture
def parcels(fresh_lab: Lab, tmp_path: Path) -> Path:
    """A phase file in a folder of its own; the lab's project has its migration, and the shipped one is recorded."""
    folder = tmp_path / "PH16-PARCELS"
    folder.mkdir()
    (folder / "phase.toml").write_text(PHASE)
    (folder / "baseline.sql").write_text(BASELINE)
    project = Path(fresh_lab.env()["RUNBOOKS_PRISMA_PROJECT"])
    (project / "prisma" / "migrations" / MIGRATION).mkdir()
    (project / "prisma" / "migrations" / MIGRATION / "migration.sql").write_text(MAKES)
    (before,) = (file for file in read_folder(project) if file.name == SHIPPED.prisma.settle[0])
    record(fresh_lab, before.name, before.checksum)
    return folder / "phase.toml"


def record(lab: Lab, name: str, checksum: str) -> None:
    with lab.admin(DATABASE) as conn:
        conn.execute(
            "INSERT INTO _prisma_migrations (id, checksum, migration_name, finished_at, applied_steps_count)"
            " VALUES (gen_random_uuid(), %s, %s, now(), 1)",
            (checksum, name),
        )


def run(phase: Path, *options: str) -> tuple[subprocess.CompletedProcess[str], Run]:
    done = subprocess.run(
        [str(RUNBOOKS), "run", str(phase), "--runs", str(phase.parent.parent / "runs"), *options],
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )
    runs = sorted((phase.parent.parent / "runs" / "PH16-PARCELS").iterdir(), key=lambda path: path.name)
    return done, Run.open(runs[-1])


def findings(run: Run, step: str) -> list[dict[str, Any]]:
    record = run.record_json(step)
    assert record is not None
    return [f for answer in record["answers"].values() for f in answer["findings"]]


def existing(lab: Lab) -> set[str]:
    with lab.admin(DATABASE) as conn:
        rows = conn.execute(
            "SELECT 'public.' || relname FROM pg_class UNION SELECT 'public.' || typname FROM pg_type"
        ).fetchall()
    return {name for (name,) in rows} & NEW


def test_plan_apply_and_again(fresh_lab: Lab, parcels: Path) -> None:
    """In the plan, what is to come is SKIP and says so; after apply it stands; again, nothing is done."""
    done, planned = run(parcels)
    assert done.returncode == 0, done.stdout + done.stderr
    assert existing(fresh_lab) == set()
    seen = {step: findings(planned, step) for step in STEPS}
    assert {f["verdict"] for found in seen.values() for f in found} <= {"PASS", "SKIP", "OPEN"}
    for step in ("prisma_resolve", "seed_verification", "report"):
        ours = [f for f in seen[step] if f["object"].split("[")[0].split(" ")[-1] in NEW]
        assert ours, step
        assert {f["verdict"] for f in ours} == {"SKIP"}, [f for f in ours if f["verdict"] != "SKIP"]
    stand = {f["object"]: f for f in seen["prisma_resolve"] if f["check"] == "migration_objects_stand"}
    assert stand["relation public.Parcel"]["have"] == "missing; judged after apply; planned by step 3"
    assert stand["enum public.ParcelState"]["verdict"] == "SKIP"
    changed = "5 columns; judged after apply; planned by step 3"
    assert stand["columns public.MarketplaceSyncState"]["have"] == changed
    (columns,) = (
        f for f in seen["preflight"] if "without parcelId" in f["have"] and f["target"] == "replica"
    )
    assert (columns["check"], columns["verdict"]) == ("columns_are", "SKIP")
    assert any(
        f["have"].startswith("would change: columns public.MarketplaceS") for f in seen["baseline_migration"]
    )
    assert stand["relation public.OAuthState"]["verdict"] == "PASS"
    (box,) = (f for f in seen["report"] if f["check"] == "checklist_item_holds")
    assert box["verdict"] == "SKIP"

    rows = next((planned.path / "backup").glob("data_backup_*"))
    assert (rows / "toc.dat").exists()
    (finding,) = (f for f in seen["backup"] if f["check"] == "data_restores")
    assert (finding["verdict"], finding["object"]) == ("PASS", rows.name)

    confirm = re.search(r"--confirm (\S+)", done.stdout)
    assert confirm, done.stdout
    done, applied = run(parcels, "--apply", "--confirm", confirm[1])
    assert done.returncode == 0, done.stdout + done.stderr
    assert existing(fresh_lab) == NEW
    stand = {f["object"]: f for f in findings(applied, "prisma_resolve")}
    assert stand["relation public.Parcel"]["verdict"] == "PASS"
    assert {f["verdict"] for f in findings(applied, "seed_verification")} == {"PASS"}
    assert {f["verdict"] for f in findings(applied, "report") if f["target"] != "-"} == {"PASS"}
    (box,) = (f for f in findings(applied, "report") if f["check"] == "checklist_item_holds")
    assert box["verdict"] == "PASS"

    done, planned = run(parcels)
    assert done.returncode == 0, done.stdout + done.stderr
    record = planned.record_json("baseline_migration")
    assert record is not None
    assert record["answers"]["plan"]["facts"]["pending"] == []
    left = [step for step in STEPS for f in findings(planned, step) if "planned by step 3" in f["have"]]
    assert left == []
    confirm = re.search(r"--confirm (\S+)", done.stdout)
    assert confirm, done.stdout
    done, again = run(parcels, "--apply", "--confirm", confirm[1], "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["findings"].get("SKIP", 0) <= 4
    record = again.record_json("prisma_resolve")
    assert record is not None
    assert record["answers"]["resolve"]["facts"]["already"] is True

    with fresh_lab.admin(DATABASE) as conn:
        conn.execute('DROP TABLE "Parcel"')
    done, planned = run(parcels)
    assert done.returncode == 1, (
        "recorded as applied, and gone: with its rows, whatever the baseline would make"
    )
    assert "FAIL migration_objects_stand leader relation public.Parcel" in done.stderr
