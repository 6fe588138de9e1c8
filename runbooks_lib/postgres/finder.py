"""Which database really holds a table? Looks into every database of a server."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import psycopg

from runbooks_lib.errors import ConnectionFailed
from runbooks_lib.names import parts, qualified
from runbooks_lib.postgres.connect import Connection, Row, Sessions, connect, lost
from runbooks_lib.postgres.queries import query

ABSENT = "absent"
NOT_SEARCHED = "not searched"


def search_server(
    sessions: Sessions, target: str, names: Mapping[str, str]
) -> Iterator[tuple[str, dict[str, str] | str]]:
    """Yield each database with what was found in it, or with the reason why it could not be searched.

    `names` are the objects' names with their kinds. One session per database, closed at once: an open one takes
    a slot, and keeps others from dropping, renaming or copying that database.
    """
    declared = sessions.targets[target]
    for row in sessions.unguarded(target).execute(query("databases")).fetchall():
        if not row["allows_connections"]:
            continue
        if not row["may_connect"]:
            yield row["name"], f"{NOT_SEARCHED}: no CONNECT privilege"
            continue
        try:
            with connect(declared, application_name=sessions.application_name, database=row["name"]) as conn:
                found = _search_database(conn, names)
        except ConnectionFailed as error:
            yield row["name"], f"{NOT_SEARCHED}: {error.what_happened}"
        except psycopg.Error as error:
            yield row["name"], f"{NOT_SEARCHED}: {lost(declared, error).what_happened}"
        else:
            yield row["name"], found


def _search_database(conn: Connection, names: Mapping[str, str]) -> dict[str, str]:
    wanted = sorted({_bare(name) for name in names})
    found_rows = conn.execute(query("finder"), {"names": wanted}).fetchall()
    rows = [row | {"name": qualified(row["schema"], row["name"])} for row in found_rows]
    found: dict[str, str] = {}
    for name, kind in names.items():
        alike = [row for row in rows if _bare(row["name"]) == _bare(name)]
        exact = [row for row in alike if row["name"] == name and row["kind"] == kind]
        if exact:
            found[name] = f"there ({exact[0]['owner']})"
        elif others := [row for row in alike if names.get(row["name"]) != row["kind"]]:
            found[name] = "; ".join(_otherwise(row, kind) for row in others)
    return found


def _otherwise(row: Row, kind: str) -> str:
    other = "" if row["kind"] == kind else f"{row['kind']} "
    return f"as {other}{row['name']} ({row['owner']})"


def _bare(name: str) -> str:
    return parts(name)[-1].lower()
