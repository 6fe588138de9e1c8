"""The report of a fleet run: a matrix of databases and steps, what did not come to its end, and why."""

from __future__ import annotations

import os
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from markupsafe import Markup

from runbooks_lib.execution.fleet.folder import FleetFolder
from runbooks_lib.execution.fleet.record import Fleet, Member
from runbooks_lib.findings import CLOSING, Verdict
from runbooks_lib.phase import STEPS
from runbooks_lib.report.markdown import escaped
from runbooks_lib.report.templates import in_all_languages, in_language, render, source

FOLDED_FROM = 200  # databases that came to their end: then the page shows them when asked
SLOWEST = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """A database as the report shows it; `at` is the step at which it stopped."""

    name: str
    link: str
    verdict: Verdict
    steps: tuple[Verdict | None, ...]
    duration_s: float
    labels: str
    at: str
    reason: str
    done: bool


def page(folder: FleetFolder, fleet: Fleet, to: Path) -> str:
    """Return the report as one page, in every language; its links lead from the folder `to`."""
    return render("fleet.html.j2", in_all_languages(), **_values(folder, fleet, to), script=source("page.js"))


def report(folder: FleetFolder, fleet: Fleet, to: Path, lang: str) -> str:
    """Return the report as Markdown in a language."""
    words = in_language(lang)
    return render("fleet.md.j2", _unescaped(words), **_values(folder, fleet, to), md=escaped)


def _unescaped(words: dict[str, Any]) -> dict[str, Any]:
    """Return the words of a language for Markdown, in which no entity of HTML is wanted."""
    return {
        "_": lambda *message, **variables: Markup(words["_"](*message, **variables)),
        "ngettext": lambda *message, **variables: Markup(words["ngettext"](*message, **variables)),
    }


def _values(folder: FleetFolder, fleet: Fleet, to: Path) -> dict[str, Any]:
    rows = [_row(folder, fleet, member, to) for member in fleet.members]
    states = Counter(member.ended.state for member in fleet.members)
    took = sorted((row for row in rows if row.duration_s), key=lambda row: -row.duration_s)
    return {
        "fleet": fleet,
        "steps": STEPS,
        "counts": {state: states[state] for state in ("done", "stopped", "lost", "waiting")},
        "failed": [row for row in rows if not row.done],
        "not_passed": [row for row in rows if not row.done],
        "passed": [row for row in rows if row.done],
        "slowest": took[:SLOWEST],
        "folded_from": FOLDED_FROM,
    }


def _row(folder: FleetFolder, fleet: Fleet, member: Member, to: Path) -> Row:
    ended = member.ended
    closed = [step for step, verdict in ended.steps.items() if verdict in CLOSING]
    leads = folder.run(member, fleet.phase.id) / "report.html"
    return Row(
        name=member.name,
        link=quote(os.path.relpath(leads, to)) if leads.exists() else "",
        verdict=ended.verdict or Verdict.ERROR,
        steps=tuple(ended.steps.get(step) for step in STEPS),
        duration_s=ended.duration_s,
        labels=", ".join(f"{name}={value}" for name, value in member.place.labels.items()),
        at=closed[-1] if closed else "–",
        reason=ended.reason,
        done=ended.state == "done",
    )
