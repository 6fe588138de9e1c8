"""`runbooks runs`: the archive."""

from __future__ import annotations

import json
from pathlib import Path

import click

RUNS = click.option(
    "--runs",
    "folder",
    metavar="DIR",
    help="Folder that keeps the runs; default: $RUNBOOKS_RUNS, else ./runs.",
)
JSON = click.option("--json", "as_json", is_flag=True, help="Print JSON on stdout.")


@click.group()
def runs() -> None:
    """Look at the archive of runs."""


@runs.command("list")
@RUNS
@JSON
def list_(folder: str | None, as_json: bool) -> None:
    """List the runs, oldest first: id, phase, mode, verdict, how long ago begun."""
    from runbooks_lib.archive.run import all_runs, runs_folder

    headers = [run.header() for run in all_runs(runs_folder(folder))]
    if as_json:
        click.echo(json.dumps(headers, indent=2, ensure_ascii=False))
        return
    if not headers:
        click.echo(f"no runs in {runs_folder(folder)}", err=True)
    for header in headers:
        ended = "complete" if header["finished_at"] else "incomplete"
        verdict = header["verdict"] or "-"
        click.echo(f"{header['id']}  {header['phase']['id']}  {header['mode']:5}  {verdict:5}  {ended}")


@runs.command()
@click.argument("run", type=click.Path(exists=True, file_okay=False, path_type=Path))
@JSON
def show(run: Path, as_json: bool) -> None:
    """Show one run, by its folder: its steps, verdicts, and every finding that is not PASS."""
    from runbooks_lib.archive.run import Run, step_name

    opened = Run.open(run)
    header, evidence = opened.header(), opened.evidence()
    if as_json:
        click.echo(json.dumps({"run": header, "steps": evidence}, indent=2, ensure_ascii=False))
        return
    ended = "complete" if header["finished_at"] else "incomplete"
    click.echo(
        f"{header['id']} {header['phase']['id']} {header['mode']}, verdict {header['verdict']}, {ended}"
    )
    for step, record in evidence.items():
        closed = f"{record['duration_s']} s" if record["finished_at"] else "not closed"
        click.echo(f"{step_name(step):24} {record['verdict'] or '-':5} {closed}")
        for answer in record["answers"].values():
            for finding in answer["findings"]:
                if finding["verdict"] != "PASS":
                    said = "{verdict} {check} {target} {object}: have {have}, want {want}".format(**finding)
                    click.echo(f"    {said}")


@runs.command()
@RUNS
@click.option(
    "--out",
    metavar="DIR",
    type=click.Path(file_okay=False, path_type=Path),
    help="Folder to write index.html to; default: the folder that keeps the runs.",
)
def site(folder: str | None, out: Path | None) -> None:
    """Write index.html: all runs, filters, what changed since the run before, links to the reports.

    Prints its path. It is one file that opens from the disk; write it again when there are new runs.
    """
    from runbooks_lib.archive.pages.site import write_site
    from runbooks_lib.archive.run import runs_folder

    path, number = write_site(runs_folder(folder), out.absolute() if out else None)
    click.echo(f"{number} runs", err=True)
    click.echo(path)
