"""The notebook of the fleet: how far a fleet run is, the matrix of databases and steps, the slowest, the failures."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from urllib.parse import quote

from runbooks_lib.archive.run import runs_folder
from runbooks_lib.evidence import step_name
from runbooks_lib.execution.fleet.folder import FleetFolder, all_fleets
from runbooks_lib.execution.fleet.moment import Moment, moment
from runbooks_lib.execution.fleet.record import Fleet as Record
from runbooks_lib.execution.fleet.record import Member
from runbooks_lib.findings import CLOSING, Verdict
from runbooks_lib.notebook.front_end import front_end, link_to
from runbooks_lib.notebook.landing import live
from runbooks_lib.notebook.landing.panel import Bundle, Panel
from runbooks_lib.notebook.style import badge
from runbooks_lib.notebook.tables import bundle_of, prose
from runbooks_lib.phase import ENGLISH, STEPS
from runbooks_lib.report.markdown import escaped
from runbooks_lib.report.verdicts import SYMBOLS

Show = Callable[[Moment, FleetFolder], Bundle]
SHOWN = 200  # databases of the matrix and failures; all are in the report
SLOWEST = 5
HOW = "No fleet run is in this archive. Begin one: `runbooks fleet run PHASE --targets fleet.toml`."


class Fleet:
    """What 08_fleet.ipynb shows of the fleet run in a folder, else of the newest of the archive; it only looks.

    At a front end it looks again every 5 s, see `Live`, until the fleet run is sealed; else it says when it ends.
    """

    def __init__(self, folder: str = "") -> None:
        live.stop()
        self._named = folder
        self._panels: dict[Show, Panel] = {}
        self._seen: tuple[Moment, FleetFolder] | None = None  # at this look
        self._at = ""
        self._lock = threading.RLock()
        self._live: live.Live | None = None

    def progress(self) -> None:
        """Show which fleet run this is, how far it is, and where its dashboard and its report are."""
        panel = self._panel(_progress)
        if front_end() and self._goes_on():
            self._live = live.Live(self._lock, look=self.refresh, ended=lambda: self._rest(panel))
            self._live.clicked()

    def matrix(self) -> None:
        """Show each database and its steps: what failed first, then what is at work."""
        self._panel(_matrix)

    def slowest(self) -> None:
        """Show which databases took longest."""
        self._panel(_slowest)

    def failures(self) -> None:
        """Show what did not come to its end, why, and a link to the report of its run."""
        self._panel(_failures)

    def refresh(self) -> None:
        """Look again, and show everything anew where it stands."""
        with self._lock:
            self._seen = None
            for panel in self._panels.values():
                panel.refresh()
            if self._live is not None and self._seen is not None and not self._goes_on():
                self._live.stop()

    def _goes_on(self) -> bool:
        return self._seen is not None and not self._seen[0].sealed

    def _rest(self, panel: Panel) -> None:
        """Say that nobody looks any more at what goes on."""
        if self._seen is not None and self._goes_on():
            panel.show(_progress(*self._seen, since=self._at))

    def _panel(self, show: Show) -> Panel:
        with self._lock:
            panel = self._panels[show] = Panel(lambda: self._shown(show))
        return panel

    def _shown(self, show: Show) -> Bundle:
        if self._seen is None:
            folder = self._folder()
            if folder is None:
                return prose(HOW)
            self._seen, self._at = (moment(folder), folder), live.clock()
        return show(*self._seen)

    def _folder(self) -> FleetFolder | None:
        if self._named:
            return FleetFolder(Path(self._named).expanduser().absolute())
        return max(all_fleets(runs_folder()), key=lambda each: each.path.name, default=None)


def _progress(seen: Moment, folder: FleetFolder, since: str = "") -> Bundle:
    fleet = seen.fleet
    counted = ", ".join(f"{number} {state}" for state, number in seen.counts.items() if number)
    rows = [
        {"what": "fleet run", "is": fleet.id},
        {"what": "phase", "is": f"{fleet.phase.id}: {fleet.phase.title.get(ENGLISH, '')}"},
        {"what": "mode", "is": fleet.mode},
        {"what": "state", "is": badge(fleet.verdict) if seen.sealed else "in progress"},
        {"what": f"{len(fleet.members)} databases", "is": counted},
        {"what": "folder", "is": str(folder.path)},
    ]
    more = {
        "attention": since and f"Not looked at since {since} UTC: run this cell again.",
        "stopped": fleet.stopped_by,
        "to confirm": fleet.confirmation,
        "dashboard of the cluster": fleet.dashboard,
    }
    return bundle_of([*rows, *({"what": what, "is": said} for what, said in more.items() if said)])


def _matrix(seen: Moment, folder: FleetFolder) -> Bundle:
    members = sorted(seen.fleet.members, key=lambda each: _turn(seen, each))
    rows = [_row(seen, each) for each in members[:SHOWN]]
    if len(members) > SHOWN:
        rows.append({"state": f"and {len(members) - SHOWN} more, in the report"})
    return bundle_of(rows)


def _turn(seen: Moment, member: Member) -> int:
    """Return when a database has its turn: what failed, what is at work, what is done, what has not begun."""
    if member.name in seen.at_work:
        return 1
    return {"stopped": 0, "lost": 0, "done": 2, "waiting": 3}[member.ended.state]


def _row(seen: Moment, member: Member) -> dict[str, str]:
    ended = member.ended
    at_work = member.name in seen.at_work
    states = {"waiting": "not begun"}
    judged = ended.verdict if ended.state != "waiting" and not at_work else None
    steps = {step_name(step)[:2]: ended.steps.get(step) for step in STEPS}
    return {
        "verdict": badge(judged) if judged else f"{SYMBOLS[Verdict.SKIP]} not yet",
        "database": member.name,
        "state": "at work" if at_work else states.get(ended.state, ended.state),
        **{number: SYMBOLS[verdict] if verdict else "" for number, verdict in steps.items()},
        "seconds": f"{ended.duration_s:.1f}" if ended.duration_s else "",
    }


def _slowest(seen: Moment, folder: FleetFolder) -> Bundle:
    took = sorted(seen.fleet.members, key=lambda each: -each.ended.duration_s)
    rows = [
        {"database": each.name, "seconds": f"{each.ended.duration_s:.1f}"}
        for each in took[:SLOWEST]
        if each.ended.duration_s
    ]
    return bundle_of(rows) if rows else prose("No database has come to its end yet.")


def _failures(seen: Moment, folder: FleetFolder) -> Bundle:
    failed = [each for each in seen.fleet.failed if each.name not in seen.at_work]
    if not failed:
        return prose("None.")
    lines = [_failure(seen.fleet, folder, each) for each in failed[:SHOWN]]
    more = [f"- and {len(failed) - SHOWN} more, in the report"] if len(failed) > SHOWN else []
    return prose("\n".join([*lines, *more]))


def _failure(fleet: Record, folder: FleetFolder, member: Member) -> str:
    report = folder.run(member, fleet.phase.id) / "report.html"
    name = escaped(member.name)
    named = f"[{name}]({quote(link_to(report))})" if report.exists() else name
    closed = [step_name(step) for step, verdict in member.ended.steps.items() if verdict in CLOSING]
    at = f" at {closed[-1]}" if closed else ""
    return f"- {named}, {member.ended.verdict}{at}: {escaped(member.ended.reason)}"
