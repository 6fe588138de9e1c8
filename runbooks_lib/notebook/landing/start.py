"""The landing notebook: which operation, do its servers answer, how far is the run, what is next."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

from IPython.display import display

from runbooks_lib.amounts import moment
from runbooks_lib.archive.run import Run, all_runs, runs_folder, unfinished
from runbooks_lib.errors import RunbookError
from runbooks_lib.evidence import Evidence, Record, step_name
from runbooks_lib.findings import CLOSING, Verdict, worst_of
from runbooks_lib.notebook.front_end import front_end
from runbooks_lib.notebook.landing import live
from runbooks_lib.notebook.landing.adopt import Adoption
from runbooks_lib.notebook.landing.lights import APPLICATION, Lights, light_rows
from runbooks_lib.notebook.landing.newest import Newest, ahead_of
from runbooks_lib.notebook.landing.panel import Bundle, Panel
from runbooks_lib.notebook.landing.picker import Picker
from runbooks_lib.notebook.landing.place import elsewhere, other_services
from runbooks_lib.notebook.lead import Lead
from runbooks_lib.notebook.step import phase_in_progress
from runbooks_lib.notebook.style import badge
from runbooks_lib.notebook.tables import bundle_of, table
from runbooks_lib.phase import ENGLISH, STEPS, Phase, load_phase, reference, services_of, with_services
from runbooks_lib.postgres.session.connect import Sessions
from runbooks_lib.postgres.session.service_file import service_names
from runbooks_lib.prisma.named import PROJECT_VARIABLE, naming
from runbooks_lib.report.verdicts import SYMBOLS

NOT_YET = "not yet"
Rows = list[dict[str, str]]


class Start:
    """What 00_start.ipynb shows of a phase: that of the run in progress, or the one that is chosen.

    At a front end it is live, see `Live`; one that is made anew in the same kernel ends the one before.
    """

    def __init__(self, phase: str = "") -> None:
        live.stop()
        self.phase = _as_in_progress(load_phase(phase or phase_in_progress()))
        self.picker: Picker | None = None
        self.adoption: Adoption | None = None
        self._panels: dict[str, Panel] = {}
        self._places: dict[tuple[str, ...], str] = {}  # what is settled of a run; see `_where`
        self._projects: dict[str, Path] = {}  # of phases that were drafted here
        self._archive: tuple[Run, ...] | None = None  # at this look
        self._seen: Newest | None = None  # at this look; see `_newest`
        self._lock = threading.RLock()  # clicks, and what looks again by itself, come one after the other
        self._live: live.Live | None = None
        self._lead: Lead | None = None

    def choose(self) -> None:
        """Show which phase this is; at a front end another one and its services can be chosen, or one be drafted.

        There a run can be begun, or ended, too.
        """
        if front_end():
            self.picker = Picker(
                self.phase, self._act, choose=self._choose, pick=self._pick, begin=self._begin, end=self._end
            )
            self.adoption = Adoption(self._take)
            self._lead = Lead(self.picker.widget, self.adoption.widget)
            display(self._lead.box)
        self._panel("phase", lambda: bundle_of(self._phase_rows()))

    def servers(self) -> None:
        """Show who answers at each target, as what, and who else carries a runbook out there."""
        if not front_end():
            with Sessions(self.phase.targets, application_name=APPLICATION) as sessions:
                table(light_rows(sessions, self._own()))
            return
        live.stop()
        with self._lock:
            lights = Lights(lambda: self.phase.targets, self._own)
            self._panels["servers"] = lights
            self._live = live.Live(self._lock, look=self.refresh, ended=lights.rest)
            self._live.clicked()

    def steps(self) -> None:
        """Show how each step of the run in progress ended."""
        self._panel("steps", lambda: bundle_of(self._step_rows()))

    def following(self) -> None:
        """Show a link to the notebook that is to be run next; at a front end, go to what is to be pressed."""
        self._panel("following", self._next)
        if self._lead is not None:
            primary = ahead_of(self._newest(), begin=True).primary
            (self._lead.to_end if primary else self._lead.here)()

    def refresh(self) -> None:
        """Look again, and show everything anew where it stands."""
        self._forget()
        for panel in self._panels.values():
            panel.refresh()

    def _panel(self, name: str, look: Callable[[], Bundle]) -> None:
        with self._lock:
            self._forget()
            self._panels[name] = Panel(look)

    def _forget(self) -> None:
        self._archive = self._seen = None

    def _runs(self) -> tuple[Run, ...]:
        """Return the runs of the archive, oldest first, which are listed once for all that is shown anew together."""
        if self._archive is None:
            self._archive = tuple(all_runs(runs_folder()))
        return self._archive

    def _newest(self) -> Newest | None:
        """Return the phase's newest run, in progress or at its end; None without one."""
        if self._seen is None:
            ours = (run for run in reversed(self._runs()) if run.path.parent.name == self.phase.id)
            self._seen = next((Newest(run, partial(self._where, run)) for run in ours), None)
        return self._seen

    def _own(self) -> list[str]:
        """Return the ids of the archive's runs, the phase's newest last."""
        newest = self._newest()
        return [*(run.id for run in self._runs()), newest.run.id if newest else "-"]

    def _where(self, run: Run, seen: Evidence) -> str:
        """Return why a run says nothing of the servers that answer now; empty when it is of these.

        It is asked until that is settled for a run and its services, and again when something is clicked.
        """
        asked = (run.id, str(seen.header.finished_at), *services_of(self.phase).values())
        if asked in self._places:
            return self._places[asked]
        why, settled = elsewhere(seen, self.phase)
        if settled:
            self._places[asked] = why
        return why

    def _phase_rows(self) -> Rows:
        newest = self._newest()
        rows = [
            {"what": "phase", "is": self.phase.id},
            {"what": "title", "is": self.phase.title.in_(ENGLISH)},
            {"what": "newest run", "is": newest.state if newest else "none"},
            {"what": "archive", "is": str(runs_folder())},
            {"what": "services defined", "is": ", ".join(sorted(service_names())) or "none"},
        ]
        header = newest.evidence.header if newest else None
        if header and not header.finished_at and (others := other_services(header, self.phase)):
            said = (
                f"Run {header.id} is in progress with other services ({others}), and its notebooks go on with those. "
                "Begin a run begins another one, with the services that are chosen here."
            )
            rows.append({"what": "attention", "is": said})
        return rows

    def _step_rows(self) -> Rows:
        newest = self._newest()
        records = newest.records if newest else {}
        return [_step_row(step, records.get(step)) for step in STEPS]

    def _next(self) -> Bundle:
        """Say what is to be pressed now; nothing else is a primary button."""
        found = ahead_of(self._newest(), begin=self.picker is not None)
        if self.picker is not None:
            self.picker.offer(begin=not found.primary)
        return found.bundle()

    def _act(self, action: Callable[[], str]) -> None:
        """Do what was clicked, say what became of it, and show everything anew."""
        with self._lock:
            assert self.picker is not None
            self._places.clear()
            try:
                self.picker.say(action())
            except RunbookError as error:
                self.picker.say(str(error), good=False)
                if self._lead is not None:
                    self._lead.here()
            self.refresh()
            if self._live is not None:
                self._live.clicked()

    def _choose(self, phase: str) -> str:
        """Take up a phase as its file is now; the services that are chosen stay, where it is the same phase."""
        assert self.picker is not None
        loaded = load_phase(phase)
        same = loaded.id == self.phase.id
        self.phase = _at(loaded, services_of(self.phase)) if same else _as_in_progress(loaded)
        self.picker.show(self.phase)
        return ""

    def _take(self, folder: Path, project: Path) -> None:
        """Have a phase that was just drafted be the one that is chosen, and its runs be of this project."""
        assert self.picker is not None
        self._projects[reference(load_phase(str(folder)))] = project
        self.picker.phases.value = str(folder)  # which is a choice like any other

    def _pick(self, target: str, service: str) -> str:
        self.phase = with_services(self.phase, {target: service})
        return ""

    def _begin(self, phase: str) -> str:
        self._choose(phase)
        with naming(self._project()):
            run = Run.create(runs_folder(), self.phase)
        if self._lead is not None:
            self._lead.to_end()  # where the link is
        return f"Run {run.id} is begun: open the notebook below."

    def _project(self) -> Path | None:
        """Return the project that the phase was drafted of, here or for an earlier run; None: the variable names it."""
        newest = self._newest()
        before = (
            newest.evidence.header.prisma_project if newest and not os.environ.get(PROJECT_VARIABLE) else None
        )
        return self._projects.get(reference(self.phase)) or (Path(before) if before else None)

    def _end(self) -> str:
        run = unfinished(runs_folder(), self.phase.id)
        if run is None:
            return "No run is in progress."
        from runbooks_lib.execution.finish import finish_by_hand

        finish_by_hand(run)
        return f"Run {run.id} is sealed as {run.header().verdict}."


def _as_in_progress(phase: Phase) -> Phase:
    """Return a phase with the services of its run in progress, if there is one."""
    run = unfinished(runs_folder(), phase.id)
    return _at(phase, run.services()) if run else phase


def _at(phase: Phase, services: Mapping[str, str]) -> Phase:
    """Return a phase with these services at those targets that it has: another version of it may have others."""
    return with_services(phase, {name: each for name, each in services.items() if name in phase.targets})


def _step_row(step: str, record: Record | None) -> dict[str, str]:
    name = step_name(step)
    if record is None:
        return {"verdict": f"{SYMBOLS[Verdict.SKIP]} {NOT_YET}", "step": name, "ended": "", "findings": ""}
    found = record.verdict or worst_of(answer.verdict for answer in record.answers.values())
    judged = (
        record.verdict or found in CLOSING
    )  # what a gate has stopped is red, though its last cell was not run
    return {
        "verdict": badge(found) if judged else f"{SYMBOLS[Verdict.SKIP]} begun",
        "step": name,
        "ended": moment(record.finished_at) if record.finished_at else "",
        "findings": str(len(record.findings)),
    }
