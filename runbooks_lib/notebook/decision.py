"""What only a person can decide: confirm a plan, sign off what no program can see.

At a front end a form stands above the findings, and the gate below stays closed until it is filled in. Without one
the notebook's parameters decide, by the same question and the same gate.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol

from IPython.display import display

from runbooks_lib.archive.run import now, operator
from runbooks_lib.errors import RunbookError
from runbooks_lib.findings import CLOSING, Answer, Finding
from runbooks_lib.notebook.recorder import Recorder
from runbooks_lib.notebook.step import Step
from runbooks_lib.notebook.tables import bundle_of, finding_rows, prose, summary
from runbooks_lib.notebook.walkthrough import WalkedStep


class Form(Protocol):
    """What is filled in: `widget` is shown; `decided` is called with the options that the question is asked with."""

    widget: Any
    undecided: Mapping[str, Any]  # the options as long as nothing is decided

    def say(self, text: str, *, good: bool) -> None:
        """Say beside the form what became of what was decided."""

    def lock(self) -> None:
        """Take no more input."""


class Decision:
    """A question whose answer is given by a person; `findings` are those of the answer as it is now."""

    def __init__(self, step: Step, question: Callable[..., Answer], options: Mapping[str, Any]) -> None:
        self._step = step
        self._question = question
        self._shown: tuple[Any, Any] | None = None
        self.options = dict(options) | {"by": operator(), "at": now()}
        self.form: Form | None = None
        if isinstance(step, WalkedStep):
            from runbooks_lib.notebook.forms import FORMS  # ipywidgets, of no use where nobody is

            form: Form = FORMS[question.__name__](step, self.options, decided=self._decide)
            self.options |= form.undecided
            self.form = form
        self.answer = step.ask(question, **self.options)

    @property
    def findings(self) -> tuple[Finding, ...]:
        """Return the findings of the answer as it is now."""
        return self.answer.findings

    @property
    def confirm(self) -> str:
        """Return the confirmation that was given: typed, or by parameter."""
        return str(self.options["confirm"])

    @property
    def apply(self) -> bool:
        """Return whether to write: decided by the person, or by parameter."""
        return bool(self.options["apply"])

    def show(self) -> None:
        """Display the form, if there is one, and below it the findings."""
        if self.form is not None:
            display(self.form.widget)
        self._shown = (
            display(prose(summary(self.findings)), raw=True, display_id=True),
            display(bundle_of(finding_rows(self.findings)), raw=True, display_id=True),
        )

    def _decide(self, **options: Any) -> None:
        """Ask again with what was decided; what passes the gate is final."""
        assert self.form is not None
        self.options |= {"at": now()} | options
        try:
            self.answer = self._step.ask(self._question, **self.options)
        except RunbookError as error:
            self.form.say(str(error), good=False)
            return
        if self.answer.verdict in CLOSING:
            self.form.say(next(f.hint for f in self.findings if f.verdict in CLOSING), good=False)
        else:
            self.form.lock()
            self.form.say(
                "Decided. Go on: select the cell `gate(…)` below, then Run ▸ Run Selected Cell and All Below.",
                good=True,
            )
            if self.options.get("apply"):
                self._step.arm()
        self._refresh()

    def _refresh(self) -> None:
        if self._shown is None:
            return
        counts, table = self._shown
        news = (prose(summary(self.findings)), bundle_of(finding_rows(self.findings)))
        for handle, bundle in zip((counts, table), news, strict=True):
            handle.update(bundle, raw=True)
            if Recorder.running is not None:
                Recorder.running.update(handle.display_id, bundle)


def decide(step: Step, question: Callable[..., Answer], /, **options: Any) -> Decision:
    """Put a question that a person decides; the parameters among `options` decide where nobody is there."""
    return Decision(step, question, options)
