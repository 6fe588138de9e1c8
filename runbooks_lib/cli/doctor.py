"""`runbooks doctor`: which tools are here, and how to get what is missing."""

from __future__ import annotations

import click

from runbooks_lib.cli.run import WEAK
from runbooks_lib.cli.terminal import say


@click.command()
def doctor() -> None:
    """Say which tools are found, their versions, what is missing and how to get it.

    Connects to nothing. Exit code 3 when something that a run needs is missing. The last two lines are for scratch
    servers and the lab; the demo brings a Prisma project and a service file of its own.
    """
    from runbooks_lib.archive.masking.sources import weak_secrets
    from runbooks_lib.errors import PreconditionFailed, RunbookError

    missing: list[str] = []
    for name, needed, look in (
        ("pg_dump", True, _clients),
        ("Node.js", True, _node),
        ("notebooks", True, _notebooks),
        ("Prisma project", True, _project),
        ("service file", True, _services),
        ("PostgreSQL server", False, _server),
        ("scratch servers", False, _scratch),
        ("npm", False, _npm),
    ):
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


def _project() -> str:
    from runbooks_lib.prisma.project import find_project, read_project

    project = read_project(find_project())
    return f"Prisma {'.'.join(map(str, project.version))} in {project.folder}"


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
