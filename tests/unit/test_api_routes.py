"""Step 6: services and routes over real HTTP; no database is needed.

The Deployments are read by the official client from a stand-in for the Kubernetes API: a real HTTP server, but not
Kubernetes.
"""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from runbooks_lib.api.probes import siblings
from runbooks_lib.errors import GateClosed
from runbooks_lib.findings import Answer, Finding, Verdict, gate
from runbooks_lib.lab.services import quiet_port
from runbooks_lib.phase import Phase, Service, load_phase
from runbooks_lib.postgres.session.connect import Sessions
from runbooks_lib.steps import api_routes

Decide = Callable[[str, str], int]
PHASE = load_phase("PH15-AMAZON-DB-FOUNDATION-01")
POST = "POST /api/v1/marketplaces/amazon/oauth/start"
GET = "GET /api/v1/marketplaces/amazon/status"
ROUTES = frozenset(f"{route.method} {route.path}" for route in PHASE.routes)
LAB_PROJECT = Path(api_routes.__file__).parent.parent / "lab" / "keybuzz-backend"


class Server(ThreadingHTTPServer):
    """A server that answers as `decide` says, and writes down what it was asked."""

    daemon_threads = True

    def __init__(self, decide: Decide) -> None:
        self.decide = decide
        self.asked: list[tuple[str, str, dict[str, str]]] = []
        super().__init__(("127.0.0.1", 0), Handler)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class Handler(BaseHTTPRequestHandler):
    server: Server

    def _answer(self) -> None:
        self.server.asked.append((self.command, self.path, dict(self.headers)))
        self.send_response(self.server.decide(self.command, self.path))
        self.send_header("Content-Length", "0")
        self.end_headers()

    do_GET = do_POST = do_HEAD = do_OPTIONS = _answer

    def log_message(self, format: str, *args: object) -> None: ...


@contextmanager
def serving(server: ThreadingHTTPServer) -> Iterator[Any]:
    with server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


def nothing(method: str, path: str) -> int:
    return 404


def everything(method: str, path: str) -> int:
    return 200


def guard(method: str, path: str) -> int:
    return 401 if path.startswith("/api/") else 404


def broken(method: str, path: str) -> int:
    return 503


def the_routes(method: str, path: str) -> int:
    return 401 if f"{method} {path}" in ROUTES else 404


def failing_route(method: str, path: str) -> int:
    return 500 if path == GET.split()[1] else 404


def nowhere() -> str:
    return f"http://127.0.0.1:{quiet_port()}"


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """No service is anywhere, no cluster and no source tree is at hand."""
    for name in ("KEYBUZZ_API_URL", "KEYBUZZ_BACKEND_URL", "RUNBOOKS_PRISMA_PROJECT", "KUBECONFIG"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def serve(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Server]]:
    """Start a server and let a variable name it."""
    with ExitStack() as stack:

        def start(decide: Decide, variable: str = "KEYBUZZ_API_URL") -> Server:
            server: Server = stack.enter_context(serving(Server(decide)))
            monkeypatch.setenv(variable, server.url)
            return server

        yield start


def ask(question: Callable[..., Answer], phase: Phase = PHASE, **options: Any) -> Answer:
    with Sessions(phase.targets) as sessions:
        return question(phase, sessions, **options)


def of(answer: Answer, check: str, *, target: str | None = None, object: str | None = None) -> list[Finding]:
    found = [
        f
        for f in answer.findings
        if f.check == check and target in (None, f.target) and object in (None, f.object)
    ]
    assert found, f"no finding of {check} {target} {object}"
    return found


def verdicts(answer: Answer, check: str, **where: str) -> set[Verdict]:
    return {finding.verdict for finding in of(answer, check, **where)}


def with_service(name: str, **changes: Any) -> Phase:
    services = {**PHASE.services, name: replace(PHASE.services[name], **changes)}
    return replace(PHASE, services=services)


def with_routes(**changes: Any) -> Phase:
    return replace(PHASE, routes=tuple(replace(route, **changes) for route in PHASE.routes))


# --- services ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("decide", [nothing, the_routes, guard, everything])
def test_a_service_that_answers_is_deployed(serve: Callable[..., Server], decide: Decide) -> None:
    serve(decide)
    answer = ask(api_routes.services)
    assert verdicts(answer, "service_is_deployed", target="keybuzz-api") == {Verdict.PASS}
    assert answer.facts.services["keybuzz-api"].answers is True
    assert answer.rows[0]["state"] == "deployed"
    gate(answer.findings)


