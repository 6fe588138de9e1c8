"""`runbooks runs`: the archive, in a folder or at a URL."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING

import click

from runbooks_lib.cli.help import Group, examples
from runbooks_lib.cli.naming import complete_run
from runbooks_lib.cli.terminal import say, say_json, say_lines, somebody_is_there
from runbooks_lib.visible import visible

if TYPE_CHECKING:
    from runbooks_lib.archive.run import Run
    from runbooks_lib.archive.store.listing import Listed

RUNS = click.option(
    "--runs",
    "folder",
    metavar="DIR|URL",
    help="Folder or URL (s3://…) that keeps the runs; default: $RUNBOOKS_RUNS, else ./runs.",
)
JSON = click.option("--json", "as_json", is_flag=True, help="Print JSON on stdout.")
VERDICTS = ("SKIP", "PASS", "OPEN", "FAIL", "ERROR")  # importing them would slow --help down


@click.group(cls=Group, epilog=examples("runbooks runs list --verdict FAIL", "runbooks runs open latest"))
def runs() -> None:
    """Look at the archive of runs."""


@runs.command(
    "list", epilog=examples("runbooks runs list", "runbooks runs list --phase 'PH15*' --mode apply --json")
)
@RUNS
@click.option("--phase", metavar="PHASE", help="Only runs of this phase; * stands for anything.")
@click.option(
    "--verdict",
    "verdicts",
    multiple=True,
    type=click.Choice(VERDICTS, case_sensitive=False),
    help="Only runs with this verdict; may be given more than once.",
)
@click.option("--mode", type=click.Choice(["plan", "apply"]), help="Only plans, or only what was applied.")
@JSON
def list_(
    folder: str | None, phase: str | None, verdicts: tuple[str, ...], mode: str | None, as_json: bool
) -> None:
    """List the runs, oldest first: id, phase, mode, verdict, when begun, how long, how it ended, whether sealed."""
    listed, where = _archive(folder)
    found = [
        run
        for run in listed
        if (phase is None or fnmatchcase(run.phase, phase))
        and (not verdicts or run.verdict in verdicts)
        and (mode is None or run.mode == mode)
    ]
    if as_json:
        say_json([run.to_dict() for run in found])
        return
    for line in _table([_HEADINGS, *(_row(run) for run in found)] if found else []):
        say(line)
    for run in found:
        if run.problem:
            say(run.problem, err=True)
    if not found:
        here = f"no runs in {where}" if not listed else f"no run matches ({len(listed)} in the archive)"
        say(f"{here}; begin one: runbooks run PHASE" if not listed else here, err=True)


@runs.command(epilog=examples("runbooks runs show latest", "runbooks runs show 20260107T17 --json"))
@click.argument("run", shell_complete=complete_run)
@RUNS
@JSON
def show(run: str, folder: str | None, as_json: bool) -> None:
    """Show one RUN: its steps, verdicts, and every finding that is not PASS.

    RUN is a folder or URL, an id, the beginning of an id, or latest.
    """
    from runbooks_lib.amounts import lasted
    from runbooks_lib.evidence import step_name
    from runbooks_lib.findings import told

    with opened(run, folder) as found:
        evidence, sealed = found.evidence(), found.sealed
        header = evidence.header
        if as_json:
            steps = {step: found.record_json(step) for step in evidence.steps}
            say_json({"run": found.header_json(), "sealed": sealed, "steps": steps})
            return
    ended = "complete" if header.finished_at else "unfinished"
    say(
        f"{header.id} {header.phase.id} {header.mode}, verdict {header.verdict}, {ended}, "
        + ("sealed" if sealed else "not sealed")
    )
    for step, record in evidence.records.items():
        closed = lasted(record.duration_s or 0) if record.finished_at else "not closed"
        say(f"{step_name(step):24} {record.verdict or '-':5} {closed}")
        for f in record.findings:
            if f.verdict != "PASS":
                say(f"    {told(f)}")


@runs.command("open", epilog=examples("runbooks runs open latest"))
@click.argument("run", default="latest", shell_complete=complete_run)
@RUNS
def open_(run: str, folder: str | None) -> None:
    """Open the report of a RUN in the browser, the newest one's without RUN; its path is printed.

    RUN is a folder, an id, the beginning of an id, or latest.
    """
    from runbooks_lib.errors import PreconditionFailed

    path = located_folder(run, folder) / "report.html"
    if not path.is_file():
        raise PreconditionFailed(f"{path.parent} has no report.", "Write it: runbooks report RUN --out DIR.")
    say(path)
    click.launch(str(path))


@runs.command("diff", epilog=examples("runbooks runs diff 20260107 latest", "runbooks runs diff A B --all"))
@click.argument("a", shell_complete=complete_run)
@click.argument("b", shell_complete=complete_run)
@RUNS
@click.option("--all", "everything", is_flag=True, help="Show findings with PASS, too.")
@JSON
def diff_(a: str, b: str, folder: str | None, everything: bool, as_json: bool) -> None:
    """Show what changed from run A to run B: the summary, findings with the worst first, facts, durations.

    A and B are folders or URLs, ids, the beginnings of ids, or latest.
    """
    from runbooks_lib.cli.differences import told
    from runbooks_lib.report.diff import diff
    from runbooks_lib.typed import plain

    with opened(a, folder) as before, opened(b, folder) as after:
        found = diff(before, after)
    if as_json:
        say_json(plain(found))
        return
    for line in told(found, everything=everything):
        say_lines(f"{line}\n")


@runs.command(
    epilog=examples("runbooks runs prune --keep 20", "runbooks runs prune --keep 20 --phase PH15 --yes")
)
@RUNS
@click.option(
    "--keep",
    metavar="N",
    type=click.IntRange(min=1),
    required=True,
    help="Newest runs of each phase to keep.",
)
@click.option("--phase", metavar="PHASE", help="Only runs of this phase; * stands for anything.")
@click.option("--yes", is_flag=True, help="Delete without asking.")
def prune(folder: str | None, keep: int, phase: str | None, yes: bool) -> None:
    """Delete the oldest runs of each phase, and keep the N newest, and the newest that applied something.

    The chain of what is kept begins later then: `runbooks verify RUN --chain --since OLDEST` follows it from there.
    """
    from shutil import rmtree

    from runbooks_lib.amounts import counted
    from runbooks_lib.archive.run import runs_folder
    from runbooks_lib.archive.store.listing import listed, older

    found = [
        run
        for run in older(listed(runs_folder(folder)), keep)
        if phase is None or fnmatchcase(run.phase, phase)
    ]
    if not found:
        say("nothing to delete", err=True)
        return
    for run in found:
        say(f"{run.phase} {run.id} {run.mode} {run.verdict}")
    number = counted(len(found), "run")
    try:
        sure = yes or click.confirm(f"Delete {number} for good?", err=True)
    except click.Abort:  # Ctrl-C, or no answer at all
        if somebody_is_there():
            raise
        raise click.UsageError(f"Nobody can be asked here whether to delete {number}: add --yes.") from None
    if not sure:
        raise click.Abort
    for run in found:
        rmtree(run.where)
    say(f"deleted: {number}", err=True)


@runs.command(epilog=examples("runbooks runs upload latest --runs s3://bucket/runs"))
@click.argument("run", shell_complete=complete_run)
@click.option(
    "--runs", "url", metavar="URL", required=True, help="The archive to copy it to: s3://bucket/runs."
)
def upload(run: str, url: str) -> None:
    """Copy a sealed RUN to an object store, if it verifies; its own URL there is printed.

    What its manifest lists is copied, and nothing else. RUN is a folder, an id, the beginning of an id, or latest.
    """
    from runbooks_lib.archive.run import Run, is_url
    from runbooks_lib.archive.store.remote import shown
    from runbooks_lib.archive.store.remote import upload as copy

    if not is_url(url):  # neither is repeated: what was meant for a URL may hold a password
        raise click.UsageError("--runs is no URL: name an archive such as s3://bucket/runs.")
    if is_url(run):
        raise click.UsageError("RUN is no folder: name the folder of a sealed run, or its id.")
    say(shown(copy(Run.open(located_folder(run, None)), url)))


@runs.command(epilog=examples("runbooks runs site", "runbooks runs site --runs s3://bucket/runs"))
@RUNS
@click.option(
    "--out",
    metavar="DIR",
    type=click.Path(file_okay=False, path_type=Path),
    help="Folder to write index.html to; default: the folder that keeps the runs.",
)
def site(folder: str | None, out: Path | None) -> None:
    """Write index.html: all runs, filters, what changed since the run before, links to the reports.

    Prints its path, or its URL. It is one file that opens from the disk; write it again when there are new runs.
    """
    from runbooks_lib.archive.run import runs_folder
    from runbooks_lib.archive.store.remote import archive_url, shown
    from runbooks_lib.report.html.index import write_site, write_site_at

    if url := archive_url(folder):
        if out:
            raise click.UsageError(
                "--out is for runs in a folder: at a URL index.html is written beside them."
            )
        address, number = write_site_at(url)
        where = shown(address)
    else:
        path, number = write_site(runs_folder(folder), out.absolute() if out else None)
        where = str(path)
    say(f"{number} runs", err=True)
    say(where)


_HEADINGS = ("run", "phase", "mode", "verdict", "begun", "took", "state", "sealed")


def _row(run: Listed) -> tuple[str, ...]:
    from runbooks_lib.amounts import lasted, moment

    took = "-" if run.duration_s is None else lasted(run.duration_s)
    begun = moment(run.header.started_at) if run.header else "-"
    cells = run.id, run.phase, run.mode, run.verdict, begun, took, run.state, "yes" if run.sealed else "no"
    return tuple(map(visible, cells))


def _table(rows: list[tuple[str, ...]]) -> Iterator[str]:
    """Yield the rows as lines with aligned columns, in time linear in the rows."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        yield "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()


