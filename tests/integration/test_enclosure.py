"""Scratch servers: what code in them can reach, where the machine has all, some or none of what encloses them."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from runbooks_lib.errors import LabError
from runbooks_lib.postgres.scratch import enclosure as module
from runbooks_lib.postgres.scratch.account import server_account
from runbooks_lib.postgres.scratch.cluster import Cluster
from runbooks_lib.postgres.scratch.enclosure import enclosure
from runbooks_lib.postgres.scratch.scratch import scratch
from runbooks_lib.postgres.session.connect import Connection

WAYS = {
    "bubblewrap": ("bwrap", "unshare", "setpriv", "prlimit"),
    "namespaces": ("unshare", "setpriv", "prlimit"),
    "no_new_privs": ("setpriv", "prlimit"),
    "nothing": (),
}


@pytest.fixture(params=WAYS)
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The machine has no more than some programs."""
    allowed = (*WAYS[request.param], "true")
    monkeypatch.setattr(module, "which", lambda name: shutil.which(name) if name in allowed else None)
    enclosure.cache_clear()
    first = WAYS[request.param][:1]
    if first and first[0] not in (Path(tool).name for tool in enclosure(server_account()).tools):
        enclosure.cache_clear()
        pytest.skip(f"{first[0]} is not here, or is refused what it needs")
    yield request.param
    enclosure.cache_clear()


def output(conn: Connection, command: str) -> list[str]:
    """Run a command on the server's machine, as only a superuser can."""
    conn.execute("CREATE TEMP TABLE IF NOT EXISTS said (line text); TRUNCATE said")
    conn.execute(f"COPY said FROM PROGRAM '({command}) 2>&1; true' WITH (DELIMITER E'\\x01')".encode())
    return [row["line"] for row in conn.execute("SELECT line FROM said").fetchall()]


def test_what_a_program_of_a_scratch_server_can_do(way: str, tmp_path: Path) -> None:
    outside = Path("/var/tmp") / f"runbooks-canary-{tmp_path.name}-{way}"
    try:
        with scratch() as copy, copy.connect("template1") as conn:
            assert output(conn, "cat PG_VERSION") == [str(copy.cluster.programs.major)]
            privileges = output(conn, "grep NoNewPrivs /proc/self/status")
            assert privileges[0].split()[1] == ("0" if way == "nothing" else "1")
            output(conn, f"touch {outside}; touch inside")
            assert (copy.cluster.data / "inside").exists()
            assert outside.exists() is (way != "bubblewrap")
            interfaces = {line.split(":")[0].strip() for line in output(conn, "tail -n +3 /proc/net/dev")}
            assert (interfaces == {"lo"}) is (way in ("bubblewrap", "namespaces"))
            limits = {
                line[:26].strip(): line[26:].split()[0] for line in output(conn, "cat /proc/self/limits")
            }
            assert (limits["Max file size"] == str(module.FILE_BYTES)) is (way != "nothing")
            assert (limits["Max address space"] == str(module.MEMORY_BYTES)) is (way != "nothing")
            pid = copy.cluster.pid()
        assert pid is not None
        assert not Path(f"/proc/{pid}").exists()
    finally:
        outside.unlink(missing_ok=True)


def test_what_is_refused_is_told_apart_from_what_is_not_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A container that refuses namespaces: the programs are there, and fail."""
    for name in ("bwrap", "unshare"):
        (tmp_path / name).write_text("#!/bin/sh\necho 'Operation not permitted' >&2\nexit 1\n")
        (tmp_path / name).chmod(0o755)
    tmp_path.chmod(0o755)

    def found(name: str) -> Any:
        return str(tmp_path / name) if name in ("bwrap", "unshare") else shutil.which(name)

    monkeypatch.setattr(module, "which", found)
    enclosure.cache_clear()
    try:
        chosen = enclosure(server_account())
        assert "namespaces are refused here" in chosen.words or not chosen.tools
        with scratch() as copy, copy.connect("template1") as conn:
            assert output(conn, "cat PG_VERSION")
    finally:
        enclosure.cache_clear()


def test_a_server_that_does_not_start_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    """The sandbox in front of it does not swallow its words."""
    configure = Cluster.configure
    monkeypatch.setattr(Cluster, "configure", lambda self: configure(self, {"shared_buffers": "no size"}))
    with pytest.raises(LabError, match="shared_buffers"), scratch():
        pass
