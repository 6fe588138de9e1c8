"""The forms of a walk-through: a plan's confirmation, typed; and the signing off of what no program can see."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import Any

import ipywidgets

from runbooks_lib.evidence import Record
from runbooks_lib.facts.contents import SignOff
from runbooks_lib.facts.writing import Confirmation, Plan
from runbooks_lib.findings import CLOSING, Verdict
from runbooks_lib.notebook.plan_view import plan_view, sentence
from runbooks_lib.notebook.step import Step
from runbooks_lib.notebook.style import STYLE, runs_on
from runbooks_lib.phase import ENGLISH, STEPS
from runbooks_lib.report.verdicts import SYMBOLS
from runbooks_lib.steps.confirming import judge_alone
from runbooks_lib.steps.signatures import manual_items
from runbooks_lib.visible import visible_html

WAITS = "<b>Waiting for you.</b>"
WIDE = ipywidgets.Layout(width="auto")
TEXT = ipywidgets.Layout(width="26em")
WHOLE = {"description_width": "initial"}  # a label is never cut
THEN = runs_on("What is below then runs by itself.", "Then run the cells below.")
NO_FORM = "No form can be drawn here. In a cell of your own"
Records = Mapping[str, Record]


class _Form(ABC):
    """A box of inputs with a line below it that says what became of them."""

    undecided: Mapping[str, Any]
    fallback: str

    def __init__(self, prompt: str, *rows: Any, above: tuple[Any, ...] = ()) -> None:
        self.inputs: list[Any] = []
        self.locked = False
        self._prompt = ipywidgets.HTML(f"{STYLE}{prompt}", layout=WIDE)
        self._said = ipywidgets.HTML(layout=WIDE)
        self._said.add_class("runbooks-said")
        # Boxes have scroll bars of their own for a pixel too much.
        self.widget = ipywidgets.VBox(
            [*above, self._prompt, *rows, self._said], layout=ipywidgets.Layout(overflow="visible")
        )
        self.widget.add_class("runbooks-form")

    @abstractmethod
    def kept(self, before: Record, evidence: Records) -> Mapping[str, Any] | None:
        """Return what was decided in this run before, and still holds; else None."""

    def say(self, text: str, *, good: bool) -> None:
        """Say what became of what was decided."""
        self._tell(Verdict.PASS if good else Verdict.FAIL, visible_html(text))

    def accept(self) -> None:
        """Take no more input, and say that it is decided."""
        self.lock()
        self._tell(Verdict.PASS, f"Decided: {runs_on('what is below runs now', 'run the cells below')}.")

    def _tell(self, verdict: Verdict, html: str) -> None:
        line = f'<b class="{verdict}">{SYMBOLS[verdict]} {html}</b>'
        self._said.value = f'{STYLE}<div class="runbooks" role="status">{line}</div>'

    def lock(self) -> None:
        """Take no more input, and ask for none."""
        self.locked = True
        self._prompt.value = ""
        for each in self.inputs:
            each.disabled = True


class ConfirmationForm(_Form):
    """What the plan would do, and below it: type DATABASE:HASH8 and confirm, or go on without writing."""

    undecided: Mapping[str, Any] = {"apply": True}
    fallback = "There is no plan to confirm: see above."

    def __init__(self, step: Step, options: Mapping[str, Any], *, decided: Callable[..., None]) -> None:
        self._plan: Plan = options["plan"]
        wanted = self._plan.confirmation
        shown = ipywidgets.HTML(layout=WIDE)
        if wanted:
            shown.value = plan_view(step, self._plan) + _others(step)
            self.fallback = (
                f"{sentence(step, self._plan)}\n{NO_FORM}, to write to the database: "
                f"decision.decide(confirm={wanted!r}, apply=True); to write nothing: "
                "decision.decide(confirm='', apply=False). Then run the cells below."
            )
        prompt = (
            f"{WAITS} To <b>write to the database</b>, type <code>{visible_html(wanted)}</code> "
            f"and press <i>Confirm</i>. To write nothing, press <i>Only plan</i>. {THEN}"
        )
        self.typed = ipywidgets.Text(
            placeholder="DATABASE:HASH8",
            description="Confirmation",
            value=options["confirm"],
            layout=TEXT,
            style=WHOLE,
        )
        self.confirm = ipywidgets.Button(description="Confirm", button_style="primary")
        self.only_plan = ipywidgets.Button(description="Only plan")
        for name in ("typed", "confirm", "only_plan"):
            getattr(self, name).add_class(f"runbooks-{name}")
        super().__init__(prompt, ipywidgets.HBox([self.typed, self.confirm, self.only_plan]), above=(shown,))
        self.inputs = [self.typed, self.confirm, self.only_plan]

        def confirm(_: object = None) -> None:
            decided(confirm=self.typed.value.strip(), apply=True)

        self.confirm.on_click(confirm)
        _on_enter(self.typed, confirm)
        self.only_plan.on_click(lambda _: decided(confirm="", apply=False))

    def kept(self, before: Record, evidence: Records) -> Mapping[str, Any] | None:
        """Return the confirmation that was given in this run; that nothing is to be written only of this very plan."""
        answer = before.answers.get(Confirmation.QUESTION[1])
        if answer is None or answer.verdict in CLOSING:
            return None
        given = before.facts(Confirmation).confirmed
        if given is not None:
            return {"apply": True, "confirm": given.confirmation, "by": given.by, "at": given.at}
        same = before.facts(Plan).hash == self._plan.hash
        return {"apply": False, "confirm": ""} if same else None


class SignOffForm(_Form):
    """A line for each manual item: verified or not, by whom, with what note."""

    undecided: Mapping[str, Any] = {"signed": None}

    def __init__(self, step: Step, options: Mapping[str, Any], *, decided: Callable[..., None]) -> None:
        self.by = ipywidgets.Text(value=options["by"], description="Signed by", layout=TEXT, style=WHOLE)
        self.done = ipywidgets.Button(description="Done", button_style="primary")
        items = {number: item.text.in_(ENGLISH) for number, item in manual_items(step.phase).items()}
        self.lines = [_SignedItem(number, text) for number, text in items.items()]
        told = "".join(f"{number}: {text}\n" for number, text in items.items())
        self.fallback = (
            f"{told}{NO_FORM}: signatures.decide(signed={{NUMBER: 'what you saw'}}); "
            "signatures.decide(signed={}) leaves them open. Then run the cells below."
        )
        self.by.add_class("runbooks-by")
        self.done.add_class("runbooks-done")
        prompt = (
            f"{WAITS} Tick what you have verified yourself, say what you saw, press <i>Done</i>. "
            f"What is not ticked stays open. {THEN}"
        )
        rows = [line.widget for line in self.lines]
        super().__init__(prompt, *rows, ipywidgets.HBox([self.by, self.done]))
        self.inputs = [self.by, self.done, *(each for line in self.lines for each in (line.tick, line.note))]

        def done(_: object = None) -> None:
            decided(signed=self._signed(), by=self.by.value.strip())

        self.done.on_click(done)
        for field in (self.by, *(line.note for line in self.lines)):
            _on_enter(field, done)

    def kept(self, before: Record, evidence: Records) -> Mapping[str, Any] | None:
        """Return what was signed in this run, unless a step before was run again since."""
        answer = before.answers.get(SignOff.QUESTION[1])
        earlier = [evidence[step].finished_at for step in STEPS[:-1] if step in evidence]
        if answer is None or answer.verdict in CLOSING:
            return None
        if any(ended is None or ended > answer.started_at for ended in earlier):
            return None
        signed = before.facts(SignOff).by_item
        for line in self.lines:
            if line.number in signed:
                line.tick.value, line.note.value = True, signed[line.number].note
        given = next(iter(signed.values()), None)
        by_whom = {"by": given.by, "at": given.at} if given else {}
        return {"signed": {number: each.note for number, each in signed.items()}} | by_whom

    def _signed(self) -> dict[int, str]:
        """Return the note of each item that is ticked."""
        return {line.number: line.note.value.strip() for line in self.lines if line.tick.value}


class _SignedItem:
    """One manual item of the checklist."""

    def __init__(self, number: int, text: str) -> None:
        self.number = number
        whole = ipywidgets.Layout(width="auto", min_width="20em")
        self.tick = ipywidgets.Checkbox(description=text, indent=False, layout=whole, style=WHOLE)
        self.note = ipywidgets.Text(placeholder="what you saw", description="Note", layout=TEXT, style=WHOLE)
        self.tick.add_class("runbooks-tick")
        self.note.add_class("runbooks-note")
        self.widget = ipywidgets.HBox([self.tick, self.note], layout=ipywidgets.Layout(flex_flow="row wrap"))


def _on_enter(field: Any, act: Callable[[], None]) -> None:
    """Have the Enter key in a field act as its button does."""
    field.on_msg(lambda _, content, __: act() if content.get("event") == "submit" else None)


def _others(step: Step) -> str:
    """Return who else is at work in the database that is written, for whoever is to confirm; nothing when nobody is."""
    name = step.phase.written
    found = judge_alone(name, step.sessions) if name else None
    if found is None or found.verdict is Verdict.PASS:
        return ""
    told = visible_html(f"{SYMBOLS[found.verdict]} Also at work: {found.have}. {found.hint}")
    return f'<p class="runbooks"><b class="{found.verdict}">{told}</b></p>'


# By the question that each is for.
FORMS: Mapping[str, Callable[..., _Form]] = {"confirmation": ConfirmationForm, "sign_off": SignOffForm}
