"""The forms of a walk-through: a plan's confirmation, typed; and the signing off of what no program can see."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from html import escape
from typing import Any

import ipywidgets

from runbooks_lib.archive.step import Step

WIDE = ipywidgets.Layout(width="100%")
TEXT = ipywidgets.Layout(width="22em")


class _Form:
    """A box of inputs with a line below it that says what became of them."""

    undecided: Mapping[str, Any]

    def __init__(self, *rows: Any) -> None:
        self._inputs: list[Any] = []
        self._said = ipywidgets.HTML(layout=WIDE)
        self._said.add_class("runbooks-said")
        self.widget = ipywidgets.VBox([*rows, self._said], layout=ipywidgets.Layout(margin="0 0 1em 0"))

    def say(self, text: str, *, good: bool) -> None:
        """Say what became of what was decided."""
        colour, symbol = ("#00663d", "✔") if good else ("#b3001b", "✘")
        self._said.value = f'<b style="color:{colour}">{symbol} {escape(text)}</b>'

    def lock(self) -> None:
        """Take no more input."""
        for each in self._inputs:
            each.disabled = True


class ConfirmationForm(_Form):
    """Type DATABASE:HASH8 and confirm, or go on without writing."""

    undecided: Mapping[str, Any] = {"apply": True}

    def __init__(self, step: Step, options: Mapping[str, Any], *, decided: Callable[..., None]) -> None:
        wanted = options["plan"].get("confirmation", "")
        prompt = ipywidgets.HTML(
            f"To <b>write to the database</b>, type <code>{escape(wanted)}</code> and press <i>Confirm</i>. "
            "To write nothing, press <i>Only plan</i>.",
            layout=WIDE,
        )
        typed = ipywidgets.Text(placeholder="DATABASE:HASH8", value=options["confirm"], layout=TEXT)
        confirm = ipywidgets.Button(description="Confirm", button_style="danger")
        plan = ipywidgets.Button(description="Only plan")
        for widget, name in ((typed, "typed"), (confirm, "confirm"), (plan, "only-plan")):
            widget.add_class(f"runbooks-{name}")
        super().__init__(prompt, ipywidgets.HBox([typed, confirm, plan]))
        self._inputs = [typed, confirm, plan]
        confirm.on_click(lambda _: decided(confirm=typed.value.strip(), apply=True))
        plan.on_click(lambda _: decided(confirm="", apply=False))


class SignOffForm(_Form):
    """A line for each manual item: verified or not, by whom, with what note."""

    undecided: Mapping[str, Any] = {"signed": None}

    def __init__(self, step: Step, options: Mapping[str, Any], *, decided: Callable[..., None]) -> None:
        manual = [(n, item) for n, item in enumerate(step.phase.checklist) if item.manual]
        by = ipywidgets.Text(value=options["by"], description="Signed by", layout=TEXT)
        lines = [_SignedItem(number, item.text.en) for number, item in manual]
        done = ipywidgets.Button(description="Done", button_style="primary")
        by.add_class("runbooks-by")
        done.add_class("runbooks-done")
        prompt = ipywidgets.HTML(
            "Tick what you have verified yourself, and say how. What is not ticked stays open.", layout=WIDE
        )
        super().__init__(prompt, *(line.widget for line in lines), ipywidgets.HBox([by, done]))
        self._inputs = [by, done, *(each for line in lines for each in line.inputs)]
        done.on_click(
            lambda _: decided(
                signed={line.number: line.note for line in lines if line.ticked}, by=by.value.strip()
            )
        )


class _SignedItem:
    """One manual item of the checklist."""

    def __init__(self, number: int, text: str) -> None:
        self.number = number
        tick = ipywidgets.Checkbox(indent=False, layout=ipywidgets.Layout(width="2em"))
        note = ipywidgets.Text(placeholder="what you saw", layout=TEXT)
        tick.add_class("runbooks-tick")
        note.add_class("runbooks-note")
        self.inputs = (tick, note)
        label = ipywidgets.HTML(escape(text), layout=ipywidgets.Layout(width="30em"))
        self.widget = ipywidgets.HBox([tick, label, note])

    @property
    def ticked(self) -> bool:
        """Return whether the item was verified."""
        return bool(self.inputs[0].value)

    @property
    def note(self) -> str:
        """Return what was seen, in the operator's words."""
        return str(self.inputs[1].value).strip()