def test_a_service_that_is_down_fails_if_blocking_and_is_open_if_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KEYBUZZ_API_URL", nowhere())
    answer = ask(api_routes.services)
    (api,) = of(answer, "service_is_deployed", target="keybuzz-api")
    (backend,) = of(answer, "service_is_deployed", target="keybuzz-backend")
    assert (api.verdict, backend.verdict) == (Verdict.FAIL, Verdict.OPEN)
    assert "connection refused" in api.have
    assert "no base URL is set" in backend.have
    assert "KEYBUZZ_BACKEND_URL" in backend.hint
    assert [row["state"] for row in answer.rows] == ["not_deployed", "not_deployed"]
    with pytest.raises(GateClosed, match="service_is_deployed keybuzz-api"):
        gate(answer.findings)


def test_a_5xx_may_be_a_gateways_word_for_no_service(serve: Callable[..., Server]) -> None:
    serve(broken)
    answer = ask(api_routes.services)
    (finding,) = of(answer, "service_is_deployed", target="keybuzz-api")
    assert (finding.verdict, finding.have) == (Verdict.ERROR, "server_error: HTTP 503")
    assert answer.facts.services["keybuzz-api"].answers is False
    assert answer.rows[0]["state"] == "server_error"


@pytest.mark.parametrize("url", ["not a url", "ftp://127.0.0.1/"])
def test_a_service_that_could_not_be_asked_is_an_error(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    monkeypatch.setenv("KEYBUZZ_BACKEND_URL", url)
    answer = ask(api_routes.services)
    assert verdicts(answer, "service_is_deployed", target="keybuzz-backend") == {Verdict.ERROR}


def test_what_does_not_speak_http_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as mute:

        def talk() -> None:
            connection, _ = mute.accept()
            with connection:
                connection.recv(1000)
                connection.sendall(b"220 smtp ready\r\n")

        thread = threading.Thread(target=talk)
        thread.start()
        monkeypatch.setenv("KEYBUZZ_BACKEND_URL", f"http://127.0.0.1:{mute.getsockname()[1]}")
        answer = ask(api_routes.services)
        thread.join()
    assert verdicts(answer, "service_is_deployed", target="keybuzz-backend") == {Verdict.ERROR}


# --- Deployments ------------------------------------------------------------------------------------------------


class Kubernetes(ThreadingHTTPServer):
    """A stand-in for the Kubernetes API: it answers for each Deployment with what is put into `answers`."""

    daemon_threads = True

    def __init__(self) -> None:
        self.answers: dict[str, tuple[int, Any]] = {}
        super().__init__(("127.0.0.1", 0), KubernetesHandler)


class KubernetesHandler(BaseHTTPRequestHandler):
    server: Kubernetes

    def do_GET(self) -> None:
        missing = {"kind": "Status", "reason": "NotFound", "code": 404}
        status, content = self.server.answers.get(self.path.rpartition("/")[2], (404, missing))
        body = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None: ...


def deployment(ready: int) -> dict[str, Any]:
    labels = {"app": "a"}
    containers = [{"name": "a", "image": "registry.example/keybuzz-api:1.2"}]
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "spec": {
            "replicas": 2,
            "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels}, "spec": {"containers": containers}},
        },
        "status": {"readyReplicas": ready},
    }


@pytest.fixture
def cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Kubernetes]:
    pytest.importorskip("kubernetes")
    with serving(Kubernetes()) as server:
        config = {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "c",
            "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],
            "clusters": [
                {"name": "c", "cluster": {"server": f"http://127.0.0.1:{server.server_address[1]}"}}
            ],
            "users": [{"name": "u", "user": {"token": "a-token"}}],
        }
        (tmp_path / "kubeconfig").write_text(json.dumps(config))
        monkeypatch.setenv("KUBECONFIG", str(tmp_path / "kubeconfig"))
        yield server


