"""`runbooks runs`: the archive, in a folder or at a URL."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING

import click

from runbooks_lib.cli.terminal import say, say_json
from runbooks_lib.visible import visible

if TYPE_CHECKING:
    from runbooks_lib.archive.run import Run
    from runbooks_lib.archive.store.listing import Listed
    from runbooks_lib.report.diff import About, Difference

RUNS = click.option(
    "--runs",
    "folder",
    metavar="DIR|URL",
    help="Folder or URL (s3://…) that keeps the runs; default: $RUNBOOKS_RUNS, else ./runs.",
)
JSON = click.option("--json", "as_json", is_flag=True, help="Print JSON on stdout.")
VERDICTS = ("SKIP", "PASS", "OPEN", "FAIL", "ERROR")  # importing them would slow --help down


@click.group()
def runs() -> None:
    """Look at the archive of runs."""


@runs.command("list")
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
        say(f"no runs in {where}" if not listed else f"none of {len(listed)} runs is such a one", err=True)


@runs.command()
@click.argument("run")
@RUNS
@JSON
def show(run: str, folder: str | None, as_json: bool) -> None:
    """Show one RUN: its steps, verdicts, and every finding that is not PASS.

    RUN is its folder or URL, its id, or the beginning of its id.
    """
    from runbooks_lib.evidence import step_name

    with opened(run, folder) as found:
        evidence, sealed = found.evidence(), found.sealed
        header = evidence.header
        if as_json:
            steps = {step: found.record_json(step) for step in evidence.steps}
            say_json({"run": found.header_json(), "sealed": sealed, "steps": steps})
            return
    ended = "complete" if header.finished_at else "incomplete"
    say(
        f"{header.id} {header.phase.id} {header.mode}, verdict {header.verdict}, {ended}, "
        + ("sealed" if sealed else "not sealed")
    )
    for step, record in evidence.records.items():
        closed = f"{record.duration_s} s" if record.finished_at else "not closed"
        say(f"{step_name(step):24} {record.verdict or '-':5} {closed}")
        for f in record.findings:
            if f.verdict != "PASS":
                say(f"    {f.verdict} {f.check} {f.target} {f.object}: have {f.have}, want {f.want}")


@runs.command("diff")
@click.argument("a")
@click.argument("b")
@RUNS
@JSON
def diff_(a: str, b: str, folder: str | None, as_json: bool) -> None:
    """Show what changed from run A to run B: findings, plan, row counts, versions; seconds beside.

    A and B are folders or URLs, ids, or the beginnings of ids.
    """
    from runbooks_lib.report.diff import diff
    from runbooks_lib.typed import plain

    with opened(a, folder) as before, opened(b, folder) as after:
        told = diff(before, after)
    if as_json:
        say_json(plain(told))
        return
    for line in _told(told):
        say(line)


@runs.command()
@click.argument("run")
@click.option(
    "--runs", "url", metavar="URL", required=True, help="The archive to copy it to: s3://bucket/runs."
)
def upload(run: str, url: str) -> None:
    """Copy a sealed RUN, by its folder, to an object store, if it verifies; its own URL there is printed.

    What its manifest lists is copied, and nothing else.
    """
    from runbooks_lib.archive.run import Run, is_url
    from runbooks_lib.archive.store.remote import shown
    from runbooks_lib.archive.store.remote import upload as copy

    if not is_url(url):  # neither is repeated: what was meant for a URL may hold a password
        raise click.UsageError("--runs is no URL: name an archive such as s3://bucket/runs.")
    if is_url(run) or not Path(run).is_dir():
        raise click.UsageError("RUN is no folder: name the folder of a sealed run.")
    say(shown(copy(Run.open(Path(run).absolute()), url)))


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


_HEADINGS = ("run", "phase", "mode", "verdict", "begun (UTC)", "seconds", "state", "sealed")


def _row(run: Listed) -> tuple[str, ...]:
    seconds = "-" if run.duration_s is None else f"{run.duration_s:.1f}"
    begun = run.header.started_at[:19].replace("T", " ") if run.header else "-"
    cells = run.id, run.phase, run.mode, run.verdict, begun, seconds, run.state, "yes" if run.sealed else "no"
    return tuple(map(visible, cells))


def _table(rows: list[tuple[str, ...]]) -> Iterator[str]:
    """Yield the rows as lines with aligned columns, in time linear in the rows."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        yield "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()


def _told(told: Difference) -> Iterator[str]:
    for name, run in (("a", told.a), ("b", told.b)):
        yield f"{name}: {run.id} {run.phase} {run.mode}, verdict {run.verdict}, {run.started_at}"
    for fact in told.facts:
        yield f"{fact.fact}: {_short(fact.a)} -> {_short(fact.b)}"
    for f in told.findings.changed:
        yield f"changed: {_about(f)}"
        for name, seen in (("a", f.a), ("b", f.b)):
            yield f"    {name}: {seen.verdict}, have {seen.have}, want {seen.want}"
    for kind, found in (("new", told.findings.new), ("vanished", told.findings.vanished)):
        yield from (f"{kind}: {_about(f)}: {f.verdict}, have {f.have}" for f in found)
    seconds = ", ".join(f"{d.step} {d.a or '-'} -> {d.b or '-'}" for d in told.durations_s)
    yield f"seconds: {seconds}" if seconds else "no step was run"
    if told.same:
        yield "no difference"


def _about(f: About) -> str:
    return f"{f.step}.{f.question} {f.check} {f.target} {f.object}"


def _short(value: object) -> str:
    text = "none" if value is None else str(value)
    return text if len(text) <= 64 else text[:63] + "…"


def _archive(folder: str | None) -> tuple[list[Listed], str]:
    """Return the runs of the archive that --runs or RUNBOOKS_RUNS names, and its name for messages."""
    from runbooks_lib.archive.run import runs_folder
    from runbooks_lib.archive.store.listing import listed
    from runbooks_lib.archive.store.remote import archive_url, listed_at, shown

    if url := archive_url(folder):
        return listed_at(url), shown(url)
    return listed(runs_folder(folder)), str(runs_folder(folder))


@contextmanager
def opened(reference: str, folder: str | None) -> Iterator[Run]:
    """Give the block the run that a folder, a URL, an id or the beginning of an id names."""
    from runbooks_lib.archive.run import Run, is_url, runs_folder
    from runbooks_lib.archive.store.listing import find_run, pick
    from runbooks_lib.archive.store.remote import archive_url, listed_at, located, shown

    url = archive_url(folder)
    if url and not is_url(reference) and not Path(reference).is_dir():
        reference = pick(listed_at(url), reference, shown(url)).where
    if is_url(reference):
        with located(reference) as path:
            yield Run.open(path)
    else:
        yield find_run(Path() if url else runs_folder(folder), reference)
