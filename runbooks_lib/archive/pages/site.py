"""The archive's index: every run, what changed since the run before it, and the way to its report."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote

from runbooks_lib.archive.files import write_text
from runbooks_lib.archive.pages.changes import Changes, Key, compare, verdicts_of
from runbooks_lib.archive.pages.page import in_all_languages, render, source
from runbooks_lib.archive.run import Run, all_runs
from runbooks_lib.errors import EvidenceError
from runbooks_lib.findings import Verdict

INDEX = "index.html"
SHOWN_CHANGES = 12  # of each kind and run; the page stays small


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """A run in the index.

    `counts` are its findings by verdict; `changes` what differs from `previous`, the run of the same phase
    before it (None: there is none). `unread` says why a run's evidence could not be read.
    """

    header: Mapping[str, Any]
    links: Mapping[str, str]
    duration_s: float | None
    counts: Mapping[Verdict, int]
    previous: str | None
    changes: Changes | None
    unread: str | None


def write_site(runs: Path, out: Path | None = None) -> tuple[Path, int]:
    """Write index.html over all runs below `runs` to `out` (default: `runs`); return its path and how many runs.

    Reads run.json and verdicts.json of each run (without the latter its evidence), one run after the other.
    Raises EvidenceError when the folder cannot be written.
    """
    folder = out or runs
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise EvidenceError(
            f"{folder} cannot be made: {error.strerror or error}.",
            "Choose a folder that you may write to: --out DIR.",
        ) from error
    entries = sorted(_entries(runs, folder), key=lambda entry: str(entry.header["started_at"]), reverse=True)
    text = render(
        "site.html.j2",
        in_all_languages(),
        entries=entries,
        phases=sorted({str(entry.header["phase"]["id"]) for entry in entries}),
        verdicts=list(Verdict),
        shown_changes=SHOWN_CHANGES,
        script=source("page.js") + "\n" + source("site.js"),
    )
    write_text(folder / INDEX, text)
    return folder / INDEX, len(entries)


def _entries(runs: Path, folder: Path) -> Iterator[Entry]:
    """Yield the runs, oldest first; only the last verdicts of each phase are kept in memory."""
    last: dict[str, tuple[str, dict[Key, Verdict]]] = {}
    for run in all_runs(runs):
        unread, found = None, {}
        try:
            header = run.header()
            series = str(header["phase"]["id"])
            found = verdicts_of(run)
        except (EvidenceError, KeyError, TypeError, AttributeError) as error:
            unread = str(error)
            header = _unreadable(run)
            series = ""
        before = last.get(series)
        yield Entry(
            header=header,
            links=_links(run, folder),
            duration_s=_duration(header),
            counts=_counts(found),
            previous=before[0] if before else None,
            changes=compare(before[1], found) if before and not unread else None,
            unread=unread,
        )
        if found:
            last[series] = (run.id, found)


def _unreadable(run: Run) -> dict[str, Any]:
    """Return what an index shows of a run that cannot be read: that it is there."""
    return {
        "id": run.id,
        "phase": {"id": run.path.parent.name, "title": {"en": ""}},
        "mode": "",
        "verdict": None,
        "started_at": "",
        "finished_at": None,
        "operator": {"user": "", "host": ""},
    }


def _links(run: Run, folder: Path) -> dict[str, str]:
    way = os.path.relpath(run.path, folder)
    names = ("report.html", "report.fr.md", "report.en.md", "run.json")
    return {name: quote(f"{way}/{name}") for name in names if (run.path / name).exists()}


def _counts(found: Mapping[Key, Verdict]) -> dict[Verdict, int]:
    values = list(found.values())
    return {verdict: number for verdict in Verdict if (number := values.count(verdict))}


def _duration(header: Mapping[str, Any]) -> float | None:
    ended = header.get("stopped_at") or header.get("finished_at")
    if not ended or not header["started_at"]:
        return None
    return (datetime.fromisoformat(ended) - datetime.fromisoformat(header["started_at"])).total_seconds()