def test_the_state_of_the_deployments(cluster: Kubernetes, serve: Callable[..., Server]) -> None:
    serve(nothing)
    cluster.answers["keybuzz-api"] = (200, deployment(1))
    answer = ask(api_routes.services)
    (api,) = of(answer, "deployment_is_ready", target="keybuzz-api")
    (backend,) = of(answer, "deployment_is_ready", target="keybuzz-backend")
    assert (api.verdict, api.have, api.object) == (Verdict.PASS, "1 of 2 ready", "keybuzz-dev/keybuzz-api")
    assert (backend.verdict, backend.have) == (Verdict.OPEN, "no such Deployment")
    assert "kubectl -n keybuzz-dev describe deployment keybuzz-backend" in backend.hint
    assert answer.facts.services["keybuzz-api"].deployment.image == "registry.example/keybuzz-api:1.2"


def test_a_deployment_without_a_ready_replica_is_open(cluster: Kubernetes) -> None:
    cluster.answers["keybuzz-backend"] = (200, deployment(0))
    (finding,) = of(ask(api_routes.services), "deployment_is_ready", target="keybuzz-backend")
    assert (finding.verdict, finding.have) == (Verdict.OPEN, "0 of 2 ready")


def test_a_cluster_that_refuses_is_an_error(cluster: Kubernetes, serve: Callable[..., Server]) -> None:
    serve(nothing)
    cluster.answers["keybuzz-api"] = (403, {"kind": "Status", "reason": "Forbidden"})
    answer = ask(api_routes.services)
    (finding,) = of(answer, "deployment_is_ready", target="keybuzz-api")
    assert finding.verdict is Verdict.ERROR
    assert "HTTP 403" in finding.have
    assert answer.facts.services["keybuzz-api"].deployment is None
    assert verdicts(answer, "service_is_deployed", target="keybuzz-api") == {Verdict.PASS}


def test_without_a_kubeconfig_or_a_declared_deployment_nobody_is_asked(cluster: Kubernetes) -> None:
    phase = with_service("keybuzz-api", namespace=None)
    phase = replace(phase, services={"keybuzz-api": phase.services["keybuzz-api"]})
    assert not [f for f in ask(api_routes.services, phase).findings if f.check == "deployment_is_ready"]


# --- routes -----------------------------------------------------------------------------------------------------


@contextmanager
def stand_in(*options: str) -> Iterator[str]:
    """Run the lab's stand-in API as its own process."""
    port = quiet_port()
    command = [sys.executable, "-m", "runbooks_lib.lab.api", "--port", str(port), *options]
    process = subprocess.Popen(command)
    try:
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline:
            with socket.socket() as knock:
                if knock.connect_ex(("127.0.0.1", port)) == 0:
                    break
            time.sleep(0.02)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(10)


def test_the_report_of_january_all_four_routes_are_absent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KEYBUZZ_BACKEND_URL", nowhere())
    with stand_in() as url:
        monkeypatch.setenv("KEYBUZZ_API_URL", url)
        answer = ask(api_routes.routes, apply=True)
    assert {f.object for f in of(answer, "route_is_served")} == ROUTES
    assert verdicts(answer, "route_is_served") == verdicts(answer, "route_is_present") == {Verdict.OPEN}
    assert {f.have for f in of(answer, "route_is_present", target="keybuzz-api")} == {"absent: HTTP 404"}
    assert all(
        "connection refused" in f.have for f in of(answer, "route_is_present", target="keybuzz-backend")
    )
    assert len(answer.facts.probes) == 8
    gate(answer.findings)


def test_routes_that_one_service_has_are_served(monkeypatch: pytest.MonkeyPatch) -> None:
    with stand_in("--with-amazon-routes") as url:
        monkeypatch.setenv("KEYBUZZ_API_URL", url)
        answer = ask(api_routes.routes, with_routes(blocking=True), apply=True)
    assert verdicts(answer, "route_is_served") == {Verdict.PASS}
    assert verdicts(answer, "route_is_present", target="keybuzz-api") == {Verdict.PASS}
    assert verdicts(answer, "route_is_present", target="keybuzz-backend") == {Verdict.OPEN}
    assert {f.have for f in of(answer, "route_is_served")} == {"by keybuzz-api"}
    gate(answer.findings)


@pytest.mark.parametrize(("blocking", "verdict"), [(True, Verdict.FAIL), (False, Verdict.OPEN)])
def test_a_route_that_nobody_has(serve: Callable[..., Server], blocking: bool, verdict: Verdict) -> None:
    serve(nothing)
    answer = ask(api_routes.routes, with_routes(blocking=blocking), apply=True)
    assert verdicts(answer, "route_is_served") == {verdict}
    (finding,) = of(answer, "route_is_served", object=GET)
    assert finding.want == "by one of keybuzz-api, keybuzz-backend"
    assert "keybuzz-api: absent: HTTP 404; keybuzz-backend: not_deployed" in finding.have


