"""The report's view of the data and of the routes that are for it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from runbooks_lib.checks import Check
from runbooks_lib.errors import EvidenceError
from runbooks_lib.evidence import Evidence
from runbooks_lib.facts.contents import (
    Box,
    Checklist,
    Deployment,
    Probe,
    Routes,
    SeedFact,
    SeedFacts,
    Services,
    Signature,
    SignOff,
    Sources,
)
from runbooks_lib.findings import Finding, Verdict, judged, passed
from runbooks_lib.phase import Phase, Seeds, Service
from runbooks_lib.phase.seed_values import as_text, name_of, shown


@dataclass(frozen=True, slots=True, kw_only=True)
class SeedRow:
    """A declared row: its values as they stand there (None: missing everywhere), and its finding at each target."""

    tenant: str | None
    found: Mapping[str, Any] | None
    object: str
    findings: Mapping[str, Finding]

    @property
    def verdict(self) -> Verdict | None:
        """Return the worst verdict over the targets."""
        return judged(tuple(self.findings.values()))


@dataclass(frozen=True, slots=True, kw_only=True)
class SeedTable:
    """The declared rows of one table, of one tenant or (`tenant` None) of all, with the columns to show."""

    table: str
    tenant: str | None
    columns: tuple[str, ...]
    rows: tuple[SeedRow, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class SeedSet:
    """The rows of a table that a file declares, in short: per tenant (None: all), how many, and what was found.

    `lines` are tenant, number of rows (None: they could not be compared), and the finding at each target.
    """

    table: str
    file: str
    lines: tuple[tuple[str | None, int | None, Mapping[str, Finding]], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceView:
    """A service: what it answered (`state` None: it was not asked), and how many of its routes it has.

    `deployment` is Kubernetes' state of it, None when Kubernetes was not asked. `found` counts its routes that
    are declared in its source, `tree` is that source's name.
    """

    service: Service
    state: str | None
    answers: bool
    reason: str | None
    deployment: Deployment | None
    probed: int
    present: int
    declared: int
    found: int
    tree: str | None
    files: tuple[str, ...]
    verdict: Verdict | None


@dataclass(frozen=True, slots=True, kw_only=True)
class RouteView:
    """A route: its probe at each service (None: not sent), where its source is, and the tables that it is for."""

    method: str
    path: str
    probes: Mapping[str, Probe | None]
    served: Verdict | None
    sources: tuple[str, ...]
    tables: tuple[str, ...]
    why: Any

    @property
    def name(self) -> str:
        """Return method and path."""
        return f"{self.method} {self.path}"


def boxes(seen: Evidence) -> tuple[tuple[Box, Signature | None], ...]:
    """Return the items of the checklist as they were judged, each with its signature (None: it has none).

    A signature is shown on a ticked box only: the checklist, not the signature, says whether the item holds.
    """
    signed = seen.facts(SignOff).by_item
    items = enumerate(seen.facts(Checklist).items)
    return tuple((item, signed.get(n) if item.ticked else None) for n, item in items)


def seeds(phase: Phase, seen: Evidence) -> tuple[SeedTable, ...]:
    """Return the declared rows in tables to show: by tenant where a tenant has several rows, else all in one."""
    found = _found(seen)
    split: list[SeedTable] = []
    whole: list[SeedTable] = []
    for declared in phase.seeds:
        if declared.file:
            continue
        columns = tuple(dict.fromkeys(column for row in declared.rows for column in row))
        rows = tuple(_row(declared, row, found) for row in declared.rows)
        tenants = tuple(dict.fromkeys(row.tenant for row in rows if row.tenant is not None))
        if any(sum(row.tenant == tenant for row in rows) > 1 for tenant in tenants):
            shown = tuple(column for column in columns if column != declared.tenant)
            for tenant in tenants:
                mine = tuple(row for row in rows if row.tenant == tenant)
                split.append(SeedTable(table=declared.table, tenant=tenant, columns=shown, rows=mine))
        else:
            whole.append(SeedTable(table=declared.table, tenant=None, columns=columns, rows=rows))
    return (*split, *whole)


def seed_sets(phase: Phase, seen: Evidence) -> tuple[SeedSet, ...]:
    """Return the rows that files declare, by table and tenant."""
    findings = seen.findings("seed_verification", "rows", checks=(Check.SEED_ROWS_ARE,))
    facts = seen.facts(SeedFacts).sets
    sets = []
    for declared in phase.seeds:
        if not declared.file:
            continue
        numbers = {f["tenant"]: f["declared"] for f in facts if f["table"] == declared.table}
        names = {t: declared.table if t is None else f"{declared.table}[{t}]" for t in (*numbers, None)}
        lines = [
            (tenant, numbers.get(tenant), {f.target: f for f in findings if f.object == name})
            for tenant, name in names.items()
        ]
        told = tuple(line for line in lines if line[2])
        sets.append(SeedSet(table=declared.table, file=declared.file, lines=told))
    return tuple(sets)


def rows_as_declared(seen: Evidence) -> tuple[int, int]:
    """Return how many declared rows are as declared, over all targets, and how many there are."""
    single = _of_rows(seen)
    sets = seen.facts(SeedFacts).sets
    right = ("target", "table", "tenant", "declared", "unexpected")
    wrong = sum(number for f in sets for kind, number in f.items() if kind not in right)
    declared = sum(f["declared"] for f in sets)
    return passed(single) + max(declared - wrong, 0), len(single) + declared


def _of_rows(seen: Evidence) -> tuple[Finding, ...]:
    """Return the findings on single rows: each was looked at somewhere, and what nobody declared was not."""
    found = seen.findings("seed_verification", "rows", checks=(Check.SEED_ROW_IS,))
    return tuple(finding for finding in found if finding.target != "-")


def _found(seen: Evidence) -> dict[str, list[tuple[Finding, SeedFact]]]:
    """Return, per row's name (`table[key]`), its finding and what stands in the table, at each target."""
    judgements = [finding for finding in _of_rows(seen) if finding.verdict is not Verdict.ERROR]
    facts = seen.facts(SeedFacts).rows
    if len(judgements) != len(facts):
        raise EvidenceError(
            f"Step seed_verification recorded {len(judgements)} findings on rows, but {len(facts)} rows.",
            "Its evidence was changed or cut short: run the step again.",
        )
    found: dict[str, list[tuple[Finding, SeedFact]]] = {}
    for finding, fact in zip(judgements, facts, strict=True):
        found.setdefault(finding.object, []).append((finding, fact))
    return found


