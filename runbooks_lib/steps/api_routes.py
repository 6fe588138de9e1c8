"""Step 6, API routes: which deployed service has the routes that the new tables are for?

Each function answers one question of `06_api_routes.ipynb`. Base URLs come from the environment variables that the
phase names. Methods other than GET, HEAD and OPTIONS are sent only with apply=True: a probe carries no credentials
and no body, and yet a POST may act.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

from runbooks_lib.errors import RunbookError
from runbooks_lib.findings import Answer, Finding, Verdict, could_not_run
from runbooks_lib.phase import Phase, Route, Service
from runbooks_lib.postgres.connect import Sessions
from runbooks_lib.services.deployments import Deployment, deployment_state
from runbooks_lib.services.http import Probe, RouteState, ServiceProbe, probe_routes, probe_service
from runbooks_lib.services.source import Hit, find_route

SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
UNTOLD = frozenset({RouteState.UNREACHABLE, RouteState.INDISTINCT, RouteState.SERVER_ERROR})


def services(phase: Phase, sessions: Sessions) -> Answer:
    """Ask each declared service whether it is there: over HTTP, and at Kubernetes where a kubeconfig is at hand.

    Sends one GET for a path that cannot exist to each service; `sessions` is not used.
    Facts: per service its probe and its Deployment's state (None: not asked).
    """
    findings: list[Finding] = []
    facts: dict[str, Any] = {}
    for name, service in phase.services.items():
        probe = probe_service(_base_url(service))
        try:
            deployment = _deployment(service)
        except RunbookError as error:
            findings.append(
                could_not_run("deployment_is_ready", service.name, str(service.deployment), error)
            )
            deployment = None
        facts[name] = {
            "probe": asdict(probe),
            "answers": probe.answers,
            "deployment": None if deployment is None else asdict(deployment),
        }
        findings.append(_judge_service(phase, service, probe))
        findings.extend(_judge_deployment(service, deployment))
    rows = tuple(
        {
            "service": name,
            "state": "deployed" if fact["answers"] else fact["probe"]["state"],
            "because": fact["probe"]["reason"],
        }
        for name, fact in facts.items()
    )
    return Answer(findings=tuple(findings), facts={"services": facts}, rows=rows)


def routes(phase: Phase, sessions: Sessions, *, apply: bool) -> Answer:
    """Probe each route at each of its services: present, absent, or impossible to tell.

    Sends one request per route and service, without credentials or body; `sessions` is not used.
    Facts: `probes`, one per route and service.
    """
    findings: list[Finding] = []
    facts: list[dict[str, Any]] = []
    for name, service in phase.services.items():
        declared = [r for r in phase.routes if name in r.services]
        safe = [r for r in declared if apply or r.method in SAFE_METHODS]
        probes = probe_routes(_base_url(service), [(r.method, r.path) for r in safe])
        for route, probe in zip(safe, probes, strict=True):
            findings.append(_judge_route(name, route, probe))
            facts.append({"service": name, **asdict(probe)})
        findings.extend(_not_probed(name, route) for route in declared if route not in safe)
    rows = tuple(
        {"service": f.target, "route": f.object.split(" @ ")[0], "state": f.have, "verdict": f.verdict.value}
        for f in findings
    )
    return Answer(findings=tuple(findings), facts={"probes": facts}, rows=rows)


def source(phase: Phase, sessions: Sessions, *, tree: Path | None) -> Answer:
    """Look the routes up in a source tree, and say which tables each one is for.

    Reads the tree's JavaScript and TypeScript files; `sessions` is not used.
    Facts: `tree`, and per route the places that declare it and the tables that it serves.
    """
    findings: list[Finding] = []
    facts: list[dict[str, Any]] = []
    for route in phase.routes:
        hits: tuple[Hit, ...] = ()
        if tree is None:
            findings.append(_no_tree(route))
        else:
            try:
                hits = find_route(tree, route.method, route.path)
            except RunbookError as error:
                findings.append(could_not_run("route_is_in_source", "source", _named(route), error))
                continue
            findings.append(_judge_source(route, hits))
        facts.append(
            {
                "method": route.method,
                "path": route.path,
                "tables": list(route.table),
                "hits": [asdict(hit) for hit in hits],
            }
        )
    rows = tuple(
        {
            "route": f"{fact['method']} {fact['path']}",
            "in the source": ", ".join(f"{hit['file']}:{hit['line']}" for hit in fact["hits"]) or "not found",
            "tables it is for": ", ".join(fact["tables"]),
        }
        for fact in facts
    )
    return Answer(
        findings=tuple(findings), facts={"tree": tree.name if tree else None, "routes": facts}, rows=rows
    )


def _base_url(service: Service) -> str | None:
    return os.environ.get(service.url_env)


def _deployment(service: Service) -> Deployment | None:
    if not service.namespace or not service.deployment:
        return None
    return deployment_state(service.namespace, service.deployment)


def _blocking(phase: Phase, service: str) -> bool:
    return any(route.blocking for route in phase.routes if service in route.services)


def _judge_service(phase: Phase, service: Service, probe: ServiceProbe) -> Finding:
    missing = Verdict.FAIL if _blocking(phase, service.name) else Verdict.OPEN
    verdict = Verdict.PASS
    if not probe.answers:
        verdict = missing if probe.state is RouteState.NOT_DEPLOYED else Verdict.ERROR
    return Finding(
        check="service_is_deployed",
        target=service.name,
        object=service.name,
        have="answers" if probe.answers else f"{probe.state}: {probe.reason}",
        want="answers",
        verdict=verdict,
        hint="" if probe.answers else f"Deploy it, or let {service.url_env} hold its base URL.",
    )


def _judge_deployment(service: Service, deployment: Deployment | None) -> Iterator[Finding]:
    if deployment is None:
        return
    ready = deployment.exists and deployment.ready >= 1
    have = f"{deployment.ready} of {deployment.replicas} ready" if deployment.exists else "no such Deployment"
    yield Finding(
        check="deployment_is_ready",
        target=service.name,
        object=f"{service.namespace}/{service.deployment}",
        have=have,
        want="at least one replica ready",
        verdict=Verdict.PASS if ready else Verdict.OPEN,
        hint="" if ready else f"kubectl -n {service.namespace} describe deployment {service.deployment}",
    )


def _judge_route(service: str, route: Route, probe: Probe) -> Finding:
    verdict = Verdict.FAIL if route.blocking else Verdict.OPEN
    if probe.state is RouteState.PRESENT:
        verdict = Verdict.PASS
    elif probe.state in UNTOLD:
        verdict = Verdict.ERROR
    hints = {
        RouteState.ABSENT: "The deployed version lacks it: deploy the service that has it, or add it here.",
        RouteState.NOT_DEPLOYED: "Deploy the service; see the source for where the route is declared.",
    }
    return Finding(
        check="route_is_present",
        target=service,
        object=f"{_named(route)} @ {service}",
        have=f"{probe.state}: {probe.reason}",
        want="present",
        verdict=verdict,
        hint=""
        if verdict is Verdict.PASS
        else hints.get(probe.state, "Mend the service, then run this step again."),
    )


def _not_probed(service: str, route: Route) -> Finding:
    return Finding(
        check="route_is_present",
        target=service,
        object=f"{_named(route)} @ {service}",
        have="not probed: this run only plans, and a request of this method may act",
        want="present",
        verdict=Verdict.SKIP,
    )


def _judge_source(route: Route, hits: tuple[Hit, ...]) -> Finding:
    return Finding(
        check="route_is_in_source",
        target="source",
        object=_named(route),
        have=", ".join(f"{hit.file}:{hit.line}" for hit in hits) or "not found",
        want="declared somewhere",
        verdict=Verdict.PASS if hits else Verdict.OPEN,
        hint=""
        if hits
        else "Nobody has written it yet, or it is declared in a way that the look-up cannot read.",
    )


def _no_tree(route: Route) -> Finding:
    return Finding(
        check="route_is_in_source",
        target="source",
        object=_named(route),
        have="not looked up: no source tree was given",
        want="declared somewhere",
        verdict=Verdict.SKIP,
    )


def _named(route: Route) -> str:
    return f"{route.method} {route.path}"
