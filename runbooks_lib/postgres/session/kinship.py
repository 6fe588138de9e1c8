"""Is a standby this primary's? Told by what both say of their connection, since copies have equal numbers.

A sender and a receiver name each other: slot, addresses, port, timeline, and positions in the WAL that move together.
A standby may stream from another one: the line is followed up to the primary, as far as the phase's targets lead.
Nothing is written for it.
Source: https://www.postgresql.org/docs/current/monitoring-stats.html#MONITORING-PG-STAT-REPLICATION-VIEW
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from runbooks_lib.postgres.queries import query
from runbooks_lib.postgres.session.identity import Identity
from runbooks_lib.postgres.session.session import Connection, Row

LOOKS = 10  # a connection that was just made is not seen on both sides at once
BETWEEN_S = 0.2


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """The server of a target, which may send WAL and receive it: a session there, and who answered."""

    target: str
    conn: Connection
    who: Identity

    @property
    def place(self) -> tuple[str, int]:
        """Return the address and port at which it was reached."""
        return self.who.address, self.who.port


@dataclass(frozen=True, slots=True, kw_only=True)
class Kinship:
    """What speaks against a standby being this primary's, in words, and what could not be seen of it.

    `line` has the targets from the primary to the standby, and is empty without proof. `upstream` says who feeds the
    standby, or one above it in the line, where none of the targets does: whose standby it is can't be told then.
    """

    against: tuple[str, ...] = ()
    unseen: tuple[str, ...] = ()
    upstream: str = ""
    line: tuple[str, ...] = ()


def kinship(primary: Server, standby: Server, others: Sequence[Server] = ()) -> Kinship:
    """Look at both ends, some times if they do not agree at once; return what was found at last.

    `others` are the servers of other targets of this system: the standby may stream from one of them.
    Reads pg_stat_replication, pg_replication_slots and pg_stat_wal_receiver. Raises psycopg errors as they come.
    """
    leader, follower = primary.who, standby.who
    if follower.is_other_system(leader):
        return Kinship(
            against=(
                f"its system_identifier is {follower.system_identifier}, not {leader.system_identifier}",
            )
        )
    if leader.in_recovery:
        return Kinship(unseen=(f"a primary: {leader.server} is a standby itself",))
    for look in range(LOOKS):
        found = _look(primary, (standby,), others)
        if found.line or found.unseen:
            break
        if look + 1 < LOOKS:
            time.sleep(BETWEEN_S)
    return found


def _look(primary: Server, line: tuple[Server, ...], others: Sequence[Server]) -> Kinship:
    """Find out who feeds the first of a line of standbys, and go on from there until it is the primary."""
    standby, passed = line[0], {each.place for each in line}
    feeders = [primary, *(each for each in others if each.place not in passed | {primary.place})]
    before = [each.conn.execute(query("senders")).fetchall() for each in feeders]
    receiver = standby.conn.execute(query("receiver")).fetchone()
    after = [each.conn.execute(query("senders")).fetchall()[0] for each in feeders]
    assert receiver is not None
    where = f", on target {standby.target}" if len(line) > 1 else ""
    hidden = [who for who, row in (("primary", after[0]), ("standby", receiver)) if not row["may_see"]]
    if hidden:
        return Kinship(unseen=tuple(f"replication, on the {who}{where}" for who in hidden))
    if receiver["pid"] is None:
        return Kinship(unseen=(f"a WAL receiver: none runs{where}",))
    from_whom = f"it receives from {receiver['sender_host']}:{receiver['sender_port']}{where}"
    if against := tuple(_against(primary, receiver, after[0])):
        return Kinship(against=(*against, from_whom))
    for feeder, sent, now in zip(feeders, before, after, strict=True):
        if any(_feeds(feeder, sender, standby, receiver, now) for sender in sent):
            if feeder is primary:
                return Kinship(line=tuple(each.target for each in (primary, *line)))
            if not feeder.who.in_recovery:
                return Kinship(against=(f"{from_whom}: target {feeder.target}, another primary",))
            return _look(primary, (feeder, *line), others)
    return Kinship(upstream=from_whom)


def _against(primary: Server, receiver: Row, now: Row) -> Iterator[str]:
    """Yield what can't be if what the receiver gets was written by this primary, through whomever."""
    leader = primary.who
    if leader.timeline is not None and receiver["received_tli"] != leader.timeline:
        yield f"it receives timeline {receiver['received_tli']}, and {leader.server} writes {leader.timeline}"
    if now["pid"] is None:
        yield f"{leader.server} sends to nobody"
    if not _is_between(primary.conn, "0/0", receiver["flushed_lsn"], now["current_lsn"]):
        yield f"it is at {receiver['flushed_lsn']}, and {leader.server} has written up to {now['current_lsn']}"


def _feeds(feeder: Server, sender: Row, standby: Server, receiver: Row, now: Row) -> bool:
    """Tell whether a sender of a server and a receiver are the two ends of one connection."""
    return (
        now["may_see"]
        and receiver["sender_port"] in {feeder.who.port, *now["own_ports"]}
        and _serves(sender, receiver, standby.conn)
        and _is_between(
            feeder.conn, sender["flush_lsn"] or "0/0", receiver["flushed_lsn"], now["current_lsn"]
        )
    )


def _serves(sender: Row, receiver: Row, standby: Connection) -> bool:
    """Tell whether a sender names this receiver: by its slot, else by the address or name of the standby."""
    if sender["pid"] is None or sender["slot_name"] != receiver["slot_name"]:
        return False
    return (
        receiver["slot_name"] is not None
        or sender["client_addr"] in {receiver["own_addr"], standby.info.hostaddr or None}
        or sender["application_name"] == receiver["cluster_name"]
    )


def _is_between(conn: Connection, low: str, at: str, high: str) -> bool:
    """Tell whether a position in the WAL is not before one and not after another."""
    row = conn.execute(
        "SELECT %(low)s::pg_lsn <= %(at)s::pg_lsn AND %(at)s::pg_lsn <= %(high)s::pg_lsn AS fits",
        {"low": low, "at": at, "high": high},
    ).fetchone()
    return bool(row and row["fits"])