def _row(
    declared: Seeds, row: Mapping[str, object], found: Mapping[str, list[tuple[Finding, SeedFact]]]
) -> SeedRow:
    name = f"{declared.table}{name_of(declared.key, row)}"
    seen_at = found.get(name, [])
    return SeedRow(
        tenant=as_text(row.get(declared.tenant)) if declared.tenant else None,
        found=next((_shown(fact.row) for _, fact in seen_at if fact.row), None),
        object=name,
        findings={finding.target: finding for finding, _ in seen_at},
    )


def _shown(row: Mapping[str, Any]) -> dict[str, str]:
    return {column: shown(None if value is None else str(value)) for column, value in row.items()}


def services(phase: Phase, seen: Evidence) -> tuple[ServiceView, ...]:
    """Return the phase's services."""
    return tuple(_service(phase, seen, name, service) for name, service in phase.services.items())


def _service(phase: Phase, seen: Evidence, name: str, service: Service) -> ServiceView:
    found = seen.facts(Services).services.get(name)
    at_it = [p for p in seen.facts(Routes).probes if p.service == name]
    source = seen.facts(Sources)
    hits = [h for r in source.routes for h in r.hits if h.service == name]
    return ServiceView(
        service=service,
        state=found.probe.state if found else None,
        answers=found is not None and found.answers,
        reason=found.probe.reason if found else None,
        deployment=found.deployment if found else None,
        probed=len(at_it),
        present=sum(p.state == "present" for p in at_it),
        declared=sum(name in route.services for route in phase.routes),
        found=passed(seen.findings("api_routes", "source", targets=(name,))),
        tree=source.trees.get(name),
        files=tuple(dict.fromkeys(hit.file for hit in hits)),
        verdict=judged(
            seen.findings("api_routes", "services", targets=(name,))
            + seen.findings("api_routes", "routes", targets=(name,))
        ),
    )


def routes(phase: Phase, seen: Evidence) -> tuple[RouteView, ...]:
    """Return the phase's routes."""
    probes = {(p.service, p.method, p.path): p for p in reversed(seen.facts(Routes).probes)}
    sources = seen.facts(Sources).routes
    return tuple(
        RouteView(
            method=route.method,
            path=route.path,
            probes={service: probes.get((service, route.method, route.path)) for service in route.services},
            served=judged(
                seen.findings(
                    "api_routes",
                    "routes",
                    checks=(Check.ROUTE_IS_SERVED,),
                    object=f"{route.method} {route.path}",
                )
            ),
            sources=tuple(
                f"{hit.file}:{hit.line}"
                for source in sources
                if (source.method, source.path) == (route.method, route.path)
                for hit in source.hits
            ),
            tables=route.table,
            why=route.why,
        )
        for route in phase.routes
    )
