"""A stand-in for the deployed keybuzz-api: a real HTTP server that lacks the four Amazon routes.

`python -m runbooks_lib.lab.api --port PORT` serves on 127.0.0.1 until SIGTERM or Ctrl-C.
Everything but the status codes of the routes is made up.
"""

from __future__ import annotations

import argparse
import json
import signal
import sys
from collections.abc import Mapping
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import FrameType
from typing import Any

Answer = tuple[HTTPStatus, Mapping[str, Any]]

MAX_BODY_BYTES = 1_000_000

ROUTES: Mapping[tuple[str, str], Answer] = {
    ("GET", "/health"): (HTTPStatus.OK, {"status": "ok", "service": "keybuzz-api (stand-in)"}),
    ("GET", "/api/v1/tenants"): (HTTPStatus.OK, {"tenants": ["tenant_test_dev", "kbz_test"]}),
    ("GET", "/api/v1/orders"): (HTTPStatus.UNAUTHORIZED, {"error": "Unauthorized"}),
}
AMAZON_ROUTES: Mapping[tuple[str, str], Answer] = {
    ("GET", "/api/v1/inbound-email/connections"): (HTTPStatus.UNAUTHORIZED, {"error": "Unauthorized"}),
    ("GET", "/api/v1/marketplaces/amazon/status"): (HTTPStatus.UNAUTHORIZED, {"error": "Unauthorized"}),
    ("POST", "/api/v1/marketplaces/amazon/oauth/start"): (HTTPStatus.UNAUTHORIZED, {"error": "Unauthorized"}),
    ("GET", "/api/v1/marketplaces/amazon/oauth/callback"): (HTTPStatus.BAD_REQUEST, {"error": "no state"}),
}


class KeybuzzApi(ThreadingHTTPServer):
    """The server; `routes` maps (method, path) to the answer. Port 0 takes a free one."""

    daemon_threads = True

    def __init__(self, port: int, *, with_amazon_routes: bool = False) -> None:
        self.routes = {**ROUTES, **(AMAZON_ROUTES if with_amazon_routes else {})}
        super().__init__(("127.0.0.1", port), _Handler)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Stay quiet about clients that went away; anything else is a fault and is shown."""
        if not isinstance(sys.exc_info()[1], ConnectionError):
            super().handle_error(request, client_address)


class _Handler(BaseHTTPRequestHandler):
    server: KeybuzzApi
    server_version = "keybuzz-api-stand-in"
    sys_version = ""
    timeout = 30  # seconds for a client to send its request

    def _answer(self) -> None:
        path = self.path.partition("?")[0]
        status, content = self.server.routes.get(
            (self.command, path), (HTTPStatus.NOT_FOUND, {"error": "Not Found", "path": path})
        )
        self._drop_body()
        body = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    do_GET = do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = do_OPTIONS = _answer

    def _drop_body(self) -> None:
        """Read what the client sends, or closing the connection would lose the answer."""
        length = self.headers.get("Content-Length", "0")
        if length.isdecimal():
            self.rfile.read(min(int(length), MAX_BODY_BYTES))

    def log_message(self, format: str, *args: Any) -> None:
        """Stay quiet."""


def _stop(signum: int, frame: FrameType | None) -> None:
    raise SystemExit(0)


def main(argv: list[str] | None = None) -> int:
    """Serve until SIGTERM or Ctrl-C; returns 4 when the port cannot be had."""
    parser = argparse.ArgumentParser(prog="python -m runbooks_lib.lab.api", description=__doc__)
    parser.add_argument("--port", type=int, required=True, help="port on 127.0.0.1")
    parser.add_argument("--with-amazon-routes", action="store_true", help="serve the four Amazon routes too")
    options = parser.parse_args(argv)
    signal.signal(signal.SIGTERM, _stop)
    signal.signal(signal.SIGINT, _stop)
    try:
        server = KeybuzzApi(options.port, with_amazon_routes=options.with_amazon_routes)
    except (OSError, OverflowError) as error:
        print(f"Port {options.port} of 127.0.0.1 cannot be had: {error}. Choose a free one.", file=sys.stderr)
        return 4
    with server:
        server.serve_forever()
    return 0


if __name__ == "__main__":
    sys.exit(main())
