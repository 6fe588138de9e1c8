"""`runbooks lab`: a lab to work in."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING

import click

from runbooks_lib.cli.help import Group, examples
from runbooks_lib.cli.terminal import say
from runbooks_lib.cli.working import Working

if TYPE_CHECKING:
    from runbooks_lib.lab.lab import Lab, Row

DIRECTORY = click.option(
    "--dir",
    "directory",
    type=click.Path(file_okay=False, path_type=Path),
    help="The lab's folder; default: in the cache.",
)
PRISMA = click.option(
    "--prisma",
    type=click.Choice(["7", "6"]),
    default="7",
    show_default=True,
    help="The version of Prisma that the lab's project has.",
)


@click.group(cls=Group, epilog=examples("runbooks lab up", 'eval "$(runbooks lab env)"', "runbooks lab down"))
def lab() -> None:
    """Start, look at and stop a lab: a PostgreSQL leader with a standby, a Prisma project, an API."""


@lab.command(
    epilog=examples(
        "runbooks lab up",
        "runbooks lab up --jupyter",
        "runbooks lab up --dir /tmp/lab --prisma 6",
        "runbooks lab up --project ../shop --break no-history",
    )
)
@DIRECTORY
@PRISMA
@click.option(
    "--project",
    metavar="PATH",
    type=click.Path(exists=True, path_type=Path),
    help="Your own Prisma project, its folder or its schema: the lab has a copy of it, and its migrations applied.",
)
@click.option(
    "--break",
    "disorder",
    metavar="STATE",
    help="Put the project's database into a state to practise on; an unknown one lists them all.",
)
@click.option("--jupyter", is_flag=True, help="Then run JupyterLab on the notebooks, until Ctrl-C.")
def up(
    directory: Path | None, prisma: str, project: Path | None, disorder: str | None, jupyter: bool
) -> None:
    """Start the lab, or find it running; labs whose owner was killed are cleaned up.

    With --project it is a lab for your own project: a leader and a standby, in which Prisma has deployed a copy of its
    migrations. Nothing is written to the project itself, and its .env is not read.
    """
    if disorder and not project:
        raise click.UsageError("--break needs --project: the project whose database is put into that state.")
    from runbooks_lib.lab.lab import up as start
    from runbooks_lib.lab.services import OWN_SERVICE

    with Working("starting the lab: a PostgreSQL leader, a streaming standby, Prisma, an API"):
        started = start(directory, prisma=int(prisma), project=project, disorder=disorder)
    say(f"the lab is up in {started.directory}", err=True)
    _print_rows(started.status())
    at = f" --dir {shlex.quote(str(directory))}" if directory else ""
    then = f"adopt --service {OWN_SERVICE}" if project else "run PH15-AMAZON-DB-FOUNDATION-01"
    if not jupyter:
        say(f'next: eval "$(runbooks lab env{at})" && runbooks {then}', err=True)
    if jupyter:
        from runbooks_lib.archive.run import runs_folder
        from runbooks_lib.execution.jupyter import become_jupyterlab

        say("Ctrl-C ends JupyterLab, and `runbooks lab down` the lab", err=True)
        become_jupyterlab(runs_folder(), started.env())


@lab.command(epilog=examples("runbooks lab status"))
@DIRECTORY
def status(directory: Path | None) -> None:
    """Say what of the lab runs, and where. Exit code 4 when something does not."""
    from runbooks_lib.errors import LabError

    rows = _find(directory).status()
    _print_rows(rows)
    if not all(_runs(row) for row in rows):
        raise LabError("Not everything of the lab runs.", "Start it anew: runbooks lab up")


@lab.command(epilog=examples('eval "$(runbooks lab env)"'))
@DIRECTORY
def env(directory: Path | None) -> None:
    """Print the exports that point a shell at the lab: eval "$(runbooks lab env)"."""
    for name, value in _find(directory).env().items():
        say(f"export {name}={shlex.quote(value)}")


@lab.command(epilog=examples("runbooks lab down"))
@DIRECTORY
def down(directory: Path | None) -> None:
    """Stop the lab and delete its folder."""
    from runbooks_lib.lab.lab import find

    found = find(directory)
    if found is None:
        say("no lab is up there", err=True)
        return
    found.down()
    say("the lab is down", err=True)


def _find(directory: Path | None) -> Lab:
    from runbooks_lib.errors import PreconditionFailed
    from runbooks_lib.lab.lab import find

    found = find(directory)
    if found is None:
        raise PreconditionFailed("No lab is up there.", "Start one: runbooks lab up (with the same --dir).")
    return found


def _print_rows(rows: list[Row]) -> None:
    for row in rows:
        say(f"{row.what:16} {row.where:40} {row.state}")


def _runs(row: Row) -> bool:
    """Tell whether a part is as it should be; that keybuzz-backend is not deployed is how the report found it."""
    return row.what == "keybuzz-backend" or not row.state.startswith(("stopped", "not ", "ready, not"))
