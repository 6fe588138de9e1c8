"""A page of a file of the leader is damaged; its checksum is wrong, and the standby's copy is whole."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import psycopg
import pytest

from runbooks_lib.lab.lab import Lab, running

from .campaign import fault
from .proof import dumps, require_told, require_unchanged
from .test_servers import DATABASE, closing, look, told


@pytest.fixture
def damaged(monkeypatch: pytest.MonkeyPatch) -> Iterator[Lab]:
    """A lab to be damaged, with its variables in the environment."""
    with running() as lab:
        for name, value in lab.env().items():
            monkeypatch.setenv(name, value)
        yield lab


def damage(lab: Lab, relation: str, at_byte: int) -> Callable[[], None]:
    """Write over some bytes of a relation's file while its server is down; return what restores them likewise."""
    with lab.admin(DATABASE) as admin:
        admin.execute("CHECKPOINT")
        (where,) = admin.execute("SELECT pg_relation_filepath(%s::regclass)", (relation,)).fetchone() or ("",)
    path = lab.leader.data / where
    whole = path.read_bytes()
    assert len(whole) > at_byte + 80
    rewrite(lab, path, whole[:at_byte] + b"\xde\xad" * 40 + whole[at_byte + 80 :])
    return partial(rewrite, lab, path, whole)


def rewrite(lab: Lab, path: Path, octets: bytes) -> None:
    lab.leader.stop()
    path.write_bytes(octets)
    lab.leader.start()
    lab.leader.wait_ready()
    lab._pair.wait_streaming()


@fault(
    kind="database",
    fault="a page of a declared table is damaged",
    injected="80 bytes of the table's file are written over while the server is down (data checksums are on)",
    seen="the rows are counted: PostgreSQL refuses the page",
    told="invalid page in block …; stop, read the server's log, check with amcheck",
    goes_on="fail over, or restore the page; then the run again",
    fast=True,
)
def test_a_damaged_table_is_named(damaged: Lab) -> None:
    standby = dumps(damaged, DATABASE, of=damaged.replica)
    restore = damage(damaged, '"OAuthState"', 4000)
    found = closing(look())
    require_told(
        told(found), cause="invalid page in block 0 of relation", next_step="stop, read its log.*amcheck"
    )
    assert "leader" in {each.target for each in found}
    require_unchanged(standby, dumps(damaged, DATABASE, of=damaged.replica))
    restore()
    assert closing(look()) == []


@fault(
    kind="database",
    fault="a page of a declared index is damaged",
    injected="80 bytes of the index's file are written over while the server is down (data checksums are on)",
    seen="NOT seen: a catalogue says whether an index is valid, not whether its pages can be read",
    told="nothing; pg_checksums and amcheck are made for this, and neither is a question of ours",
    goes_on="REINDEX",
    fast=True,
)
def test_a_damaged_index_is_not_seen(damaged: Lab) -> None:
    before = dumps(damaged)
    damage(damaged, "oauth_states_state_idx", 8292)
    assert closing(look()) == []
    require_unchanged(before, dumps(damaged))
    with damaged.admin(DATABASE) as admin:
        admin.execute("SET enable_seqscan = off")
        by_the_index = "SELECT count(*) FROM \"OAuthState\" WHERE state = 'x'"
        with pytest.raises(psycopg.errors.DataCorrupted, match="invalid page"):
            admin.execute(by_the_index)
        admin.execute("REINDEX INDEX oauth_states_state_idx")
        admin.execute(by_the_index)
