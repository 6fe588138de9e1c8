"""The archive's index: every run, what changed since the last complete one, how long runs take, and their reports."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from runbooks_lib.archive import reader
from runbooks_lib.archive.changes import FILE, Changes, Key, compare, verdicts_of
from runbooks_lib.archive.files import write_text
from runbooks_lib.archive.run import Run, all_runs
from runbooks_lib.archive.store.remote import fetched, put
from runbooks_lib.errors import EvidenceError
from runbooks_lib.evidence import HEADER, Header
from runbooks_lib.findings import Verdict
from runbooks_lib.report.templates import in_all_languages, render, source

INDEX = "index.html"
MARKS = (
    b'<meta name="generator" content="runbooks">',
    "<title>Runbooks · ".encode(),
)  # of every index of ours
_RECORD = re.compile(r"\d\d_\w+\.json")  # of a step
SHOWN_CHANGES = 12  # of each kind and run; the page stays small
SHOWN_RUNS = 60  # of each phase in its trend
TALLEST = 60  # pixels of a trend's highest bar


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """A run in the index.

    `header` is None when that could not be read. `counts` are its findings by verdict; `changes` what differs from
    `previous`, the last complete run of the same phase before it (None: there is none). `unread` says why a run's
    evidence could not be read.
    """

    id: str
    phase: str
    header: Header | None
    links: Mapping[str, str]
    duration_s: float | None
    counts: Mapping[Verdict, int]
    previous: str | None
    changes: Changes | None
    unread: str | None

    @property
    def begun(self) -> str:
        """Return when the run began; empty when that is not known."""
        return self.header.started_at if self.header else ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Trend:
    """The newest runs of a phase, oldest first, each with its bar's height in pixels; `most_s` is the longest one's."""

    phase: str
    bars: tuple[tuple[Entry, int], ...]
    most_s: float


def write_site_at(url: str) -> tuple[str, int]:
    """Write index.html over all runs of the archive at a URL, beside them; return its URL and how many runs.

    Copies run.json and verdicts.json of each run here meanwhile, without the latter its evidence.
    Raises PreconditionFailed or EvidenceError when the archive cannot be read or written.
    """
    with fetched(url, _to_read) as (folder, names):
        path, number = write_site(folder, is_there=lambda p: p.relative_to(folder).as_posix() in names)
        return put(path, f"{url.rstrip('/')}/{INDEX}"), number


def _to_read(names: frozenset[str]) -> Iterator[str]:
    """Yield the files of an archive that its index is made of."""
    for name in names:
        *folder, file = name.split("/")
        summed_up = "/".join((*folder, FILE)) in names
        if name == INDEX:
            yield name  # it is overwritten only where it is ours
        elif len(folder) == 2 and (file in (HEADER, FILE) or (_RECORD.fullmatch(file) and not summed_up)):
            yield name


def write_site(
    runs: Path, out: Path | None = None, *, is_there: Callable[[Path], bool] = Path.exists
) -> tuple[Path, int]:
    """Write index.html over all runs below `runs` to `out` (default: `runs`); return its path and how many runs.

    Reads run.json and verdicts.json of each run (without the latter its evidence), one run after the other; what
    `is_there` says of a run's reports decides which ones are linked.
    Raises EvidenceError when the folder cannot be written, or index.html in it is somebody else's.
    """
    folder = out or runs
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise EvidenceError(
            f"{folder} cannot be made: {error.strerror or error}.",
            "Choose a folder that you may write to: --out DIR.",
        ) from error
    entries = sorted(_entries(runs, folder, is_there), key=lambda entry: entry.begun, reverse=True)
    text = render(
        "site.html.j2",
        in_all_languages(),
        entries=entries,
        phases=sorted({entry.phase for entry in entries}),
        trends=list(_trends(entries)),
        tallest=TALLEST,
        verdicts=list(Verdict),
        shown_changes=SHOWN_CHANGES,
        script=source("page.js") + "\n" + source("site.js"),
    )
    _require_ours(folder / INDEX)
    write_text(folder / INDEX, text)
    return folder / INDEX, len(entries)


def _trends(entries: list[Entry]) -> Iterator[Trend]:
    """Yield the trend of each phase that was run more than once; a run without a duration has the lowest bar."""
    for phase in sorted({entry.phase for entry in entries}):
        runs = [entry for entry in reversed(entries) if entry.phase == phase][-SHOWN_RUNS:]
        most_s = max((run.duration_s or 0.0 for run in runs), default=0.0)
        if len(runs) > 1 and most_s:
            heights = (max(4, round(TALLEST * (run.duration_s or 0.0) / most_s)) for run in runs)
            yield Trend(phase=phase, bars=tuple(zip(runs, heights, strict=True)), most_s=most_s)


def _require_ours(index: Path) -> None:
    """Refuse to overwrite a page that is not an index of ours. Raises EvidenceError."""
    if os.path.lexists(index):
        try:
            if any(mark in reader.read(index.parent, index.name) for mark in MARKS):
                return
        except EvidenceError:
            pass
        raise EvidenceError(
            f"{index} is not an index of runs that this software wrote; nothing was overwritten.",
            "Name another folder: --out DIR.",
        )


def _entries(runs: Path, folder: Path, is_there: Callable[[Path], bool]) -> Iterator[Entry]:
    """Yield the runs, oldest first; only the last verdicts of each phase are kept in memory."""
    last: dict[str, tuple[str, dict[Key, Verdict]]] = {}
    for run in all_runs(runs):
        header, unread, found = None, None, {}
        try:
            header = run.header()
            found = verdicts_of(run)
        except EvidenceError as error:
            header, unread = None, str(error)
        series = header.phase.id if header else ""
        before = last.get(series)
        yield Entry(
            id=run.id,
            phase=series or run.path.parent.name,
            header=header,
            links=_links(run, folder, is_there),
            duration_s=header.duration_s if header else None,
            counts=_counts(found),
            previous=before[0] if before else None,
            changes=compare(before[1], found) if before and not unread else None,
            unread=unread,
        )
        if found and header and header.finished_at:
            last[series] = (run.id, found)


def _links(run: Run, folder: Path, is_there: Callable[[Path], bool]) -> dict[str, str]:
    way = os.path.relpath(run.path, folder)
    names = ("report.html", "report.fr.md", "report.en.md", "run.json")
    return {name: quote(f"{way}/{name}") for name in names if is_there(run.path / name)}


def _counts(found: Mapping[Key, Verdict]) -> dict[Verdict, int]:
    values = list(found.values())
    order = (Verdict.PASS, *(verdict for verdict in Verdict if verdict is not Verdict.PASS))
    return {verdict: number for verdict in order if (number := values.count(verdict))}
