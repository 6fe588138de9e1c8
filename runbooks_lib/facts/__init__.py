"""The facts of every question, as the report and later steps read them: one type for each question that has some."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from runbooks_lib.facts.base import Facts
from runbooks_lib.facts.contents import (
    Checklist,
    LastLook,
    Reports,
    Routes,
    RowCounts,
    SeedFacts,
    Services,
    SignOff,
    Sources,
)
from runbooks_lib.facts.databases import (
    Clients,
    Dumps,
    Matrix,
    Proof,
    Readiness,
    Replication,
    Schema,
    Targets,
)
from runbooks_lib.facts.writing import (
    Applied,
    Confirmation,
    LiveSchema,
    Parsed,
    Plan,
    PrismaConfirmed,
    PrismaStatus,
    RecordedHistory,
    Rehearsal,
    Resolved,
    SecondRun,
)

# By step and question.
FACTS: Mapping[tuple[str, str], type[Facts]] = MappingProxyType(
    {
        ("preflight", "targets"): Targets,
        ("preflight", "find_objects"): Matrix,
        ("preflight", "schema"): Schema,
        ("preflight", "replication"): Replication,
        ("preflight", "readiness"): Readiness,
        ("backup", "client"): Clients,
        ("backup", "dump"): Dumps,
        ("backup", "prove"): Proof,
        ("baseline_migration", "parse"): Parsed,
        ("baseline_migration", "plan"): Plan,
        ("baseline_migration", "rehearse"): Rehearsal,
        ("baseline_migration", "confirmation"): Confirmation,
        ("baseline_migration", "apply"): Applied,
        ("baseline_migration", "second_run"): SecondRun,
        ("prisma_resolve", "history"): RecordedHistory,
        ("prisma_resolve", "status"): PrismaStatus,
        ("prisma_resolve", "live_schema"): LiveSchema,
        ("prisma_resolve", "resolve"): Resolved,
        ("prisma_resolve", "confirm"): PrismaConfirmed,
        ("seed_verification", "rows"): SeedFacts,
        ("seed_verification", "row_counts"): RowCounts,
        ("api_routes", "services"): Services,
        ("api_routes", "routes"): Routes,
        ("api_routes", "source"): Sources,
        ("report", "last_look"): LastLook,
        ("report", "sign_off"): SignOff,
        ("report", "checklist"): Checklist,
        ("report", "write"): Reports,
    }
)