def _archive(folder: str | None) -> tuple[list[Listed], str]:
    """Return the runs of the archive that --runs or RUNBOOKS_RUNS names, and its name for messages."""
    from runbooks_lib.archive.run import runs_folder
    from runbooks_lib.archive.store.listing import listed
    from runbooks_lib.archive.store.remote import archive_url, listed_at, shown

    if url := archive_url(folder):
        return listed_at(url), shown(url)
    return listed(runs_folder(folder)), str(runs_folder(folder))


def located_folder(reference: str, folder: str | None) -> Path:
    """Return the folder of the run that a folder, an id, the beginning of an id, or latest names."""
    from runbooks_lib.archive.run import runs_folder
    from runbooks_lib.archive.store.listing import find_folder

    return find_folder(runs_folder(folder), reference)


def where(reference: str, folder: str | None) -> str:
    """Return the folder or the URL of the run that `reference` names: those, an id, its beginning, or latest."""
    from runbooks_lib.archive.run import is_url
    from runbooks_lib.archive.store.listing import pick, require_run
    from runbooks_lib.archive.store.remote import archive_url, listed_at, shown

    if is_url(reference):
        return reference
    if reference and Path(reference).is_dir():
        return str(require_run(Path(reference)))
    if url := archive_url(folder):
        return pick(listed_at(url), reference, shown(url)).where
    return str(located_folder(reference, folder))


@contextmanager
def opened(reference: str, folder: str | None) -> Iterator[Run]:
    """Give the block the run that `where` finds."""
    from runbooks_lib.archive.run import Run
    from runbooks_lib.archive.store.remote import located

    with located(where(reference, folder)) as path:
        yield Run.open(path)
