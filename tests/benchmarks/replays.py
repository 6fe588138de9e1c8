"""Migrations replayed in a scratch server: against psql, which runs the same files in one session; and as kept."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

from measure import Figure, clocked, in_pairs
from migrations import History

from runbooks_lib.cache import ENV_CACHE
from runbooks_lib.postgres.scratch import replay as replaying
from runbooks_lib.postgres.scratch.programs import find_server
from runbooks_lib.postgres.scratch.replayed import Replayed
from runbooks_lib.postgres.scratch.scratch import Scratch, scratch
from runbooks_lib.postgres.scratch.surroundings import Surroundings

LIKE = Surroundings(database="shop")
OWNER = "shop_owner"


def measure(pairs: int, migrations: int) -> list[Figure]:
    """Return both comparisons for so many migrations; the server's start counts on neither side, and is said."""
    scripts = list(History(migrations).scripts())
    with tempfile.TemporaryDirectory() as name, patch.dict(os.environ, {ENV_CACHE: f"{name}/cache"}):
        folder = Path(name)
        for script, text in scripts:
            (folder / f"{script}.sql").write_text(text, encoding="utf-8")
        _replay(scripts)  # makes the template of the server, too
        kept = folder / "cache" / "replays"
        starts: list[float] = []

        def ours() -> float:
            shutil.rmtree(kept)
            with _noting(starts):
                return clocked(lambda: _replay(scripts))() - starts[-1]

        title = "replay of migrations"
        figure = in_pairs(title, "psql -f of the same files", ours, lambda: _psql(folder, scripts), pairs)
        figure.more = {
            **figure.times(),
            "migrations": migrations,
            "statements": sum(len(ran.statements) for ran in _replay(scripts).scripts),
            "server_s": [round(each, 3) for each in starts],
        }
        again = in_pairs(f"{title}, kept", "the replay", lambda: _again(scripts), ours, pairs)
        again.more = {"percent": round(100 / (again.ratio or 1), 1)}
        return [figure, again]


def _replay(scripts: list[tuple[str, str]]) -> Replayed:
    replaying._replay.cache_clear()
    return replaying.replay(scripts, owner=OWNER, server_major=find_server().major, like=LIKE)


def _again(scripts: list[tuple[str, str]]) -> float:
    took = clocked(lambda: _replay(scripts))()
    assert _replay(scripts).kept
    return took


@contextmanager
def _noting(starts: list[float]) -> Iterator[None]:
    """Note how long the scratch server takes to start and to stop."""

    @contextmanager
    def timed(*arguments: Any, **options: Any) -> Iterator[Scratch]:
        began = time.perf_counter()
        with scratch(*arguments, **options) as server:
            started = time.perf_counter()
            yield server
            ended = time.perf_counter()
        starts.append(started - began + time.perf_counter() - ended)

    with patch.object(replaying, "scratch", timed):
        yield


def _psql(folder: Path, scripts: list[tuple[str, str]]) -> float:
    programs = find_server()
    with scratch(programs) as server:
        address = server.cluster.address()
        environment = {"PGPASSWORD": server.lent, "PGOPTIONS": "-c search_path=public", "LC_ALL": "C"}
        where = ["-h", address["host"], "-p", address["port"], "-U", OWNER, LIKE.database]
        files = [f"--file={folder / name}.sql" for name, _ in scripts]
        command = [programs.bindir / "psql", "-X", "-q", "-v", "ON_ERROR_STOP=1", *where, *files]

        def work() -> None:
            server.create_database(LIKE.database, owner=OWNER, like=LIKE)
            subprocess.run(command, env=os.environ | environment, check=True)

        return clocked(work)()
