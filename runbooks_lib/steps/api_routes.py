"""Step 6, API routes: which deployed service has the routes that the new tables are for?

Each function answers one question of `06_api_routes.ipynb`. Base URLs come from the environment variables that the
phase names, and so do headers, where a guard makes them necessary. Methods other than GET, HEAD and OPTIONS are sent
only with apply=True: a probe carries no body, and yet a POST may act.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from msgspec.structs import replace

from runbooks_lib.api.deployments import deployment_state
from runbooks_lib.api.headers import headers_of
from runbooks_lib.api.http import SAFE_METHODS
from runbooks_lib.api.probes import probe_routes, probe_service
from runbooks_lib.api.source import SourceTree, read_tree
from runbooks_lib.checks import Check
from runbooks_lib.errors import RunbookError
from runbooks_lib.facts.contents import (
    Deployment,
    Hit,
    Probe,
    Routes,
    RouteState,
    ServiceProbe,
    Services,
    ServiceState,
    SourceRoute,
    Sources,
)
from runbooks_lib.findings import Answer, Finding, Verdict, could_not_run, worst
from runbooks_lib.phase import Phase, Route, Service
from runbooks_lib.postgres.session.connect import Sessions
from runbooks_lib.steps.declared import or_not_declared

MAX_NAMED = 5
UNTOLD = frozenset({RouteState.UNREACHABLE, RouteState.SERVER_ERROR})


def services(phase: Phase, sessions: Sessions) -> Answer:
    """Ask each declared service whether it is there: over HTTP, and at Kubernetes where a kubeconfig is at hand.

    Sends one GET for a path that cannot exist to each service; `sessions` is not used.
    Facts: per service its probe and its Deployment's state (None: not asked).
    """
    findings: list[Finding] = []
    facts: dict[str, ServiceState] = {}
    for name, service in phase.services.items():
        try:
            probe = probe_service(_base_url(service), headers=headers_of(service.headers_env))
        except RunbookError as error:
            findings.append(could_not_run(Check.SERVICE_IS_DEPLOYED, name, name, error))
            continue
        try:
            deployment = _deployment(service)
        except RunbookError as error:
            findings.append(
                could_not_run(Check.DEPLOYMENT_IS_READY, service.name, str(service.deployment), error)
            )
            deployment = None
        facts[name] = ServiceState(
            probe=probe,
            answers=_answers(probe),
            deployment=deployment,
        )
        findings.append(_judge_service(service, probe))
        findings.extend(_judge_deployment(service, deployment))
    rows = tuple(
        {
            "service": name,
            "state": "deployed" if fact.answers else fact.probe.state,
            "because": fact.probe.reason,
        }
        for name, fact in facts.items()
    )
    judged = or_not_declared(phase, findings, Check.SERVICE_IS_DEPLOYED)
    return Answer(findings=judged, facts=Services(services=facts), rows=rows)


def routes(phase: Phase, sessions: Sessions, *, apply: bool) -> Answer:
    """Probe each route at each of its services: present, absent, or impossible to tell.

    Sends one request per route and service, and a few beside it to paths that cannot exist, without a body;
    `sessions` is not used. Facts: `probes`, one per route and service.
    """
    at_services: list[Finding] = []
    untold: set[str] = set()  # routes that a guard stands before, somewhere
    facts: list[Probe] = []
    for name, service in phase.services.items():
        declared = [r for r in phase.routes if name in r.services]
        safe = [r for r in declared if apply or r.method in SAFE_METHODS]
        try:
            headers = headers_of(service.headers_env)
        except RunbookError as error:
            at_services.extend(
                could_not_run(Check.ROUTE_IS_PRESENT, name, _named(r), error) for r in declared
            )
            continue
        probes = probe_routes(_base_url(service), [(r.method, r.path) for r in safe], headers=headers)
        for route, probe in zip(safe, probes, strict=True):
            at_services.append(_judge_route(service, route, probe))
            facts.append(replace(probe, service=name))
            if probe.state is RouteState.INDISTINCT:
                untold.add(_named(route))
        at_services.extend(_not_probed(name, route) for route in declared if route not in safe)
    served = [_judge_served(route, at_services, untold) for route in phase.routes]
    rows = tuple(
        {"service": f.target, "route": f.object, "state": f.have, "verdict": f.verdict.value}
        for f in at_services
    )
    judged = or_not_declared(phase, (*at_services, *served), Check.ROUTE_IS_PRESENT)
    return Answer(findings=judged, facts=Routes(probes=tuple(facts)), rows=rows)


def source(phase: Phase, sessions: Sessions) -> Answer:
    """Look the routes up in the services' source trees, and say which tables each one is for.

    Reads the JavaScript and TypeScript files of the folders that the phase's `source_env` variables name;
    `sessions` is not used. Facts: per service its tree's name, and per route where it is declared.
    """
    findings: list[Finding] = []
    trees: dict[str, str] = {}
    declared: dict[str, list[Hit]] = {_named(route): [] for route in phase.routes}
    for name, service in phase.services.items():
        if service.source_env is None:
            continue
        folder = os.environ.get(service.source_env)
        trees[name] = Path(folder).name if folder else "not given"
        mine = [route for route in phase.routes if name in route.services]
        try:
            tree = read_tree(Path(folder)) if folder else None
        except RunbookError as error:
            findings.extend(could_not_run(Check.ROUTE_IS_IN_SOURCE, name, _named(r), error) for r in mine)
            continue
        for route in mine:
            hits = tree.find(route.method, route.path) if tree else ()
            findings.append(_judge_source(name, service, route, hits, tree))
            declared[_named(route)].extend(replace(hit, service=name) for hit in hits)
    facts = Sources(
        trees=trees,
        routes=tuple(
            SourceRoute(method=r.method, path=r.path, tables=r.table, hits=tuple(declared[_named(r)]))
            for r in phase.routes
        ),
    )
    rows = tuple(
        {
            "route": _named(route),
            "in the source": ", ".join(f"{hit.file}:{hit.line}" for hit in declared[_named(route)])
            or "not found",
            "tables it is for": ", ".join(route.table),
        }
        for route in phase.routes
    )
    return Answer(findings=or_not_declared(phase, findings, Check.ROUTE_IS_IN_SOURCE), facts=facts, rows=rows)


def _base_url(service: Service) -> str | None:
    return os.environ.get(service.url_env)


def _deployment(service: Service) -> Deployment | None:
    if not service.namespace or not service.deployment:
        return None
    return deployment_state(service.namespace, service.deployment)


def _answers(probe: ServiceProbe) -> bool:
    """Tell whether the service itself answers: a 5xx may be a gateway's word for a service that is not there."""
    return probe.answers and probe.state is not RouteState.SERVER_ERROR


