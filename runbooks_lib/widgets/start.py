"""The landing notebook: which operation, do its servers answer, how far is the run, what is next."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from html import escape
from typing import Any

import ipywidgets
import psycopg
from IPython.display import display

from runbooks_lib.archive.run import Run, all_runs, runs_folder, step_name, unfinished
from runbooks_lib.archive.step import phase_in_progress
from runbooks_lib.errors import RunbookError
from runbooks_lib.findings import CLOSING, Verdict
from runbooks_lib.phase import STEPS, Role, Target, load_phase, shipped_ids
from runbooks_lib.postgres.connect import Sessions, service_names
from runbooks_lib.postgres.locks import other_runs
from runbooks_lib.postgres.replication import present_lag
from runbooks_lib.widgets.front_end import front_end, link_to
from runbooks_lib.widgets.tables import bundle_of, prose
from runbooks_lib.widgets.verdicts import SYMBOLS

NOT_YET = "not yet"
Rows = list[dict[str, str]]


class Start:
    """What 00_start.ipynb shows of a phase: that of the run in progress, or the one that is chosen."""

    def __init__(self, phase: str = "") -> None:
        self.phase = load_phase(phase or phase_in_progress())
        self._panels: list[tuple[Any, Callable[[], dict[str, str]]]] = []

    @property
    def run(self) -> Run | None:
        """Return the phase's newest run, in progress or at its end."""
        return max(all_runs(runs_folder(), self.phase.id), key=lambda run: run.id, default=None)

    def choose(self) -> None:
        """Show which phase this is; at a front end another can be chosen, and a run begun or ended."""
        if front_end():
            display(self._chooser())
        self._panel(self._phase_rows)

    def servers(self) -> None:
        """Show who answers at each target, as what, and who else carries a runbook out there."""
        self._panel(self._server_rows)

    def steps(self) -> None:
        """Show how each step of the run in progress ended."""
        self._panel(self._step_rows)

    def following(self) -> None:
        """Show a link to the notebook that is to be run next."""
        handle = display(prose(self._next()), raw=True, display_id=True)
        self._panels.append((handle, lambda: prose(self._next())))

    def refresh(self) -> None:
        """Look again, and show everything anew where it stands."""
        for handle, look in self._panels:
            handle.update(look(), raw=True)

    def _panel(self, rows: Callable[[], Rows]) -> None:
        handle = display(bundle_of(rows()), raw=True, display_id=True)
        self._panels.append((handle, lambda: bundle_of(rows())))

    def _phase_rows(self) -> Rows:
        run = self.run
        return [
            {"what": "phase", "is": self.phase.id},
            {"what": "title", "is": self.phase.title.en},
            {"what": "newest run", "is": f"{run.id}, {_state(run)}" if run else "none"},
            {"what": "archive", "is": str(runs_folder())},
            {"what": "services defined", "is": ", ".join(sorted(service_names())) or "none"},
        ]

    def _server_rows(self) -> Rows:
        with Sessions(self.phase.targets, application_name="runbooks start -") as sessions:
            return [
                _server_row(name, target, sessions, self.run) for name, target in self.phase.targets.items()
            ]

    def _step_rows(self) -> Rows:
        evidence = self.run.evidence() if self.run else {}
        return [_step_row(step, evidence.get(step)) for step in STEPS]

    def _next(self) -> str:
        evidence = self.run.evidence() if self.run else {}
        for step in STEPS:
            verdict = evidence.get(step, {}).get("verdict")
            if verdict is None or Verdict(verdict) in CLOSING:
                return f"Next: [{step_name(step)}]({step_name(step)}.ipynb)"
        assert self.run is not None
        report = link_to(self.run.path / "report.html")
        return f"Every step of this run has passed: [read its report]({report}), or begin another run above."

    def _chooser(self) -> Any:
        phases = ipywidgets.Combobox(
            options=shipped_ids(), value=self.phase.id, description="Phase", layout={"width": "34em"}
        )
        begin = ipywidgets.Button(description="Begin a run", button_style="primary")
        end = ipywidgets.Button(
            description="Seal it as it is", tooltip="end the run in progress, with its verdict"
        )
        again = ipywidgets.Button(description="Look again")
        said = ipywidgets.HTML()
        for widget, name in (
            (phases, "phase"),
            (begin, "begin"),
            (end, "end"),
            (again, "again"),
            (said, "said"),
        ):
            widget.add_class(f"runbooks-{name}")

        def act(action: Callable[[], str]) -> Callable[[object], None]:
            def on_click(_: object) -> None:
                try:
                    said.value = action()
                except RunbookError as error:
                    said.value = f"<b>{SYMBOLS[Verdict.FAIL]}</b> {escape(str(error))}"
                self.refresh()

            return on_click

        begin.on_click(act(lambda: self._begin(phases.value)))
        end.on_click(act(self._end))
        again.on_click(act(lambda: self._choose(phases.value)))
        return ipywidgets.VBox([phases, ipywidgets.HBox([begin, again, end]), said])

    def _choose(self, phase: str) -> str:
        self.phase = load_phase(phase)
        return ""

    def _begin(self, phase: str) -> str:
        self.phase = load_phase(phase)
        run = Run.create(runs_folder(), self.phase)
        return f"Run {run.id} is begun: open the notebook below."

    def _end(self) -> str:
        run = unfinished(runs_folder(), self.phase.id)
        if run is None:
            return "No run is in progress."
        from runbooks_lib.archive.finish import finish_by_hand

        finish_by_hand(run)
        return f"Run {run.id} is sealed as {run.header()['verdict']}."


def _state(run: Run) -> str:
    """Return whether a run goes on, or how it ended."""
    header = run.header()
    return f"{header['verdict']} at {header['finished_at']}" if header["finished_at"] else "in progress"


def _server_row(name: str, target: Target, sessions: Sessions, run: Run | None) -> dict[str, str]:
    row = {"light": SYMBOLS[Verdict.ERROR], "target": name, "service": target.service}
    try:
        who = sessions.identity(name)
        right = (who.role, who.database) == (target.role, target.database)
        lag = f"{present_lag(sessions, name, target)} bytes behind" if target.role is Role.STANDBY else ""
        others = other_runs(sessions.unguarded(name), run.id if run else "-")
    except (RunbookError, psycopg.Error) as error:
        return row | {"answers": f"{error}", "role": "", "lag": "", "also at work": ""}
    return row | {
        "light": SYMBOLS[Verdict.PASS if right else Verdict.FAIL],
        "answers": f"{who.server}, database {who.database}, PostgreSQL {who.server_version}",
        "role": who.role.value
        if right
        else f"{who.role} of {who.database}, declared {target.role} of {target.database}",
        "lag": lag,
        "also at work": "; ".join(others) or "nobody",
    }


def _step_row(step: str, record: Mapping[str, Any] | None) -> dict[str, str]:
    name = step_name(step)
    if record is None:
        return {"verdict": f"{SYMBOLS[Verdict.SKIP]} {NOT_YET}", "step": name, "ended": "", "findings": ""}
    verdict = Verdict(record["verdict"]) if record["verdict"] else None
    return {
        "verdict": f"{SYMBOLS[verdict]} {verdict}" if verdict else f"{SYMBOLS[Verdict.SKIP]} begun",
        "step": name,
        "ended": record["finished_at"] or "",
        "findings": str(sum(len(answer["findings"]) for answer in record["answers"].values())),
    }
