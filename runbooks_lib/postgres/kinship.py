"""Is a standby this primary's? Told by what both say of their connection, since copies have equal numbers.

The primary's sender and the standby's receiver name each other: slot, addresses, port, timeline, and positions in the
WAL that move together. Nothing is written for it.
Source: https://www.postgresql.org/docs/current/monitoring-stats.html#MONITORING-PG-STAT-REPLICATION-VIEW
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass

from runbooks_lib.postgres.identity import Identity
from runbooks_lib.postgres.queries import query
from runbooks_lib.postgres.session import Connection, Row

LOOKS = 10  # a connection that was just made is not seen on both sides at once
BETWEEN_S = 0.2


@dataclass(frozen=True, slots=True, kw_only=True)
class Kinship:
    """What speaks against a standby being this primary's, in words, and what could not be seen of it.

    `sender` is the primary's server process that serves the standby, None without proof. `streams` tells whether the
    standby receives WAL at all: without, there is nothing to be seen but the numbers.
    """

    against: tuple[str, ...] = ()
    unseen: tuple[str, ...] = ()
    sender: int | None = None
    streams: bool = True


def kinship(primary: Connection, leader: Identity, standby: Connection, follower: Identity) -> Kinship:
    """Look at both ends, some times if they do not agree at once; return what was found at last.

    Reads pg_stat_replication, pg_replication_slots and pg_stat_wal_receiver. Raises psycopg errors as they come.
    """
    if leader.system_identifier != follower.system_identifier:
        return Kinship(
            against=(
                f"its system_identifier is {follower.system_identifier}, not {leader.system_identifier}",
            )
        )
    if leader.in_recovery:
        return Kinship(unseen=(f"a primary: {leader.server} is a standby itself",), streams=False)
    for look in range(LOOKS):
        found = _look(primary, leader, standby)
        if found.sender or found.unseen or not found.streams:
            break
        if look + 1 < LOOKS:
            time.sleep(BETWEEN_S)
    return found


def _look(primary: Connection, leader: Identity, standby: Connection) -> Kinship:
    before = primary.execute(query("senders")).fetchall()
    receiver = standby.execute(query("receiver")).fetchone()
    after = primary.execute(query("senders")).fetchone()
    assert receiver is not None
    assert after is not None
    hidden = [who for who, row in (("primary", after), ("standby", receiver)) if not row["may_see"]]
    if hidden:
        return Kinship(unseen=tuple(f"replication, on the {who}" for who in hidden))
    if receiver["pid"] is None:
        return Kinship(unseen=("a WAL receiver: none runs",), streams=False)
    against = tuple(_against(leader, receiver, after))
    for sender in before:
        if (
            not against
            and _serves(sender, receiver, standby)
            and _moves_with(primary, sender, receiver, after)
        ):
            return Kinship(sender=sender["pid"])
    return Kinship(against=against or (f"no sender of {leader.server} serves its receiver",))


def _against(leader: Identity, receiver: Row, primary: Row) -> Iterator[str]:
    """Yield what the receiver says that can't be if this primary sends to it."""
    if receiver["received_tli"] != leader.timeline:
        yield f"it receives timeline {receiver['received_tli']}, and {leader.server} writes {leader.timeline}"
    from_whom = f"it receives from {receiver['sender_host']}:{receiver['sender_port']}"
    if receiver["sender_port"] not in {leader.port, *primary["own_ports"]}:
        yield f"{from_whom}, not from {leader.server}"


def _serves(sender: Row, receiver: Row, standby: Connection) -> bool:
    """Tell whether a sender names this receiver: by its slot, else by the address or name of the standby."""
    if sender["pid"] is None or sender["slot_name"] != receiver["slot_name"]:
        return False
    return (
        receiver["slot_name"] is not None
        or sender["client_addr"] in {receiver["own_addr"], standby.info.hostaddr or None}
        or sender["application_name"] == receiver["cluster_name"]
    )


def _moves_with(primary: Connection, sender: Row, receiver: Row, after: Row) -> bool:
    """Tell whether the receiver is between what the sender knew of it before and what the primary had written after."""
    row = primary.execute(
        "SELECT %(low)s::pg_lsn <= %(at)s::pg_lsn AND %(at)s::pg_lsn <= %(high)s::pg_lsn AS fits",
        {"low": sender["flush_lsn"] or "0/0", "at": receiver["flushed_lsn"], "high": after["current_lsn"]},
    ).fetchone()
    return bool(row and row["fits"])
