"""Which database really holds a table? Looks into every database of a server."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from enum import StrEnum
from typing import NamedTuple

import psycopg

from runbooks_lib.errors import ConnectionFailed
from runbooks_lib.names import parts, qualified
from runbooks_lib.postgres.queries import query
from runbooks_lib.postgres.session.connect import Connection, Row, Sessions, connect, lost

# Set in the processes of a fleet run: its file says which database is whose, and each of a server's thousand looking
# into all thousand would take a million sessions.
ONE_OF_A_FLEET = "RUNBOOKS_ONE_OF_A_FLEET"


class State(StrEnum):
    """Where an object is, seen from one database."""

    THERE = "there"
    OTHERWISE = "otherwise"  # something of that name, but of another kind, in another schema, in other case
    ABSENT = "absent"
    NOT_SEARCHED = "not searched"


class Sight(NamedTuple):
    """What one database has of an object, and how to say it."""

    state: State
    words: str


ABSENT = Sight(State.ABSENT, "absent")


def search_server(
    sessions: Sessions, target: str, names: Mapping[str, str]
) -> Iterator[tuple[str, dict[str, Sight] | Sight]]:
    """Yield each database with what was found in it, or with the reason why it could not be searched.

    `names` are the objects' names with their kinds. One session per database, closed at once: an open one takes
    a slot, and keeps others from dropping, renaming or copying that database. In a run of a fleet the targets'
    own databases alone.
    """
    declared = sessions.targets[target]
    alone = ONE_OF_A_FLEET in os.environ
    own = {each.database for each in sessions.targets.values()}  # several of them may be on one server
    for row in sessions.unguarded(target).execute(query("databases")).fetchall():
        if not row["allows_connections"] or (alone and row["name"] not in own):
            continue
        if not row["may_connect"]:
            yield row["name"], not_searched("no CONNECT privilege")
            continue
        try:
            with connect(declared, application_name=sessions.application_name, database=row["name"]) as conn:
                found = _search_database(conn, names)
        except ConnectionFailed as error:
            yield row["name"], not_searched(error.what_happened)
        except psycopg.Error as error:
            yield row["name"], not_searched(lost(declared, error).what_happened)
        else:
            yield row["name"], found


def not_searched(why: str) -> Sight:
    """Return what is to be said of a database that nobody could look into."""
    return Sight(State.NOT_SEARCHED, f"not searched: {why}")


def _search_database(conn: Connection, names: Mapping[str, str]) -> dict[str, Sight]:
    wanted = sorted({_bare(name) for name in names})
    found_rows = conn.execute(query("finder"), {"names": wanted}).fetchall()
    rows = [row | {"name": qualified(row["schema"], row["name"])} for row in found_rows]
    found: dict[str, Sight] = {}
    alikes: dict[str, list[Row]] = {}
    for row in rows:
        alikes.setdefault(_bare(row["name"]), []).append(row)
    for name, kind in names.items():
        alike = alikes.get(_bare(name), [])
        exact = [row for row in alike if row["name"] == name and row["kind"] == kind]
        if exact:
            found[name] = Sight(State.THERE, f"there ({exact[0]['owner']})")
        elif others := [row for row in alike if names.get(row["name"]) != row["kind"]]:
            found[name] = Sight(State.OTHERWISE, "; ".join(_otherwise(row, kind) for row in others))
    return found


def _otherwise(row: Row, kind: str) -> str:
    other = "" if row["kind"] == kind else f"{row['kind']} "
    return f"as {other}{row['name']} ({row['owner']})"


def _bare(name: str) -> str:
    return parts(name)[-1].lower()
