"""Step 7's last look against the lab: a plan ticks nothing, and what broke meanwhile is seen."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import psycopg
import pytest

from runbooks_lib.errors import GateClosed
from runbooks_lib.evidence import Evidence
from runbooks_lib.findings import Answer, Finding, Verdict, gate
from runbooks_lib.lab.lab import Lab
from runbooks_lib.phase import Phase, load_phase
from runbooks_lib.postgres.scratch.scratch import SUPERUSER, scratch
from runbooks_lib.postgres.session import replication
from runbooks_lib.postgres.session.connect import Sessions
from runbooks_lib.steps import report

from .test_preflight import pointer

PHASE = load_phase(str(Path(__file__).parents[1] / "phases" / "PH15-AMAZON-DB-FOUNDATION-01"))
STORED = Path(__file__).parents[1] / "unit" / "evidence" / "applied"
HEADER, RECORD = (
    json.loads((STORED / name).read_text("utf-8")) for name in ("run.json", "03_baseline_migration.json")
)
NOTHING = Evidence.from_json(HEADER, {}, STORED)
APPLIED = Evidence.from_json(HEADER, {"baseline_migration": RECORD}, STORED)
OBJECTS = {each.name for each in (*PHASE.tables, *PHASE.enums, *PHASE.indexes)}


def look(phase: Phase = PHASE, *, evidence: Evidence = APPLIED) -> Answer:
    with Sessions(phase.targets) as sessions:
        return report.last_look(phase, sessions, evidence=evidence)


AS_MIGRATED = "migration_objects_stand"


def bad(answer: Answer, *, migrated: bool = False) -> set[tuple[str, str, str, str]]:
    """Return check, target, object and verdict of what closes the gate, and let the gate agree.

    What is not as the migrations make it is left out unless it is asked for: it is asked by itself.
    """
    closing = {
        (f.check, f.target, f.object, f.verdict.value)
        for f in answer.findings
        if f.verdict in (Verdict.FAIL, Verdict.ERROR) and (f.check == AS_MIGRATED) is migrated
    }
    if closing:
        with pytest.raises(GateClosed):
            gate(answer.findings)
    else:
        gate(answer.findings)
    return closing


def of(answer: Answer, check: str, target: str) -> list[Finding]:
    return [f for f in answer.findings if (f.check, f.target) == (check, target)]


# --- the lab before anything is applied -------------------------------------------------------------------------


@pytest.mark.usefixtures("lab")
def test_in_a_plan_what_was_not_made_is_skipped_and_never_passed() -> None:
    answer = look(evidence=NOTHING)
    assert bad(answer) == set()
    at_legacy = [f for f in answer.findings if f.target == "legacy"]
    assert {f.object for f in at_legacy} == OBJECTS
    assert {(f.verdict, f.have) for f in at_legacy} == {(Verdict.SKIP, report.PLAN_ONLY)}
    for target in ("leader", "replica"):
        (recorded,) = of(answer, "migration_is_recorded", target)
        assert recorded.verdict is Verdict.SKIP
        rest = [f for f in answer.findings if f.target == target and f is not recorded]
        assert {f.verdict for f in rest} == {Verdict.PASS}
        assert {f.object for f in rest} >= OBJECTS
    assert {row["legacy"] for row in answer.rows if row["object"] in OBJECTS} == {report.PLAN_ONLY}
    (row,) = (row for row in answer.rows if row["object"] == PHASE.prisma.settle[0])
    assert row["leader"] == report.PLAN_ONLY
    assert of(answer, "standby_has_replayed", "replica")[0].verdict is Verdict.PASS
    assert answer.facts.lag["replica"].samples[-1].lag_bytes == 0
    assert answer.facts.targets["legacy"].tables == {}
    tables = answer.facts.targets["replica"].tables
    assert [table.rows for table in tables.values()] == [2, 5, 2, 5, 0]


@pytest.mark.usefixtures("lab")
def test_a_run_that_says_it_applied_and_did_not_fails() -> None:
    closing = bad(look())
    assert {object for _, target, object, _ in closing if target == "legacy"} == OBJECTS
    for target in ("leader", "replica"):
        assert ("migration_is_recorded", target, PHASE.prisma.settle[0], "FAIL") in closing


@pytest.mark.usefixtures("lab")
@pytest.mark.parametrize(
    ("name", "service", "said", "others"),
    [
        ("legacy", "no_such_service", "does not answer", set()),
        ("replica", "keybuzz_leader", "is declared a standby", set()),
        ("leader", "keybuzz_replica", "is declared a primary", {"replica"}),
    ],
)
def test_a_target_that_cannot_be_looked_at_is_an_error(
    name: str, service: str, said: str, others: set[str]
) -> None:
    targets = {**PHASE.targets, name: replace(PHASE.targets[name], service=service)}
    answer = look(replace(PHASE, targets=targets), evidence=NOTHING)
    assert bad(answer) == {("has_table", t, "every object", "ERROR") for t in {name, *others}}
    (error,) = (f for f in answer.findings if f.target == name)
    assert said in error.have
    assert name not in answer.facts.targets


@pytest.mark.usefixtures("lab")
def test_a_database_of_the_same_name_on_another_server_has_no_history_of_ours(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with scratch() as other:
        other.create_database("keybuzz_backend")
        address = {**other.cluster.address(), "user": SUPERUSER, "password": other.password}
        pointer(tmp_path, monkeypatch)(keybuzz_legacy=address)
        legacy = replace(PHASE.targets["legacy"], database="keybuzz_backend")
        answer = look(replace(PHASE, targets={**PHASE.targets, "legacy": legacy}), evidence=NOTHING)
    assert of(answer, "has_table", "legacy")
    assert of(answer, "migration_is_recorded", "legacy") == []
    assert of(answer, "migration_is_recorded", "replica")


# --- a lab to which the phase was applied -----------------------------------------------------------------------


@pytest.fixture
def applied(fresh_lab: Lab) -> Lab:
    """A lab as steps 3 and 4 leave it: made by SQL, for this is not about them."""
    with fresh_lab.admin("keybuzz") as admin:
        admin.execute("SET ROLE kb_backend")
        admin.execute((PHASE.folder / PHASE.baseline.file).read_text(encoding="utf-8"))  # type: ignore[arg-type]
    with fresh_lab.admin("keybuzz_backend") as admin:
        admin.execute(
            "INSERT INTO _prisma_migrations (id, checksum, migration_name, finished_at)"
            " VALUES (gen_random_uuid(), 'x', %s, now())",
            (PHASE.prisma.settle[0],),
        )
    return fresh_lab


def backend(lab: Lab, *statements: str) -> None:
    run(lab, "keybuzz_backend", *statements)


def run(lab: Lab, database: str, *statements: str) -> None:
    with lab.admin(database) as admin:
        for statement in statements:
            admin.execute(statement)  # type: ignore[call-overload]


def test_after_the_phase_everything_is_there_and_what_breaks_is_named(
    applied: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer = look()
    assert {f.verdict for f in answer.findings} == {Verdict.PASS}
    assert {f.object for f in answer.findings if f.target == "legacy"} == OBJECTS
    assert not of(answer, "row_count_is", "legacy")
    assert {row[t] for row in answer.rows for t in ("leader", "replica", "legacy")} == {"as declared", "-"}

    both = ("leader", "replica")
    told = {f.target: (f.verdict, f.have) for f in answer.findings if f.check == AS_MIGRATED}
    assert set(told) == set(both)  # the standby too, and not another database
    assert all(verdict is Verdict.PASS for verdict, _ in told.values())

    backend(applied, 'ALTER TABLE inbound_addresses DROP CONSTRAINT "inbound_addresses_connectionId_fkey"')
    lost = "constraint public.inbound_addresses.inbound_addresses_connectionId_fkey"
    assert bad(look(), migrated=True) == {
        (AS_MIGRATED, t, object, "FAIL") for t in both for object in (lost, "every object")
    }
    backend(
        applied,
        'ALTER TABLE inbound_addresses ADD CONSTRAINT "inbound_addresses_connectionId_fkey" FOREIGN KEY'
        ' ("connectionId") REFERENCES inbound_connections (id) ON UPDATE CASCADE ON DELETE CASCADE',
    )
    assert bad(look(), migrated=True) == set()
    backend(applied, "DROP INDEX oauth_states_state_idx")
    assert bad(look()) == {("has_index", t, "public.oauth_states_state_idx", "FAIL") for t in both}
    backend(applied, 'CREATE INDEX oauth_states_state_idx ON "OAuthState" ("tenantId")')
    assert bad(look()) == {("index_is", t, "public.oauth_states_state_idx", "FAIL") for t in both}
    backend(
        applied,
        "DROP INDEX oauth_states_state_idx",
        'CREATE INDEX oauth_states_state_idx ON "OAuthState" (state)',
    )
    assert bad(look()) == set()

    backend(applied, 'DROP TABLE "OAuthState"')
    closing = bad(look())
    assert {("has_table", t, "public.OAuthState", "FAIL") for t in both} <= closing
    assert {("row_count_is", t, "public.OAuthState", "FAIL") for t in both} <= closing

    run(applied, "keybuzz", 'ALTER TABLE "MarketplaceConnection" OWNER TO kb_legacy')
    assert ("table_owner_is", "legacy", "public.MarketplaceConnection", "FAIL") in bad(look())

    backend(applied, "DELETE FROM _prisma_migrations WHERE checksum = 'x'")
    assert {("migration_is_recorded", t, PHASE.prisma.settle[0], "FAIL") for t in both} <= bad(look())
    backend(applied, "REVOKE SELECT ON _prisma_migrations FROM keybuzz_operator")
    assert {("migration_is_recorded", t, "migrations", "ERROR") for t in both} <= bad(look())
    backend(applied, "DROP TABLE _prisma_migrations")
    assert {("migration_is_recorded", t, PHASE.prisma.settle[0], "FAIL") for t in both} <= bad(look())

    monkeypatch.setattr(replication, "REPLAY_TIMEOUT_S", 0.2)
    with psycopg.connect(
        host="127.0.0.1", port=applied.replica.port, user="postgres", dbname="postgres", autocommit=True
    ) as standby:
        standby.execute("SELECT pg_wal_replay_pause()")
        while standby.execute("SELECT pg_get_wal_replay_pause_state()").fetchone() != ("paused",):
            pass
        backend(applied, 'DROP TABLE "MarketplaceSyncState"')
        answer = look()
        (replayed,) = of(answer, "standby_has_replayed", "replica")
        assert replayed.verdict is Verdict.FAIL
        assert " behind after " in replayed.have
        first, *others = answer.facts.lag["replica"].samples
        assert others
        assert {sample.lag_bytes for sample in others} == {first.lag_bytes}
        assert first.at < others[-1].at
        standby.execute("SELECT pg_wal_replay_resume()")
    assert of(look(), "standby_has_replayed", "replica")[0].verdict is Verdict.PASS


def test_a_standby_that_stopped_is_an_error(applied: Lab) -> None:
    applied.replica.stop()
    answer = look()
    assert bad(answer) == {("has_table", "replica", "every object", "ERROR")}
    assert {f.verdict for f in answer.findings if f.target != "replica"} == {Verdict.PASS}
    (row,) = (row for row in answer.rows if row["object"] == "every object")
    assert row["replica"].startswith("ERROR has_table: ")


def test_a_plan_over_a_half_made_baseline_skips_the_rest(fresh_lab: Lab) -> None:
    run(
        fresh_lab,
        "keybuzz",
        "SET ROLE kb_backend",
        "CREATE TYPE \"InboundValidationStatus\" AS ENUM ('PENDING', 'VALIDATED', 'FAILED')",
        "CREATE TYPE \"MarketplaceType\" AS ENUM ('FNAC', 'AMAZON', 'CDISCOUNT', 'OTHER')",
    )
    answer = look(evidence=NOTHING)
    assert bad(answer) == {("enum_has_labels", "legacy", "public.MarketplaceType", "FAIL")}
    verdicts = {f.object: f.verdict for f in answer.findings if f.target == "legacy"}
    assert verdicts["public.InboundValidationStatus"] is Verdict.PASS
    assert verdicts["public.OAuthState"] is Verdict.SKIP