def _judge_service(service: Service, probe: ServiceProbe) -> Finding:
    there = _answers(probe)
    missing = Verdict.FAIL if service.blocking else Verdict.OPEN
    verdict = Verdict.PASS
    if not there:
        verdict = missing if probe.state is RouteState.NOT_DEPLOYED else Verdict.ERROR
    return Finding(
        check=Check.SERVICE_IS_DEPLOYED,
        target=service.name,
        object=service.name,
        have="answers" if there else f"{probe.state}: {probe.reason}",
        want="answers",
        verdict=verdict,
        hint="" if there else f"Deploy it, or let {service.url_env} hold its base URL.",
    )


def _judge_deployment(service: Service, deployment: Deployment | None) -> Iterator[Finding]:
    if deployment is None:
        return
    ready = deployment.exists and deployment.ready >= 1
    have = f"{deployment.ready} of {deployment.replicas} ready" if deployment.exists else "no such Deployment"
    yield Finding(
        check=Check.DEPLOYMENT_IS_READY,
        target=service.name,
        object=f"{service.namespace}/{service.deployment}",
        have=have,
        want="at least one replica ready",
        verdict=Verdict.PASS if ready else Verdict.OPEN,
        hint="" if ready else f"kubectl -n {service.namespace} describe deployment {service.deployment}",
    )


def _judge_route(service: Service, route: Route, probe: Probe) -> Finding:
    """Judge one route at one service. Where it is absent is OPEN: another service may have it.

    So is one that can't be told at a service that does not block.
    """
    verdict = Verdict.OPEN
    if probe.state is RouteState.PRESENT:
        verdict = Verdict.PASS
    elif probe.state in UNTOLD or (probe.state is RouteState.INDISTINCT and service.blocking):
        verdict = Verdict.ERROR
    variable = service.headers_env or "the variable that headers_env of the service names"
    hints = {
        RouteState.INDISTINCT: f"A guard answers for every path: let {variable} hold headers that pass it, such as "
        "`Authorization: Bearer …`, or use a base URL behind it.",
        RouteState.ABSENT: "The deployed version lacks it: deploy the service that has it, or add it here.",
        RouteState.NOT_DEPLOYED: "Deploy the service; see the source for where the route is declared.",
    }
    return Finding(
        check=Check.ROUTE_IS_PRESENT,
        target=service.name,
        object=_named(route),
        have=f"{probe.state}: {probe.reason}",
        want="present",
        verdict=verdict,
        hint=""
        if verdict is Verdict.PASS
        else hints.get(probe.state, "Mend the service, then run this step again."),
    )


def _not_probed(service: str, route: Route) -> Finding:
    return Finding(
        check=Check.ROUTE_IS_PRESENT,
        target=service,
        object=_named(route),
        have="not probed: this run only plans, and a request of this method may act",
        want="present",
        verdict=Verdict.SKIP,
    )


def _judge_served(route: Route, at_services: list[Finding], untold: set[str]) -> Finding:
    """Judge whether any service has the route; ERROR only if none has it and one could not be asked.

    The same where the route blocks and is `untold`: a service's answer does not tell.
    """
    mine = [f for f in at_services if f.object == _named(route)]
    there = [f.target for f in mine if f.verdict is Verdict.PASS]
    verdict = Verdict.PASS if there else worst(mine)
    if verdict is Verdict.OPEN and route.blocking:
        verdict = Verdict.ERROR if _named(route) in untold else Verdict.FAIL
    return Finding(
        check=Check.ROUTE_IS_SERVED,
        target="-",
        object=_named(route),
        have=f"by {', '.join(there)}" if there else "; ".join(f"{f.target}: {f.have}" for f in mine),
        want="by one of " + ", ".join(route.services),
        verdict=verdict,
        hint="" if there else "Deploy a service that has it, or add it to one that is deployed.",
    )


def _judge_source(
    name: str, service: Service, route: Route, hits: tuple[Hit, ...], tree: SourceTree | None
) -> Finding:
    verdict = Verdict.SKIP if tree is None else Verdict.PASS if hits else Verdict.OPEN
    have, hint = ", ".join(f"{hit.file}:{hit.line}" for hit in hits), ""
    if tree is None:
        have = f"not looked up: {service.source_env} is not set"
    elif not hits:
        have, hint = "not found", "Nobody has written it yet, or in a way that the look-up cannot read."
        if tree.unread:
            have += f"; {len(tree.unread)} files not read whole: {', '.join(tree.unread[:MAX_NAMED])}"
    return Finding(
        check=Check.ROUTE_IS_IN_SOURCE,
        target=name,
        object=_named(route),
        have=have,
        want="declared somewhere",
        verdict=verdict,
        hint=hint,
    )


def _named(route: Route) -> str:
    return f"{route.method} {route.path}"
