"""The forms of a walk-through: a plan's confirmation, typed; and the signing off of what no program can see."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import ipywidgets

from runbooks_lib.notebook.step import Step
from runbooks_lib.phase import ENGLISH
from runbooks_lib.steps.signatures import manual_items
from runbooks_lib.visible import visible_html

WIDE = ipywidgets.Layout(width="100%")
TEXT = ipywidgets.Layout(width="22em")


class _Form:
    """A box of inputs with a line below it that says what became of them."""

    undecided: Mapping[str, Any]

    def __init__(self, *rows: Any) -> None:
        self.inputs: list[Any] = []
        self._said = ipywidgets.HTML(layout=WIDE)
        self._said.add_class("runbooks-said")
        self.widget = ipywidgets.VBox([*rows, self._said], layout=ipywidgets.Layout(margin="0 0 1em 0"))

    def say(self, text: str, *, good: bool) -> None:
        """Say what became of what was decided."""
        colour, symbol = ("#00663d", "✔") if good else ("#b3001b", "✘")
        self._said.value = f'<b style="color:{colour}">{symbol} {visible_html(text)}</b>'

    def lock(self) -> None:
        """Take no more input."""
        for each in self.inputs:
            each.disabled = True


class ConfirmationForm(_Form):
    """Type DATABASE:HASH8 and confirm, or go on without writing."""

    undecided: Mapping[str, Any] = {"apply": True}

    def __init__(self, step: Step, options: Mapping[str, Any], *, decided: Callable[..., None]) -> None:
        wanted = options["plan"].confirmation
        prompt = ipywidgets.HTML(
            f"To <b>write to the database</b>, type <code>{visible_html(wanted)}</code> and press <i>Confirm</i>. "
            "To write nothing, press <i>Only plan</i>.",
            layout=WIDE,
        )
        self.typed = ipywidgets.Text(placeholder="DATABASE:HASH8", value=options["confirm"], layout=TEXT)
        self.confirm = ipywidgets.Button(description="Confirm", button_style="danger")
        self.only_plan = ipywidgets.Button(description="Only plan")
        for name in ("typed", "confirm", "only_plan"):
            getattr(self, name).add_class(f"runbooks-{name}")
        super().__init__(prompt, ipywidgets.HBox([self.typed, self.confirm, self.only_plan]))
        self.inputs = [self.typed, self.confirm, self.only_plan]
        self.confirm.on_click(lambda _: decided(confirm=self.typed.value.strip(), apply=True))
        self.only_plan.on_click(lambda _: decided(confirm="", apply=False))


class SignOffForm(_Form):
    """A line for each manual item: verified or not, by whom, with what note."""

    undecided: Mapping[str, Any] = {"signed": None}

    def __init__(self, step: Step, options: Mapping[str, Any], *, decided: Callable[..., None]) -> None:
        self.by = ipywidgets.Text(value=options["by"], description="Signed by", layout=TEXT)
        self.done = ipywidgets.Button(description="Done", button_style="primary")
        self.lines = [
            _SignedItem(number, item.text.in_(ENGLISH)) for number, item in manual_items(step.phase).items()
        ]
        self.by.add_class("runbooks-by")
        self.done.add_class("runbooks-done")
        prompt = ipywidgets.HTML(
            "Tick what you have verified yourself, and say how. What is not ticked stays open.", layout=WIDE
        )
        rows = [line.widget for line in self.lines]
        super().__init__(prompt, *rows, ipywidgets.HBox([self.by, self.done]))
        self.inputs = [self.by, self.done, *(each for line in self.lines for each in (line.tick, line.note))]
        self.done.on_click(lambda _: decided(signed=self._signed(), by=self.by.value.strip()))

    def _signed(self) -> dict[int, str]:
        """Return the note of each item that is ticked."""
        return {line.number: line.note.value.strip() for line in self.lines if line.tick.value}


class _SignedItem:
    """One manual item of the checklist."""

    def __init__(self, number: int, text: str) -> None:
        self.number = number
        self.tick = ipywidgets.Checkbox(indent=False, layout=ipywidgets.Layout(width="2em"))
        self.note = ipywidgets.Text(placeholder="what you saw", layout=TEXT)
        self.tick.add_class("runbooks-tick")
        self.note.add_class("runbooks-note")
        label = ipywidgets.HTML(visible_html(text), layout=ipywidgets.Layout(width="30em"))
        self.widget = ipywidgets.HBox([self.tick, label, self.note])


# By the question that each is for.
FORMS: Mapping[str, Callable[..., _Form]] = {"confirmation": ConfirmationForm, "sign_off": SignOffForm}
