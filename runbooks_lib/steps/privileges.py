"""What the operator's role may not do yet, and the GRANTs by which it may: all of them at once, to be pasted."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from runbooks_lib.checks import Check
from runbooks_lib.findings import Finding, Verdict
from runbooks_lib.names import parts, qualified, quoted
from runbooks_lib.phase import Phase, Role
from runbooks_lib.postgres.queries import query
from runbooks_lib.postgres.session.connect import Connection
from runbooks_lib.prisma.history import TABLE
from runbooks_lib.prisma.named import find_project
from runbooks_lib.prisma.project import read_project

EVERY_ONE = "every privilege that is missing"
_REST = "everything else that the steps read and use"


def check_privileges(phase: Phase, target: str, conn: Connection) -> Iterator[Finding]:
    """Check role_may: read, dump, create the baseline as its owner, record and deploy migrations.

    Reads privileges only. A role or schema that does not exist is a "no". What only a deployed migration needs is OPEN.
    Where several are missing, one finding has the GRANTs of them all.
    Raises PreconditionFailed when the Prisma project, which says in what schema its history stands, cannot be read.
    """
    rows = conn.execute(query("privileges"), _needs(phase, target, conn.info.user)).fetchall()
    standby = phase.targets[target].role is Role.STANDBY
    where = f"{conn.info.dbname}{' of its primary' if standby else ''}"
    missing = [row for row in rows if not row["allowed"]]
    for row in rows:
        if not row["allowed"]:
            yield _missing(target, row["need"], [row], where)
        elif row["one_by_one"]:
            yield _finding(target, row["need"], "yes", Verdict.PASS)
    if rest := sum(bool(row["allowed"]) and not row["one_by_one"] for row in rows):
        yield _finding(target, _REST, f"yes ({rest})", Verdict.PASS)
    if len(missing) > 1:
        yield _missing(target, EVERY_ONE, missing, where)


def _missing(target: str, need: str, missing: Sequence[dict[str, Any]], where: str) -> Finding:
    verdict = Verdict.FAIL if any(row["blocking"] for row in missing) else Verdict.OPEN
    when = "" if verdict is Verdict.FAIL else "Needed if a migration is deployed. "
    run = f"Have the owner or a superuser run this in {where}; nothing more is needed:"
    return _finding(target, need, "no", verdict, f"{when}{run} {' '.join(grants(missing))}")


def _finding(target: str, need: str, have: str, verdict: Verdict, hint: str = "") -> Finding:
    return Finding(
        check=Check.ROLE_MAY, target=target, object=need, have=have, want="yes", verdict=verdict, hint=hint
    )


def _needs(phase: Phase, target: str, role: str) -> dict[str, Any]:
    """Return what the steps need at a target, as the query's parameters. Without an owner `role` makes what is made."""
    baseline = phase.baseline is not None and target == phase.baseline.target
    prisma = phase.prisma is not None and target == phase.prisma.target
    owners = {phase.owner, *(each.owner for each in phase.tables), *(each.owner for each in phase.enums)}
    schemas = {parts(table.name)[0] for table in phase.tables}
    history = [read_project(find_project()).configuration.history_schema] if prisma else []
    deploy = [phase.owner] if prisma and phase.owner else []
    return {
        "read": [quoted(table.name) for table in phase.tables],
        "owners": (sorted(filter(None, owners)) or [role]) if baseline else [],
        "schemas": sorted({*schemas, *history}),
        "record": [quoted(qualified(schema, TABLE)) for schema in history],
        "creates": [] if deploy else history,
        "deploy": deploy,
        "dump": target in phase.backup.targets,
        "rows": target in phase.backup.data,
        "stats": phase.targets[target].role is Role.PRIMARY,
    }


def grants(missing: Iterable[dict[str, Any]]) -> Iterator[str]:
    """Yield the statements that give what is missing: one for each grantee, kind and set of privileges."""
    privileges: dict[tuple[str, str, str], list[str]] = {}
    for row in missing:
        given = privileges.setdefault((row["grantee"], row["kind"], row["object"]), [])
        given += [row["privilege"]] * (row["privilege"] not in given)
    objects: dict[tuple[str, str, str], list[str]] = {}
    for (grantee, kind, name), given in privileges.items():
        objects.setdefault((grantee, kind, ", ".join(sorted(given))), []).append(name)
    for (grantee, kind, given_all), names in objects.items():
        if kind == "NEW SCHEMA":
            yield from (f"CREATE SCHEMA {name} AUTHORIZATION {grantee};" for name in names)
        elif kind == "ATTRIBUTE":
            yield f"ALTER ROLE {grantee} {given_all};"
        elif kind == "ROLE":
            options = f" WITH {given_all}" if given_all else ""
            yield f"GRANT {', '.join(names)} TO {grantee}{options};"
        else:
            yield f"GRANT {given_all} ON {kind} {', '.join(names)} TO {grantee};"
