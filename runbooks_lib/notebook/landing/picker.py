"""What is chosen on the landing page: the phase, and by which service each of its targets is reached."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import ipywidgets

from runbooks_lib.findings import Verdict
from runbooks_lib.phase import Phase, Target, is_service_name, reference, shipped_ids
from runbooks_lib.postgres.session.service_file import service_names
from runbooks_lib.report.verdicts import SYMBOLS
from runbooks_lib.visible import visible_html

WIDTH = {"width": "60em", "max_width": "98%"}  # a path is read as a whole
Act = Callable[[], str]


def status(text: str, *, good: bool) -> str:
    """Return as HTML what became of a click."""
    symbol = "" if good else f"<b>{SYMBOLS[Verdict.FAIL]}</b> "
    return f'<span role="status">{symbol}{visible_html(text)}</span>' if text else ""


class Picker:
    """The phase, a dropdown for each target, and the buttons; `act` is called with what is to be done on a click.

    It returns the sentence to say. `choose` and `begin` get a phase by its id or path, `pick` a target and a service.
    """

    def __init__(
        self,
        phase: Phase,
        act: Callable[[Act], None],
        *,
        choose: Callable[[str], str],
        pick: Callable[[str, str], str],
        begin: Callable[[str], str],
        end: Act,
    ) -> None:
        self._act = act
        self._pick = pick
        self.phases = ipywidgets.Combobox(
            options=shipped_ids(),
            value=reference(phase),
            description="Phase",
            continuous_update=False,
            layout=WIDTH,
        )
        self.services: dict[str, Any] = {}
        self._targets = ipywidgets.VBox()
        self.begin = ipywidgets.Button(description="Begin a run")
        self.again = ipywidgets.Button(description="Look again")
        self.end = ipywidgets.Button(
            description="Seal it as it is", tooltip="end the run in progress, with its verdict"
        )
        self._said = ipywidgets.HTML()
        for widget, name in (
            (self.phases, "phase"),
            (self.begin, "begin"),
            (self.end, "end"),
            (self.again, "again"),
            (self._said, "said"),
        ):
            widget.add_class(f"runbooks-{name}")
        self.phases.observe(lambda change: act(lambda: choose(change.new)), "value")
        self.begin.on_click(lambda _: act(lambda: begin(self.phases.value)))
        self.end.on_click(lambda _: act(end))
        self.again.on_click(lambda _: act(lambda: choose(self.phases.value)))
        buttons = ipywidgets.HBox([self.begin, self.again, self.end])
        self.widget = ipywidgets.VBox([self.phases, self._targets, buttons, self._said])
        self.show(phase)

    def show(self, phase: Phase) -> None:
        """Show for each target of a phase the services that there are."""
        before = self._targets.children
        self.services = {name: self._dropdown(target) for name, target in phase.targets.items()}
        self._targets.children = tuple(self.services.values())
        for each in before:
            each.close()

    def offer(self, begin: bool) -> None:
        """Have *Begin a run* be the primary button, or leave that to what comes next."""
        self.begin.button_style = "primary" if begin else ""

    def say(self, text: str, *, good: bool = True) -> None:
        """Say below the buttons what became of a click."""
        self._said.value = status(text, good=good)

    def _dropdown(self, target: Target) -> Any:
        defined = {name for name in service_names() if is_service_name(name)}
        names = sorted(defined | {target.service})
        dropdown = ipywidgets.Dropdown(
            options=[(name if name in defined else f"{name} (not defined)", name) for name in names],
            value=target.service,
            description=target.name,
            layout=WIDTH,
        )
        dropdown.add_class(f"runbooks-service-{target.name}")
        dropdown.observe(lambda change: self._act(lambda: self._pick(target.name, change.new)), "value")
        return dropdown
