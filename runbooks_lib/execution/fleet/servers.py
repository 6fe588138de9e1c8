"""Which addresses of a fleet lead to one server: runs are counted by server, by whatever name it is reached."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

import psycopg

from runbooks_lib.errors import PreconditionFailed, RunbookError
from runbooks_lib.execution.fleet.record import Place
from runbooks_lib.phase import Role, Target
from runbooks_lib.postgres.session.connect import connect
from runbooks_lib.postgres.session.identity import identify

AT_A_TIME = 16


def servers(places: Sequence[Place]) -> dict[str, str]:
    """Return, for each address of the databases, what its server says of itself; the address where it says nothing.

    Asks once for each address, in a read-only session; nobody where there is one address.
    """
    one_of_each = {place.server: place for place in places}
    if len(one_of_each) == 1:
        return {address: address for address in one_of_each}
    with ThreadPoolExecutor(AT_A_TIME, thread_name_prefix="servers") as executor:
        return dict(zip(one_of_each, executor.map(_server, one_of_each.values()), strict=True))


def _server(place: Place) -> str:
    """Return which system it is, and since when: copies of a server have its identifier, too."""
    target = Target(
        name=place.name, service=_first(place.services), role=Role.PRIMARY, database=_first(place.databases)
    )
    try:
        with connect(target, application_name="runbooks fleet") as conn:
            who = identify(conn)
    except (RunbookError, psycopg.Error):  # its run will say so
        return place.server
    return f"{who.system_identifier} since {who.started}"


def require_each_once(places: Sequence[Place], known: Mapping[str, str]) -> None:
    """Refuse two names of one database: the phase would be carried out there twice. Raises PreconditionFailed."""
    seen: dict[tuple[str, str], str] = {}
    for place in places:
        before = seen.setdefault((known[place.server], _first(place.databases)), place.name)
        if before != place.name:
            raise PreconditionFailed(
                f"{place.name} is the database of {before}, too: both lead to {_first(place.databases)} of one server.",
                "Name each database once in the fleet file.",
            )


def _first(of_targets: Mapping[str, str]) -> str:
    """Return what is said of the target that each database of the fleet stands for."""
    return next(iter(of_targets.values()))