@pytest.mark.parametrize("decide", [everything, guard])
def test_a_gateway_that_answers_for_everything_tells_nothing(
    serve: Callable[..., Server], decide: Decide
) -> None:
    serve(decide)
    answer = ask(api_routes.routes, apply=True)
    assert verdicts(answer, "route_is_present", target="keybuzz-api") == {Verdict.ERROR}
    assert verdicts(answer, "route_is_served") == {Verdict.ERROR}
    with pytest.raises(GateClosed, match="cannot exist"):
        gate(answer.findings)


@pytest.mark.parametrize(
    ("service_blocks", "route_blocks", "at_service", "served"),
    [
        (True, False, Verdict.ERROR, Verdict.ERROR),
        (False, False, Verdict.OPEN, Verdict.OPEN),
        (False, True, Verdict.OPEN, Verdict.ERROR),
    ],
)
def test_what_cannot_be_told_is_as_bad_as_the_service_says(
    serve: Callable[..., Server],
    service_blocks: bool,
    route_blocks: bool,
    at_service: Verdict,
    served: Verdict,
) -> None:
    serve(guard)
    phase = with_service("keybuzz-api", blocking=service_blocks)
    phase = replace(phase, routes=tuple(replace(route, blocking=route_blocks) for route in phase.routes))
    answer = ask(api_routes.routes, phase, apply=True)
    assert verdicts(answer, "route_is_present", target="keybuzz-api") == {at_service}
    assert verdicts(answer, "route_is_served") == {served}
    hints = {f.hint for f in of(answer, "route_is_present", target="keybuzz-api")}
    assert all("headers_env" in hint and "Bearer" in hint for hint in hints)


def test_headers_of_the_environment_tell_a_guarded_route(
    serve: Callable[..., Server], monkeypatch: pytest.MonkeyPatch
) -> None:
    server = serve(guard)
    decide = server.decide

    def with_headers(method: str, path: str) -> int:
        passed = server.asked[-1][2].get("Authorization") == "Bearer hunter2"
        return the_routes(method, path) if passed else decide(method, path)

    server.decide = with_headers
    phase = with_service("keybuzz-api", headers_env="KEYBUZZ_API_HEADERS")
    monkeypatch.setenv("KEYBUZZ_API_HEADERS", "Authorization: Bearer hunter2")
    answer = ask(api_routes.routes, phase, apply=True)
    assert verdicts(answer, "route_is_present", target="keybuzz-api") == {Verdict.PASS}
    assert "hunter2" not in repr((answer, ask(api_routes.services, phase)))
    monkeypatch.setenv("KEYBUZZ_API_HEADERS", "Bearer hunter2")
    for question, check, options in (
        (api_routes.services, "service_is_deployed", {}),
        (api_routes.routes, "route_is_present", {"apply": True}),
    ):
        answer = ask(question, phase, **options)
        assert verdicts(answer, check, target="keybuzz-api") == {Verdict.ERROR}
        assert "KEYBUZZ_API_HEADERS" in of(answer, check, target="keybuzz-api")[0].have
        assert "hunter2" not in repr(answer)
    monkeypatch.delenv("KEYBUZZ_API_HEADERS")
    (finding, *_) = of(ask(api_routes.routes, phase, apply=True), "route_is_present", target="keybuzz-api")
    assert "let KEYBUZZ_API_HEADERS hold headers" in finding.hint


def test_a_route_that_fails_is_an_error_and_the_others_are_not(serve: Callable[..., Server]) -> None:
    serve(failing_route)
    answer = ask(api_routes.routes, apply=True)
    assert verdicts(answer, "route_is_present", target="keybuzz-api", object=GET) == {Verdict.ERROR}
    assert verdicts(answer, "route_is_served", object=GET) == {Verdict.ERROR}
    assert verdicts(answer, "route_is_served", object=POST) == {Verdict.OPEN}


def test_a_service_that_is_broken_tells_nothing(serve: Callable[..., Server]) -> None:
    serve(broken)
    answer = ask(api_routes.routes, apply=True)
    assert verdicts(answer, "route_is_served") == {Verdict.ERROR}


