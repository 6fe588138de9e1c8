"""`runbooks jupyter`: walk through the notebooks."""

from __future__ import annotations

import click

from runbooks_lib.cli.help import examples
from runbooks_lib.cli.run import RUNS_HELP


@click.command(epilog=examples("runbooks jupyter", "runbooks lab up --jupyter"))
@click.option("--runs", metavar="DIR", help=RUNS_HELP.replace("Folder or URL (s3://…)", "Folder"))
def jupyter(runs: str | None) -> None:
    """Run JupyterLab on fresh copies of the notebooks, against the servers of your service file; Ctrl-C ends it.

    What you do is archived like any other run. For a lab of your own: `runbooks lab up --jupyter`.
    """
    from runbooks_lib.archive.run import runs_folder
    from runbooks_lib.execution.jupyter import become_jupyterlab
    from runbooks_lib.postgres.session.service_file import require_a_service

    require_a_service()
    become_jupyterlab(runs_folder(runs), {})
