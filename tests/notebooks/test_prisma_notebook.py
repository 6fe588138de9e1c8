"""`prisma migrate status` is green, a table is gone: our run is red and names the table."""

from __future__ import annotations

from pathlib import Path

from runbooks_lib.archive.run import Run
from runbooks_lib.execution.runner import run_notebooks
from runbooks_lib.findings import Verdict
from runbooks_lib.lab.lab import Lab
from runbooks_lib.phase import load_phase
from runbooks_lib.prisma.history import read_folder

PHASE = "PH15-AMAZON-DB-FOUNDATION-01"


def test_prisma_is_green_and_the_table_is_gone(fresh_lab: Lab, tmp_path: Path) -> None:
    phase = load_phase(PHASE)
    project = Path(fresh_lab.env()["RUNBOOKS_PRISMA_PROJECT"])
    (script,) = (file for file in read_folder(project) if file.name == phase.prisma.settle[0])
    with fresh_lab.admin("keybuzz_backend") as conn:
        conn.execute(
            "INSERT INTO _prisma_migrations (id, checksum, migration_name, finished_at)"
            " VALUES (gen_random_uuid(), %s, %s, now())",
            (script.checksum, script.name),
        )
        conn.execute("DROP TABLE inbound_addresses")
    run = Run.create(tmp_path, phase)
    result = run_notebooks(run, phase=PHASE, apply=False, confirm=lambda: "", steps=("prisma_resolve",))
    assert result.exit_code == 1
    assert result.outcomes[-1].verdict is Verdict.FAIL
    record = run.record_json("prisma_resolve")
    assert record is not None
    answers = record["answers"]
    said = answers["status"]["facts"]["said"]
    assert (said["exit_code"], "Database schema is up to date!" in said["output"]) == (0, True)
    red = {(f["check"], f["object"]) for f in answers["live_schema"]["findings"] if f["verdict"] == "FAIL"}
    assert ("migration_objects_stand", "relation public.inbound_addresses") in red
    assert "resolve" not in answers  # the gate was closed before it
