"""What a check asks of a phase: a phase that declares nothing of the kind gives it nothing to look at."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping

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
ASKED: Mapping[str, tuple[str, Declares]] = {
    "has_enum": _ENUMS,
    "enum_owner_is": _ENUMS,
    "enum_has_labels": _ENUMS,
    "has_index": _INDEXES,
    "index_is": _INDEXES,
    "index_owner_is": _INDEXES,
    "index_is_valid": _INDEXES,
    "row_count_is": (
        "row counts of targets with data",
        lambda phase: _with_data(phase) and any(table.rows is not None for table in phase.tables),
    ),
    "standby_is_of_primary": _STANDBYS,
    "standby_is_streaming": _STANDBYS,
    "standby_has_replayed": _STANDBYS,
    "catalog_is_that_of_primary": _STANDBYS,
    "row_counts_are_those_of_primary": _STANDBYS,
    "rows_are_those_of_primary": (
        "standbys with data",
        lambda phase: [t for t in phase.targets.values() if t.role is Role.STANDBY and t.data],
    ),
    "replication_lag_is": (
        "limits of lag (max_lag_bytes)",
        lambda phase: [t for t in phase.targets.values() if t.max_lag_bytes is not None],
    ),
    "data_restores": ("targets whose rows are dumped", lambda phase: phase.backup.data),
    "seed_row_is": ("seed rows of targets with data", lambda phase: _seeds(phase, file=False)),
    "seed_rows_are": ("files of seeds of targets with data", lambda phase: _seeds(phase, file=True)),
    "no_unexpected_seed_rows": (
        "seeds of targets with data",
        lambda phase: _with_data(phase) and phase.seeds,
    ),
    "service_is_deployed": ("services", lambda phase: phase.services),
    "deployment_is_ready": (
        "Deployments",
        lambda phase: [s for s in phase.services.values() if s.namespace and s.deployment],
    ),
    "route_is_present": _ROUTES,
    "route_is_served": _ROUTES,
    "route_is_in_source": (
        "routes of services with a source tree",
        lambda phase: [r for r in phase.routes for s in r.services if phase.services[s].source_env],
    ),
    "checklist_item_holds": ("boxes of a checklist", lambda phase: phase.checklist),
    "item_is_signed_off": (
        "boxes that a person ticks",
        lambda phase: [item for item in phase.checklist if item.manual],
    ),
}


def or_not_declared(phase: Phase, findings: Iterable[Finding], *checks: str) -> tuple[Finding, ...]:
    """Return the findings; where there is none, SKIP for each of `checks` that the phase gives nothing to look at.

    Still none where the phase does declare something: then nobody has looked, and the gate stays closed.
    """
    found = tuple(findings)
    return found or tuple(nothing_declared(phase, checks))


def nothing_declared(phase: Phase, checks: Iterable[str]) -> Iterator[Finding]:
    """Yield SKIP for each of `checks` that the phase gives nothing to look at."""
    for check in checks:
        what, declares = ASKED.get(check, ("", lambda phase: True))
        if not declares(phase):
            yield not_declared(check, "-", what)
