"""`runbooks diagnose`: what state is a database in, and what is the next command?"""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import click

from runbooks_lib.amounts import counted, size
from runbooks_lib.cli.help import examples
from runbooks_lib.cli.terminal import say, say_json

if TYPE_CHECKING:
    from collections.abc import Iterator

    from runbooks_lib.drafting.diagnosis import Diagnosis

LISTED = 40  # of one check


@click.command(epilog=examples("runbooks diagnose --service shop --prisma-project ../shop"))
@click.option(
    "--service", required=True, metavar="NAME", help="The libpq service of the database; never an address."
)
@click.option(
    "--prisma-project",
    envvar="RUNBOOKS_PRISMA_PROJECT",
    metavar="DIR",
    help="The folder of the Prisma project; else RUNBOOKS_PRISMA_PROJECT.",
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
    from runbooks_lib.typed import plain

    if prisma_project:
        os.environ["RUNBOOKS_PRISMA_PROJECT"] = prisma_project
    try:
        found = look(service, Path(prisma_project).expanduser().absolute() if prisma_project else None)
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
    yield from seen_lines(found)
    if found.next:
        yield f"next: {found.next}"
    if found.door:
        yield f"more: runbooks explain {found.door}"


def seen_lines(found: Diagnosis) -> Iterator[str]:
    """Yield what was seen, for a person: who answers, what is not plainly fine, and the state in one sentence."""
    from runbooks_lib.findings import Verdict

    server = found.server
    yield (
        f"{server.service}: database {server.database} at {server.server}, a {server.role}, "
        f"PostgreSQL {server.server_version}, role {server.role_name}{', through a pooler' if server.pooled else ''}"
    )
    for standby in found.standbys:
        where = f" at {standby.address or 'a socket'}: {size(standby.lag_bytes or 0)} behind"
        yield f"standby {standby.name}{where if standby.lag_bytes is not None else ', not to be seen by this role'}"
    if found.project:
        project = found.project
        yield f"Prisma {project.prisma}, {counted(project.migrations, 'migration')} in {project.folder}"
    if found.findings:
        yield ""
    shown = Counter[str]()
    for finding in found.findings:
        shown[finding.check] += 1
        if shown[finding.check] > LISTED:
            continue
        yield f"{finding.verdict:5} {finding.check}: {finding.object}: {finding.have}"
        if finding.verdict is not Verdict.SKIP:  # what a run would do, which is not one
            yield from (f"      {line}" for line in finding.hint.splitlines())
    for check, count in shown.items():
        if count > LISTED:
            yield f"{count - LISTED} more of {check}: --json has them all"
    yield ""
    yield found.says
