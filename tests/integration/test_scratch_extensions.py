"""Scratch servers with the extensions that a target has: npm's programs, really installed where others lack one."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from runbooks_lib.postgres.binaries import from_wheel
from runbooks_lib.postgres.scratch import programs
from runbooks_lib.postgres.scratch.extensions import CONTRIB
from runbooks_lib.postgres.scratch.programs import find_server_for, install_server_for
from runbooks_lib.postgres.scratch.replay import expect
from runbooks_lib.postgres.scratch.restore import Restores
from runbooks_lib.postgres.scratch.scratch import scratch
from runbooks_lib.postgres.scratch.surroundings import Surroundings

MAJOR = 16  # neither the wheel's nor Debian's
NAMES = ("pgcrypto", "uuid-ossp")
SCRIPT = """
CREATE EXTENSION IF NOT EXISTS pgcrypto;
CREATE EXTENSION IF NOT EXISTS "uuid-ossp";
CREATE TABLE a (id uuid PRIMARY KEY DEFAULT uuid_generate_v4(), secret bytea DEFAULT digest('x', 'sha256'));
"""
DUMP = """
CREATE EXTENSION IF NOT EXISTS pgcrypto WITH SCHEMA public;
CREATE TABLE public.a (secret bytea DEFAULT public.digest('x'::text, 'sha256'::text));
"""


@pytest.fixture(scope="module", autouse=True)
def _wheel_alone() -> Iterator[None]:
    """What else this machine has is left out, so that the extensions are lacking."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(programs, "_places", from_wheel)
        assert find_server_for(MAJOR).lacks(NAMES) == set(NAMES)
        yield


def test_npm_has_every_contrib_module_that_it_is_asked_for() -> None:
    server = install_server_for(MAJOR, extensions=NAMES, also=())
    assert (server.found_by, server.major) == ("npm", MAJOR)
    assert not server.lacks(CONTRIB)
    with scratch(server) as copy, copy.connect("postgres") as conn:
        for name in sorted(CONTRIB):
            conn.execute(f'CREATE EXTENSION IF NOT EXISTS "{name}" SCHEMA public CASCADE'.encode())


def test_migrations_and_dumps_that_need_them_run_there(tmp_path: Path) -> None:
    install_server_for(MAJOR, extensions=NAMES, also=())
    found = expect([("1", SCRIPT)], owner="app", server_major=MAJOR, like=Surroundings(database="shop"))
    assert ("relation", "public.a") in found.stands
    assert found.server_version.startswith(f"{MAJOR}.")
    (tmp_path / "dump.sql").write_text(DUMP)
    with Restores() as restores:
        restored = restores.restore_schema(tmp_path / "dump.sql", server_major=MAJOR, roles=())
    assert restored.outcome.left_out == ()
    assert restored.server_major == MAJOR
