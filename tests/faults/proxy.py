"""A line to a server that fails on demand: a TCP proxy that knows in which phase of PostgreSQL's protocol it is."""

from __future__ import annotations

import socket
import struct
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Literal

Phase = Literal["connect", "startup", "password", "greeting", "question", "answer"]
Fault = Literal["cut", "black hole", "half-open"]
RESET = struct.pack("ii", 1, 0)  # SO_LINGER: close with an RST
CHUNK = 65536


class Line:
    """Forwards to a server's port; while it is `broken`, the fault comes in its phase of every connection.

    `delay_s` holds up every packet each way; `bytes_at_once` has answers trickle, a few bytes at a time.
    """

    def __init__(self, port: int) -> None:
        self.to = port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._open: list[socket.socket] = []
        self._silent: set[socket.socket] = set()  # clients that hear nothing more, not even an end
        self.port: int = self._listener.getsockname()[1]
        self.phase: Phase | None = None
        self.fault: Fault = "cut"
        self.delay_s = 0.0
        self.bytes_at_once = CHUNK
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        """Close the line and all that goes over it."""
        self.phase = None
        for each in (self._listener, *self._open):
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()

    def broken(self, phase: Phase, fault: Fault) -> None:
        """Have the fault come in this phase from now on."""
        self.phase, self.fault = phase, fault

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client = self._listener.accept()[0]
                self._open.append(client)
                threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        with suppress(OSError):
            try:
                server = socket.create_connection(("127.0.0.1", self.to))
            except OSError:
                client.close()
                raise
            self._open.append(server)
            if self.phase == "connect":
                self._break(client, server)
                return
            threading.Thread(target=self._answers, args=(client, server), daemon=True).start()
            self._questions(client, server)

    def _questions(self, client: socket.socket, server: socket.socket) -> None:
        with suppress(OSError):
            seen: Phase = "startup"
            while data := client.recv(CHUNK):
                if data[:1] == b"p":
                    seen = "password"
                elif seen != "startup" or data[:1] in b"QPBS":
                    seen = "question"
                if seen == self.phase:
                    self._break(client, server)
                    return
                time.sleep(self.delay_s)
                server.sendall(data)
                seen = "password" if seen == "startup" else seen
            server.shutdown(socket.SHUT_WR)

    def _answers(self, client: socket.socket, server: socket.socket) -> None:
        with suppress(OSError):
            ready = False
            while data := server.recv(CHUNK):
                greets = not ready and data.endswith(b"Z\x00\x00\x00\x05I")
                if (self.phase == "greeting" and greets) or (self.phase == "answer" and ready):
                    client.sendall(data[: len(data) // 2])
                    self._break(client, server)
                    return
                ready = ready or greets
                time.sleep(self.delay_s)
                for start in range(0, len(data), self.bytes_at_once):
                    client.sendall(data[start : start + self.bytes_at_once])
                    if self.bytes_at_once < CHUNK:
                        time.sleep(0.001)
            if client not in self._silent:
                client.shutdown(socket.SHUT_WR)

    def _break(self, client: socket.socket, server: socket.socket) -> None:
        """Cut both ends off; or stay silent, with the server connected ("black hole") or gone ("half-open")."""
        if self.fault != "cut":
            self._silent.add(client)
        ends = {"cut": (client, server), "black hole": (), "half-open": (server,)}[self.fault]
        for each in ends:
            each.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()


@contextmanager
def line(
    env: Mapping[str, str], port: int, folder: Path, **more: object
) -> Iterator[tuple[Line, dict[str, str]]]:
    """Put a line before a lab's server; yield it, and the variables by which the lab's services lead through it.

    `more` are parameters of libpq for the services that lead there.
    """
    made = Line(port)
    own = {}
    for name in ("PGSERVICEFILE", "PGPASSFILE"):
        text = Path(env[name]).read_text("utf-8")
        wanted = "".join(f"{key}={value}\n" for key, value in more.items())
        text = text.replace(f"port={port}\n", f"port={made.port}\n{wanted}")
        text = text.replace(f"127.0.0.1:{port}:", f"127.0.0.1:{made.port}:")
        (folder / name).write_text(text)
        (folder / name).chmod(0o600)
        own[name] = str(folder / name)
    try:
        yield made, own
    finally:
        made.close()
