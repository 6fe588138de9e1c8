"""Which databases of a fleet have which schema: those with the same are a group; groups differ, in words."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor

from runbooks_lib.archive.masking.mask import redact
from runbooks_lib.errors import RunbookError
from runbooks_lib.execution.fleet.record import Place
from runbooks_lib.phase import Phase, with_services
from runbooks_lib.postgres.catalog.catalog import read_catalog
from runbooks_lib.postgres.catalog.differences import Described, compare, describe, in_words
from runbooks_lib.postgres.session.connect import Sessions
from runbooks_lib.typed import Typed

AT_A_TIME = 4


class Group(Typed):
    """Databases with the same schema: its fingerprint, their names, and in what it differs from the first group's."""

    fingerprint: str
    databases: tuple[str, ...]
    differences: tuple[str, ...] = ()


class FleetDiff(Typed):
    """The groups, the largest first; `unread` says of each database that could not be read why."""

    groups: tuple[Group, ...]
    unread: dict[str, str]

    @property
    def exit_code(self) -> int:
        """Return 0 when all databases have one schema, and each could be read."""
        return 0 if len(self.groups) == 1 and not self.unread else 1


def diff(phase: Phase, target: str, places: Sequence[Place]) -> FleetDiff:
    """Compare the schemas of the databases of a fleet with each other, in read-only sessions."""
    found: dict[str, list[str]] = {}
    schemas: dict[str, Described] = {}
    unread: dict[str, str] = {}
    with ThreadPoolExecutor(AT_A_TIME) as executor:
        for place, seen in zip(places, executor.map(lambda p: _look(phase, target, p), places), strict=True):
            if isinstance(seen, str):
                unread[place.name] = seen
            else:
                fingerprint, schema = seen
                found.setdefault(fingerprint, []).append(place.name)
                schemas.setdefault(fingerprint, schema)
    order = sorted(found, key=lambda each: (-len(found[each]), found[each]))
    groups = [
        Group(
            fingerprint=each,
            databases=tuple(found[each]),
            differences=tuple(_differences(schemas[order[0]], schemas[each])),
        )
        for each in order
    ]
    return FleetDiff(groups=tuple(groups), unread=unread)


def _differences(first: Described, other: Described) -> Iterable[str]:
    return map(in_words, compare(other, first))


def _look(phase: Phase, target: str, place: Place) -> tuple[str, Described] | str:
    """Return the schema of a database, or why it could not be read."""
    there = with_services(phase, place.services, place.databases)
    try:
        with (
            Sessions(there.targets, application_name="runbooks fleet diff") as sessions,
            sessions.snapshot(target) as conn,
        ):
            catalog = read_catalog(conn)
            return catalog.fingerprint(), describe(catalog)
    except RunbookError as error:
        return redact(str(error))
