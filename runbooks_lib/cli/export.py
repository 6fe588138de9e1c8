"""`runbooks export`: one file to send."""

from __future__ import annotations

from pathlib import Path

import click

from runbooks_lib.cli.archive import RUNS, opened
from runbooks_lib.cli.help import examples
from runbooks_lib.cli.naming import complete_run
from runbooks_lib.cli.terminal import say


@click.command(epilog=examples("runbooks export latest", "runbooks export latest --out evidence.zip"))
@click.argument("run", shell_complete=complete_run)
@RUNS
@click.option(
    "--out",
    metavar="FILE",
    type=click.Path(dir_okay=False, path_type=Path),
    help="The file to write; default: RUN.zip in this folder.",
)
def export(run: str, folder: str | None, out: Path | None) -> None:
    """Write a sealed RUN to one zip file to send: report, pages, records and seal, without the dumps.

    README.txt in it has the commands that verify it without this software: sha256sum, and openssl where the run is
    signed. The same run gives the same bytes. RUN is a folder or URL, an id, the beginning of an id,
    or latest.
    """
    from runbooks_lib.archive.seal.export import export as write

    with opened(run, folder) as found:
        file = out or Path(f"{found.id}.zip")
        write(found.path, file)
        say(file)