def test_a_plan_sends_nothing_that_may_act(serve: Callable[..., Server]) -> None:
    server = serve(the_routes)
    answer = ask(api_routes.routes, apply=False)
    assert {method for method, _, _ in server.asked} == {"GET"}
    (at_api,) = of(answer, "route_is_present", target="keybuzz-api", object=POST)
    assert at_api.verdict is Verdict.SKIP
    assert "this run only plans" in at_api.have
    assert verdicts(answer, "route_is_served", object=POST) == {Verdict.SKIP}
    assert verdicts(answer, "route_is_served", object=GET) == {Verdict.PASS}
    assert len(answer.facts.probes) == 6


def test_what_is_sent_has_no_body_and_no_credentials(
    serve: Callable[..., Server], monkeypatch: pytest.MonkeyPatch
) -> None:
    server = serve(the_routes)
    monkeypatch.setenv("KEYBUZZ_API_URL", server.url.replace("://", "://somebody:secret@"))
    answer = ask(api_routes.routes, apply=True)
    assert verdicts(answer, "route_is_served") == {Verdict.PASS}
    posts = [(path, headers) for method, path, headers in server.asked if method == "POST"]
    assert len(posts) == 2 + len(
        siblings(*POST.split())
    )  # the route, and what cannot exist below and beside it
    for _, headers in posts:
        assert headers.get("Content-Length", "0") == "0"
        assert not {"Authorization", "Cookie"} & set(headers)
    assert "secret" not in repr(answer)


# --- source -----------------------------------------------------------------------------------------------------


def test_the_source_has_the_routes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RUNBOOKS_PRISMA_PROJECT", str(LAB_PROJECT))
    answer = ask(api_routes.source)
    assert verdicts(answer, "route_is_in_source") == {Verdict.PASS}
    assert {f.target for f in answer.findings} == {"keybuzz-backend"}
    assert {f.object for f in answer.findings} == ROUTES
    assert answer.facts.trees == {"keybuzz-backend": "keybuzz-backend"}
    assert all("amazon.routes.ts:" in row["in the source"] for row in answer.rows)
    assert answer.rows[2]["tables it is for"] == "public.OAuthState, public.MarketplaceConnection"


def test_a_source_without_the_route_is_open(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.ts").write_text("router.get('/api/v1/marketplaces/amazon/status', status)\n")
    monkeypatch.setenv("RUNBOOKS_PRISMA_PROJECT", str(tmp_path))
    answer = ask(api_routes.source)
    assert verdicts(answer, "route_is_in_source", object=GET) == {Verdict.PASS}
    (finding,) = of(answer, "route_is_in_source", object=POST)
    assert (finding.verdict, finding.have) == (Verdict.OPEN, "not found")
    assert finding.hint


def test_sources_that_were_not_read_whole_are_named_where_a_route_is_not_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a.ts").write_text("router.get('/api/v1/marketplaces/amazon/status', status)\n")
    (tmp_path / "b.ts").write_text("class {{ (\n")
    monkeypatch.setenv("RUNBOOKS_PRISMA_PROJECT", str(tmp_path))
    answer = ask(api_routes.source)
    assert of(answer, "route_is_in_source", object=GET)[0].have == "a.ts:1"
    (finding,) = of(answer, "route_is_in_source", object=POST)
    assert (finding.verdict, finding.have) == (Verdict.OPEN, "not found; 1 files not read whole: b.ts")


def test_a_source_that_is_not_given_is_skipped() -> None:
    answer = ask(api_routes.source)
    assert verdicts(answer, "route_is_in_source") == {Verdict.SKIP}
    assert "RUNBOOKS_PRISMA_PROJECT is not set" in answer.findings[0].have
    assert answer.facts.trees == {"keybuzz-backend": "not given"}


def test_a_source_that_cannot_be_read_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RUNBOOKS_PRISMA_PROJECT", str(tmp_path / "none"))
    answer = ask(api_routes.source)
    assert verdicts(answer, "route_is_in_source") == {Verdict.ERROR}
    with pytest.raises(GateClosed, match="is not a folder"):
        gate(answer.findings)


def test_a_phase_whose_services_name_no_source_is_skipped() -> None:
    service: Service = PHASE.services["keybuzz-api"]
    phase = replace(PHASE, services={"keybuzz-api": service}, routes=())
    (finding,) = ask(api_routes.source, phase).findings
    assert (finding.verdict, finding.have) == (
        Verdict.SKIP,
        "the phase declares no routes of services with a source tree",
    )
