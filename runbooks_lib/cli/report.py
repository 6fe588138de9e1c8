"""`runbooks report`: a run's report, written anew from its evidence."""

from __future__ import annotations

from pathlib import Path

import click

from runbooks_lib.cli.archive import RUNS, opened
from runbooks_lib.cli.help import examples
from runbooks_lib.cli.naming import complete_run
from runbooks_lib.cli.terminal import say, say_lines


@click.command(
    epilog=examples("runbooks report latest --lang fr", "runbooks report latest --out /tmp/report")
)
@click.argument("run", shell_complete=complete_run)
@RUNS
@click.option("--lang", default="en", show_default=True, metavar="LANG", help="Language to print: en or fr.")
@click.option(
    "--out",
    metavar="DIR",
    type=click.Path(file_okay=False, path_type=Path),
    help="New folder for a copy of the run, without its seal, with all reports and pages written anew.",
)
def report(run: str, folder: str | None, lang: str, out: Path | None) -> None:
    """Write the report of a RUN anew from its evidence, complete or stopped; the run itself is never changed.

    Prints Markdown. With --out, the reports and pages of every language are written there, and their paths printed.
    RUN is a folder or URL, an id, the beginning of an id, or latest.
    """
    from runbooks_lib.report.html.pages import report_anew, write_anew

    with opened(run, folder) as found:
        if out is None:
            say_lines(report_anew(found, lang))
            return
        for path in write_anew(found, out):
            say(path)
