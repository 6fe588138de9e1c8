"""Which database really holds a table? Looks into every database of a server."""

from __future__ import annotations

from collections.abc import Iterator

import psycopg

from runbooks_lib.errors import ConnectionFailed
from runbooks_lib.postgres.connect import Connection, Sessions, lost
from runbooks_lib.postgres.queries import query

ABSENT = "absent"
NOT_SEARCHED = "not searched"


def search_server(
    sessions: Sessions, target: str, names: tuple[str, ...]
) -> Iterator[tuple[str, dict[str, str] | str]]:
    """Yield each database with what was found in it, or with the reason why it could not be searched."""
    for row in sessions.unguarded(target).execute(query("databases")).fetchall():
        if not row["allows_connections"]:
            continue
        if not row["may_connect"]:
            yield row["name"], f"{NOT_SEARCHED}: no CONNECT privilege"
            continue
        try:
            yield row["name"], _search_database(sessions.unguarded(target, database=row["name"]), names)
        except ConnectionFailed as error:
            yield row["name"], f"{NOT_SEARCHED}: {error.what_happened}"
        except psycopg.Error as error:
            yield row["name"], f"{NOT_SEARCHED}: {lost(sessions.targets[target], error).what_happened}"


def _search_database(conn: Connection, names: tuple[str, ...]) -> dict[str, str]:
    lowered = {name.split(".", 1)[1].lower(): name for name in names}
    found: dict[str, str] = {}
    for row in conn.execute(query("finder"), {"names": list(lowered)}).fetchall():
        declared = lowered[row["name"].split(".", 1)[1].lower()]
        if row["name"] == declared:
            found[declared] = f"there ({row['owner']})"
        else:
            found.setdefault(declared, f"as {row['name']} ({row['owner']})")
    return found
