"""What steps 5 to 7 found out: rows, routes, the last look and the checklist."""

from __future__ import annotations

from enum import StrEnum
from typing import Any, ClassVar

from runbooks_lib.facts.base import Facts
from runbooks_lib.facts.databases import Lag, Schema
from runbooks_lib.findings import Finding, Verdict
from runbooks_lib.typed import Typed


class SeedFact(Typed):
    """A declared row of a table: what stands there; None when it is missing."""

    target: str
    table: str
    tenant: str | None
    row: dict[str, Any] | None


class SeedFacts(Facts):
    """seed_verification.rows: single rows; and per target and tenant of a file how many rows of which kind there are.

    A set has target, table, tenant and `declared`; its other keys are kinds, such as missing or different. `others`
    says, by target and table of a file, which rows nobody declared, in words; "" for none.
    """

    QUESTION: ClassVar = ("seed_verification", "rows")
    rows: tuple[SeedFact, ...] = ()
    sets: tuple[dict[str, Any], ...] = ()
    others: dict[str, dict[str, str]] = {}


class RowCounts(Facts):
    """seed_verification.row_counts: the number of rows by target and table."""

    QUESTION: ClassVar = ("seed_verification", "row_counts")
    rows: dict[str, dict[str, int]] = {}


class RouteState(StrEnum):
    """What a service says about one route."""

    PRESENT = "present"
    ABSENT = "absent"
    NOT_DEPLOYED = "not_deployed"  # no base URL, no such host, or nobody listens
    UNREACHABLE = "unreachable"  # could not be checked: time-out, TLS, no route, no HTTP
    SERVER_ERROR = "server_error"
    INDISTINCT = "indistinct"  # could not be told: paths that cannot exist get the same answer


class ServiceProbe(Typed):
    """What a service answers to a path that cannot exist; `reason` is one line without credentials.

    `state` is ABSENT for a service that answers as it should, INDISTINCT for one that has an answer to everything.
    """

    state: RouteState
    status: int | None
    reason: str
    duration_ms: float

    @property
    def answers(self) -> bool:
        """Whether anything at all came back over HTTP."""
        return self.status is not None


class Deployment(Typed):
    """The state of one Deployment; `image` joins its containers' images, without credentials.

    `available` is the Deployment's own condition, None where Kubernetes has not set it yet.
    """

    namespace: str
    name: str
    exists: bool
    replicas: int = 0
    ready: int = 0
    image: str | None = None
    available: bool | None = None


class ServiceState(Typed):
    """Whether a service answers, and its Deployment (None: not asked)."""

    probe: ServiceProbe
    answers: bool
    deployment: Deployment | None = None


class Services(Facts):
    """api_routes.services: the state of each service."""

    QUESTION: ClassVar = ("api_routes", "services")
    services: dict[str, ServiceState] = {}


class Probe(ServiceProbe):
    """What one request for one route came to at a service."""

    method: str
    path: str
    service: str = ""


class Routes(Facts):
    """api_routes.routes: one reply for each route and service."""

    QUESTION: ClassVar = ("api_routes", "routes")
    probes: tuple[Probe, ...] = ()


class Match(StrEnum):
    """How the route in the source resembles the wanted one, the surest first."""

    EXACT = "exact"
    PARAMETER = "parameter"  # a parameter in the source stands where the wanted path has a word
    SUFFIX = "suffix"  # the source has the end of the path; its prefix is registered elsewhere


class Hit(Typed):
    """One place that declares a route: `file` is relative to the tree, `path` is as found there."""

    file: str
    line: int
    text: str
    path: str
    match: Match
    service: str = ""


class SourceRoute(Typed):
    """A route, the tables that it is for, and where it is declared."""

    method: str
    path: str
    tables: tuple[str, ...] = ()
    hits: tuple[Hit, ...] = ()


class Sources(Facts):
    """api_routes.source: the name of each service's tree, and where each route is declared."""

    QUESTION: ClassVar = ("api_routes", "source")
    trees: dict[str, str] = {}
    routes: tuple[SourceRoute, ...] = ()


class LastLook(Schema):
    """report.last_look: what each target holds at the end, and the lag of each standby."""

    QUESTION: ClassVar = ("report", "last_look")
    lag: dict[str, Lag] = {}


class Signature(Typed):
    """Who signed an item of the checklist off (counted from 0), when, and what they saw."""

    item: int
    by: str
    note: str
    at: str
    text: dict[str, str] = {}


class SignOff(Facts):
    """report.sign_off: the signatures."""

    QUESTION: ClassVar = ("report", "sign_off")
    signed: tuple[Signature, ...] = ()

    @property
    def by_item(self) -> dict[int, Signature]:
        """Return the signatures by the number of their item."""
        return {signature.item: signature for signature in self.signed}


class Box(Typed):
    """An item of the checklist: how many findings it was `judged` by and how many of them `passed`, and which did not.

    `unseen` are the checks and targets that no finding is of; `text` and `reason` are by language.
    """

    text: dict[str, str]
    reason: dict[str, str] | None
    ticked: bool
    verdict: Verdict
    have: str
    judged: int
    passed: int
    not_passed: tuple[Finding, ...] = ()
    unseen: tuple[str, ...] = ()


class Checklist(Facts):
    """report.checklist: the items as they were judged."""

    QUESTION: ClassVar = ("report", "checklist")
    items: tuple[Box, ...] = ()


class ReportFile(Typed):
    """A report that was written."""

    file: str
    sha256: str


class Reports(Facts):
    """report.write: the report in each language."""

    QUESTION: ClassVar = ("report", "write")
    files: dict[str, ReportFile] = {}
