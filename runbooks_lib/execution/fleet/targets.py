"""From fleet.toml to databases: by a list, by the names in the service file, by a query on a control database."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import replace
from fnmatch import fnmatchcase
from typing import Any
from urllib.parse import quote

import psycopg

from runbooks_lib.execution.fleet.file import Labels, Matching, Named, Query, Read
from runbooks_lib.execution.fleet.record import Place
from runbooks_lib.phase import Phase, Role, Target, is_service_name
from runbooks_lib.phase.mistakes import Mistakes, shown, suggestion
from runbooks_lib.postgres.session.connect import connect, lost
from runbooks_lib.postgres.session.service_file import parameters_of, service_names

LAST = 1_000_000  # the wave of what no label puts into an earlier one


def places(read: Read, phase: Phase) -> tuple[Place, ...]:
    """Return the databases of a fleet in the order of their waves, each with where the phase's targets are.

    Reads the service files, and the control databases in read-only sessions.
    Raises SpecError: a service that is not there, a pattern or query that finds nothing, two names of one database.
    Raises ConnectionFailed when a control database cannot be read.
    """
    mistakes = Mistakes()
    known = service_names()
    found: dict[tuple[str, str | None], Named] = {}
    for path, named in _named(read, known, mistakes):
        if named.service not in known:
            mistakes.add(f"{path}.service", f"is no service of the service file: {shown(named.service)}",
                         suggestion(named.service, sorted(known)))  # fmt: skip
            continue
        key = named.service, named.database
        before = found.get(key)
        found[key] = replace(named, labels={**named.labels, **before.labels}) if before else named
    mistakes.raise_all(read.path, "fleet file")
    every = [_place(read, phase, named, known, mistakes) for named in found.values()]
    _check_that_each_is_one(every, mistakes)
    mistakes.raise_all(read.path, "fleet file")
    return tuple(sorted(every, key=lambda place: place.wave))


def _named(read: Read, known: frozenset[str], mistakes: Mistakes) -> Iterator[tuple[str, Named]]:
    for number, named in enumerate(read.content.targets):
        yield f"targets[{number}]", named
    for number, pattern in enumerate(read.content.patterns):
        yield from _matching(f"patterns[{number}]", pattern, known, mistakes)
    for number, query in enumerate(read.content.queries):
        yield from _asked(f"queries[{number}]", query, mistakes)


def _matching(
    path: str, pattern: Matching, known: frozenset[str], mistakes: Mistakes
) -> Iterator[tuple[str, Named]]:
    names = sorted(name for name in known if fnmatchcase(name, pattern.services))
    if not names:
        mistakes.add(f"{path}.services", f"matches no service: {shown(pattern.services)}",
                     suggestion(pattern.services, sorted(known)))  # fmt: skip
    for name in names:
        yield path, Named(service=name, labels=pattern.labels)


def _asked(path: str, query: Query, mistakes: Mistakes) -> Iterator[tuple[str, Named]]:
    """Ask a control database in a read-only session. Raises ConnectionFailed."""
    control = Target(name=path, service=query.service, role=Role.PRIMARY, database=query.database)
    with connect(control, application_name="runbooks fleet") as conn:
        try:
            rows = conn.execute(query.sql.encode()).fetchall()
        except psycopg.OperationalError as error:
            raise lost(control, error) from error
        except psycopg.Error as error:
            mistakes.add(
                f"{path}.sql",
                f"is refused: {' '.join(str(error).split())}",
                "accepted is a SELECT; name its tables with their schema",
            )
            return
    if not rows:
        mistakes.add(f"{path}.sql", "returns no row", "accepted is a query that finds a database at least")
    for number, row in enumerate(rows):
        if named := _row(row):
            yield f"{path}.sql row {number + 1}", named
        else:
            mistakes.add(
                f"{path}.sql row {number + 1}",
                "is no database",
                "accepted are the columns service (a service's name), database (text or NULL), labels (a JSON object)",
            )


def _row(row: Mapping[str, Any]) -> Named | None:
    service, database, labels = row.get("service"), row.get("database"), row.get("labels") or {}
    if set(row) - {"service", "database", "labels"} or not isinstance(labels, dict):
        return None
    if not isinstance(service, str) or not is_service_name(service) or not isinstance(database, str | None):
        return None
    return Named(
        service=service,
        database=database or None,
        labels={k: v if isinstance(v, str) else json.dumps(v) for k, v in labels.items() if v is not None},
    )


def _place(read: Read, phase: Phase, named: Named, known: frozenset[str], mistakes: Mistakes) -> Place:
    """Return where each target of the phase is for one database of the fleet."""
    content = read.content
    own = _parameters(named.service, mistakes)
    database = named.database or own.get("dbname") or phase.targets[read.target].database
    here = {"service": named.service, "database": database}
    services = {name: _filled(text, here) for name, text in content.services.items()}
    for name, service in services.items():
        if service not in known:
            mistakes.add(f"services.{name} for {named.service}", f"is no service of the service file: {shown(service)}",
                         suggestion(service, sorted(known)))  # fmt: skip
    return Place(
        name=named.service if named.database is None else f"{named.service}/{database}",
        server=_server(own),
        wave=_wave(read, named.labels),
        labels=dict(named.labels),
        services={read.target: named.service, **services},
        databases={
            read.target: database,
            **{n: _filled(text, here) for n, text in content.databases.items()},
        },
    )


def _filled(text: str, here: Mapping[str, str]) -> str:
    """Return a name with {service} and {database} filled in."""
    for name, value in here.items():
        text = text.replace(f"{{{name}}}", value)
    return text


def _parameters(service: str, mistakes: Mistakes) -> dict[str, str]:
    try:
        return parameters_of(service)
    except psycopg.OperationalError as error:
        mistakes.add(f"service {service}", "cannot be read", " ".join(str(error).split()))
        return {}


def _server(parameters: Mapping[str, str]) -> str:
    """Return what stands for a server where runs are counted: host and port of its service."""
    return (
        f"{parameters.get('hostaddr') or parameters.get('host') or 'local'}:{parameters.get('port') or 5432}"
    )


def _wave(read: Read, labels: Labels) -> int:
    waves = read.content.waves
    value = labels.get(waves.by) if waves else None
    return waves.order.index(value) + 1 if waves and value in waves.order else LAST


def _check_that_each_is_one(every: list[Place], mistakes: Mistakes) -> None:
    """Note databases that two names lead to: the phase would be carried out there twice."""
    seen: dict[tuple[str, str], str] = {}
    for place in every:
        key = place.server, next(iter(place.databases.values()))
        if key in seen:
            mistakes.add(place.name, f"is the database of {shown(seen[key])}, too", "name each database once")
        seen.setdefault(key, place.name)


def folder_of(name: str) -> str:
    """Return the name of the folder in which the runs at a database of a fleet are kept."""
    return quote(name, safe=" @+").replace(".", "%2E") if name.startswith(".") else quote(name, safe=" @+")
