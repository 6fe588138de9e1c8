"""What a check asks of a phase: a phase that declares nothing of the kind gives it nothing to look at."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping

from runbooks_lib.checks import Check
from runbooks_lib.findings import Answer, Finding, not_declared
from runbooks_lib.phase import Phase, Role

Declares = Callable[[Phase], object]


def _seeds(phase: Phase, *, file: bool) -> bool:
    return _with_data(phase) and any(bool(seeds.file) is file for seeds in phase.seeds)


def _with_data(phase: Phase) -> bool:
    return any(target.data for target in phase.targets.values())


def _counts(phase: Phase) -> bool:
    return _with_data(phase) and any(table.rows is not None for table in phase.tables)


_WRITTEN: tuple[str, Declares] = "targets that are written", lambda phase: phase.backup.targets
_BASELINE: tuple[str, Declares] = "baseline", lambda phase: phase.baseline
_PRISMA: tuple[str, Declares] = "prisma section", lambda phase: phase.prisma
_NEITHER: tuple[str, Declares] = "baseline and no prisma section", lambda phase: phase.written
_TABLES: tuple[str, Declares] = "tables", lambda phase: phase.tables
_ENUMS: tuple[str, Declares] = "enums", lambda phase: phase.enums
_INDEXES: tuple[str, Declares] = "indexes", lambda phase: phase.indexes
_ROUTES: tuple[str, Declares] = "routes", lambda phase: phase.routes
_STANDBYS: tuple[str, Declares] = (
    "standbys",
    lambda phase: [target for target in phase.targets.values() if target.role is Role.STANDBY],
)
ASKED: Mapping[Check, tuple[str, Declares]] = {
    Check.OBJECT_IS_FOUND: ("tables and no enums", lambda phase: (*phase.tables, *phase.enums)),
    Check.HAS_TABLE: _TABLES,
    Check.TABLE_OWNER_IS: ("owners of tables", lambda phase: [t for t in phase.tables if t.owner]),
    Check.COLUMNS_ARE: ("columns of tables", lambda phase: [t for t in phase.tables if t.columns]),
    Check.COL_IS_PK: (
        "primary keys",
        lambda phase: [table for table in phase.tables if table.primary_key is not None],
    ),
    Check.NOTHING_ELSE_ACTS_ON_TABLE: _TABLES,
    Check.ROW_COUNTS_ARE_THOSE_OF_PRIMARY: _STANDBYS,
    **dict.fromkeys(
        (
            Check.CLIENT_CAN_DUMP,
            Check.DUMP_IS_WHOLE,
            Check.DUMP_HASH_IS,
            Check.DUMP_NAMES_EVERY_TABLE,
            Check.DUMP_RESTORES,
        ),
        _WRITTEN,
    ),
    **dict.fromkeys(
        (
            Check.STATEMENT_IS_IDEMPOTENT,
            Check.SCRIPT_IS_LINT_FREE,
            Check.REHEARSAL_IS_INERT,
            Check.UNDO_RESTORES,
            Check.SCRIPT_MAKES_WHAT_IT_SAYS,
            Check.BASELINE_IS_APPLIED,
            Check.SECOND_RUN_CHANGES_NOTHING,
        ),
        _BASELINE,
    ),
    Check.OBJECT_IS_ABSENT_OR_EQUAL: _NEITHER,
    Check.PLAN_IS_CONFIRMED: _NEITHER,
    **dict.fromkeys(
        (
            Check.HISTORY_IS_CLEAN,
            Check.PRISMA_ANSWERS,
            Check.MIGRATION_IS_RECORDED,
            Check.MIGRATION_IS_APPLIED,
            Check.PRISMA_IS_UP_TO_DATE,
        ),
        _PRISMA,
    ),
    Check.MIGRATION_OBJECTS_STAND: (
        "prisma section and no file of a schema",
        lambda phase: phase.prisma or phase.schema.file,
    ),
    Check.HAS_ENUM: _ENUMS,
    Check.ENUM_OWNER_IS: ("owners of enums", lambda phase: [enum for enum in phase.enums if enum.owner]),
    Check.ENUM_HAS_LABELS: ("labels of enums", lambda phase: [enum for enum in phase.enums if enum.labels]),
    Check.HAS_INDEX: _INDEXES,
    Check.INDEX_IS: (
        "definitions of indexes",
        lambda phase: [i for i in phase.indexes if i.definition or i.table or i.unique is not None],
    ),
    Check.INDEX_OWNER_IS: (
        "indexes of tables with an owner",
        lambda phase: phase.indexes and [table for table in phase.tables if table.owner],
    ),
    Check.INDEX_IS_VALID: _INDEXES,
    Check.ROW_COUNT_IS: ("row counts of targets with data", _counts),
    Check.STANDBY_IS_OF_PRIMARY: _STANDBYS,
    Check.STANDBY_IS_STREAMING: _STANDBYS,
    Check.STANDBY_HAS_REPLAYED: _STANDBYS,
    Check.CATALOG_IS_THAT_OF_PRIMARY: _STANDBYS,
    Check.ROWS_ARE_THOSE_OF_PRIMARY: (
        "standbys with data",
        lambda phase: [t for t in phase.targets.values() if t.role is Role.STANDBY and t.data],
    ),
    Check.REPLICATION_LAG_IS: (
        "limits of lag (max_lag_bytes)",
        lambda phase: [t for t in phase.targets.values() if t.max_lag_bytes is not None],
    ),
    Check.DATA_RESTORES: ("targets whose rows are dumped", lambda phase: phase.backup.data),
    Check.SEED_ROW_IS: ("seed rows of targets with data", lambda phase: _seeds(phase, file=False)),
    Check.SEED_ROWS_ARE: ("files of seeds of targets with data", lambda phase: _seeds(phase, file=True)),
    Check.NO_UNEXPECTED_SEED_ROWS: (
        "seeds of targets with data",
        lambda phase: _with_data(phase) and phase.seeds,
    ),
    Check.SERVICE_IS_DEPLOYED: ("services", lambda phase: phase.services),
    Check.DEPLOYMENT_IS_READY: (
        "Deployments",
        lambda phase: [s for s in phase.services.values() if s.namespace and s.deployment],
    ),
    Check.ROUTE_IS_PRESENT: _ROUTES,
    Check.ROUTE_IS_SERVED: _ROUTES,
    Check.ROUTE_IS_IN_SOURCE: (
        "routes of services with a source tree",
        lambda phase: [r for r in phase.routes for s in r.services if phase.services[s].source_env],
    ),
    Check.CHECKLIST_ITEM_HOLDS: ("boxes of a checklist", lambda phase: phase.checklist),
    Check.ITEM_IS_SIGNED_OFF: (
        "boxes that a person ticks",
        lambda phase: [item for item in phase.checklist if item.manual],
    ),
}


def or_not_declared(phase: Phase, findings: Iterable[Finding], *checks: Check) -> tuple[Finding, ...]:
    """Return the findings; where there is none, SKIP for each of `checks` that the phase gives nothing to look at.

    Still none where the phase does declare something: then nobody has looked, and the gate stays closed.
    """
    found = tuple(findings)
    return found or tuple(nothing_declared(phase, checks))


def objects_asked(phase: Phase) -> tuple[Check, ...]:
    """Return what is asked of the objects of a phase: whether they are there, and of those that are declared, more."""
    kinds = (
        (phase.tables, (Check.HAS_TABLE, Check.TABLE_OWNER_IS, Check.ROW_COUNT_IS)),
        (phase.enums, (Check.HAS_ENUM,)),
        (phase.indexes, (Check.HAS_INDEX,)),
    )
    return tuple(check for declared, checks in kinds for check in (checks if declared else checks[:1]))


def nothing_declared(phase: Phase, checks: Iterable[Check]) -> Iterator[Finding]:
    """Yield SKIP for each of `checks` that the phase gives nothing to look at."""
    for check in checks:
        what, declares = ASKED.get(check, ("", lambda phase: True))
        if not declares(phase):
            yield not_declared(check, "-", what)


# What gives a step something to do, of those that a phase may leave without.
_WORK: Mapping[str, tuple[str, Declares]] = {
    "backup": _WRITTEN,
    "baseline_migration": _NEITHER,
    "prisma_resolve": _PRISMA,
    "seed_verification": (
        "seeds and no row counts of targets with data",
        lambda phase: _counts(phase) or (_with_data(phase) and phase.seeds),
    ),
    "api_routes": ("services and no routes", lambda phase: phase.services or phase.routes),
}


def nothing_to_do(phase: Phase) -> dict[str, str]:
    """Return why a step has nothing to do in this phase, by the step; those that have are left out."""
    return {
        step: f"the phase declares no {what}"
        for step, (what, declares) in _WORK.items()
        if not declares(phase)
    }


def left_loose(phase: Phase) -> Iterator[str]:
    """Yield what the phase lets be at whole targets, and nobody would notice by an answer: rows, and lag."""
    if left := phase.without_rows:
        yield f"rows are not judged at {', '.join(left)}: data = false"
    if left := phase.without_limit_of_lag:
        yield f"any lag is let pass at {', '.join(left)}: no max_lag_bytes"


def not_asked(phase: Phase, *checks: Check) -> Answer:
    """Return the answer to a question that the phase gives nothing to look at: SKIP for each of `checks`."""
    return Answer(findings=tuple(nothing_declared(phase, checks)))
