"""`runbooks diagnose`: what state is a database in, and what is the next command?"""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from runbooks_lib.cli.help import examples
from runbooks_lib.cli.terminal import say, say_json

if TYPE_CHECKING:
    from collections.abc import Iterator

    from runbooks_lib.drafting.diagnosis import Diagnosis


@click.command(epilog=examples("runbooks diagnose --service shop --prisma-project ../shop"))
@click.option(
    "--service", required=True, metavar="NAME", help="The libpq service of the database; never an address."
)
@click.option(
    "--prisma-project",
    envvar="RUNBOOKS_PRISMA_PROJECT",
    metavar="DIR",
    help="The Prisma project, its folder or its schema; default: $RUNBOOKS_PRISMA_PROJECT, else this folder.",
)
@click.option(
    "--json", "as_json", is_flag=True, help="Print what was found as JSON (diagnosis.json of the schemas)."
)
@click.pass_context
def diagnose(context: click.Context, service: str, prisma_project: str | None, as_json: bool) -> None:
    """Say what state a database is in, in Prisma's and PostgreSQL's terms, and the next command.

    Reads only: the migrations are replayed in a scratch server of its own, and compared with what stands. No phase and
    no run folder are needed. Exit code 0 when nothing is to be done, 1 when something is not as it should be.
    """
    from runbooks_lib.drafting.diagnose import diagnose as look
    from runbooks_lib.errors import ConnectionFailed
    from runbooks_lib.prisma.named import find_project, project_here
    from runbooks_lib.typed import plain

    try:
        found = look(service, find_project(prisma_project) if prisma_project or project_here() else None)
    except ConnectionFailed as error:
        raise ConnectionFailed(
            error.what_happened, f"{error.what_to_do}{_door_of(error)}", sqlstate=error.sqlstate
        ) from error
    if as_json:
        say_json(plain(found))
    else:
        for line in lines(found):
            say(line)
    context.exit(found.exit_code)


def _door_of(error: Exception) -> str:
    from runbooks_lib.doors import find_doors

    found = find_doors(f"{getattr(error, 'sqlstate', None)} {error}")
    return f" `runbooks explain {found[0].id}` says more." if found else ""


def lines(found: Diagnosis) -> Iterator[str]:
    """Yield what is printed for a person: what was seen, and the next command."""
    from runbooks_lib.drafting.diagnosis_lines import seen_lines

    yield from seen_lines(found)
    if found.next:
        yield f"next: {found.next}"
    if found.door:
        yield f"more: runbooks explain {found.door}"
