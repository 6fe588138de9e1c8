"""What a check asks of a phase: a phase that declares nothing of the kind gives it nothing to look at."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping

from runbooks_lib.checks import Check
from runbooks_lib.findings import Finding, not_declared
from runbooks_lib.phase import Phase, Role

Declares = Callable[[Phase], object]


def _seeds(phase: Phase, *, file: bool) -> bool:
    return _with_data(phase) and any(bool(seeds.file) is file for seeds in phase.seeds)


def _with_data(phase: Phase) -> bool:
    return any(target.data for target in phase.targets.values())


_ENUMS: tuple[str, Declares] = "enums", lambda phase: phase.enums
_INDEXES: tuple[str, Declares] = "indexes", lambda phase: phase.indexes
_ROUTES: tuple[str, Declares] = "routes", lambda phase: phase.routes
_STANDBYS: tuple[str, Declares] = (
    "standbys",
    lambda phase: [target for target in phase.targets.values() if target.role is Role.STANDBY],
)
ASKED: Mapping[Check, tuple[str, Declares]] = {
    Check.HAS_ENUM: _ENUMS,
    Check.ENUM_OWNER_IS: _ENUMS,
    Check.ENUM_HAS_LABELS: _ENUMS,
    Check.HAS_INDEX: _INDEXES,
    Check.INDEX_IS: _INDEXES,
    Check.INDEX_OWNER_IS: _INDEXES,
    Check.INDEX_IS_VALID: _INDEXES,
    Check.ROW_COUNT_IS: (
        "row counts of targets with data",
        lambda phase: _with_data(phase) and any(table.rows is not None for table in phase.tables),
    ),
    Check.STANDBY_IS_OF_PRIMARY: _STANDBYS,
    Check.STANDBY_IS_STREAMING: _STANDBYS,
    Check.STANDBY_HAS_REPLAYED: _STANDBYS,
    Check.CATALOG_IS_THAT_OF_PRIMARY: _STANDBYS,
    Check.ROW_COUNTS_ARE_THOSE_OF_PRIMARY: _STANDBYS,
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


def nothing_declared(phase: Phase, checks: Iterable[Check]) -> Iterator[Finding]:
    """Yield SKIP for each of `checks` that the phase gives nothing to look at."""
    for check in checks:
        what, declares = ASKED.get(check, ("", lambda phase: True))
        if not declares(phase):
            yield not_declared(check, "-", what)
