"""What only a person can decide: confirm a plan, sign off what no program can see.

At a front end a form stands above the findings, and the notebook waits at the gate below until it is filled in. Without
one the notebook's parameters decide, by the same question and the same gate.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol

from IPython.display import display

from runbooks_lib.archive.run import now, operator
from runbooks_lib.errors import RunbookError, Waiting
from runbooks_lib.evidence import Record
from runbooks_lib.findings import CLOSING, Answer, Finding, Verdict
from runbooks_lib.notebook.recorder import Recorder
from runbooks_lib.notebook.step import Step
from runbooks_lib.notebook.tables import bundle_of, finding_rows, prose, summary
from runbooks_lib.notebook.walkthrough import WalkedStep

Bundle = dict[str, str]
DECIDED = "Decided. Run the cells below."


class Form(Protocol):
    """What is filled in: `widget` is shown; `decided` is called with the options that the question is asked with."""

    widget: Any
    fallback: str  # what stands there where no form can be drawn
    undecided: Mapping[str, Any]  # the options as long as nothing is decided
    locked: bool  # nothing more is taken

    def kept(self, before: Record, evidence: Mapping[str, Record]) -> Mapping[str, Any] | None:
        """Return what was decided in this run before, and still holds; else None."""

    def say(self, text: str, *, good: bool) -> None:
        """Say beside the form what became of what was decided."""

    def lock(self) -> None:
        """Take no more input."""

    def accept(self) -> None:
        """Take no more input, and say that it is decided."""


class Decision:
    """A question whose answer is given by a person; `answer` is the one as it is now, None as long as none is given."""

    def __init__(self, step: Step, question: Callable[..., Answer], options: Mapping[str, Any]) -> None:
        self._step = step
        self._question = question
        self._shown: tuple[Any, Any] | None = None
        self.options = dict(options) | {"by": operator(), "at": now()}
        self.answer: Answer | None = None
        self.form: Form | None = self._form() if isinstance(step, WalkedStep) else None
        if self.form is None:
            self.answer = step.ask(question, **self.options)
        else:
            self._remember(self.form)

    @property
    def decided(self) -> bool:
        """Tell whether the gate may judge: nobody is to decide, or somebody has."""
        return self.answer is not None and (self.form is None or self.answer.verdict not in CLOSING)

    @property
    def findings(self) -> tuple[Finding, ...]:
        """Return the findings of the answer. Raises Waiting as long as it is not decided."""
        if self.answer is None or not self.decided:
            raise Waiting("Fill in the form above.")
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
        """Display the form, if there is one, and below it the findings, or room for them."""
        if self.form is not None:
            drawn = dict(self.form.widget._repr_mimebundle_())
            display(drawn | {"text/plain": self.form.fallback}, raw=True)
        counts, table = self._told()
        self._shown = (
            display(counts, raw=True, display_id=True),
            display(table, raw=True, display_id=True),
        )

    def decide(self, **options: Any) -> str:
        """Take what was decided, if the question passes with it, and have the front end run what is below.

        Returns what became of it in a sentence, for whoever has no form.
        """
        from runbooks_lib.notebook.banner import Banner

        assert self.form is not None
        if self.form.locked:  # a second click came before the first had its answer
            return DECIDED
        try:
            refused = self._take({"at": now()} | options)
        except RunbookError as error:
            refused = str(error)
            self._step.sessions.close()  # what was lost with the server is not asked again
            self._step.sessions.retry()
        if refused:
            self.form.say(refused, good=False)
            if Banner.running is not None:
                Banner.running.to_answer()
            return refused
        self.form.accept()
        self._refresh()
        if Banner.running is not None:
            Banner.running.run_on()
        return DECIDED

    def _take(self, options: Mapping[str, Any]) -> str:
        """Have the answer recorded if it passes with these options; else return why not: an attempt is no evidence."""
        asked = {**self.options, **options}
        answer = self._question(self._step.phase, self._step.sessions, **asked)
        if answer.verdict not in CLOSING:
            self.options = asked
            answer = self.answer = self._step.ask(self._question, **asked)
            if self.decided and asked.get("apply"):
                self._step.arm()
        return next((f.hint or f.have for f in answer.findings if f.verdict in CLOSING), "")

    def _form(self) -> Form | None:
        """Return the form, unless there is nothing to decide: the parameters do, or the question cannot be asked."""
        from runbooks_lib.notebook.forms import FORMS  # ipywidgets, of no use where nobody is

        made: Form = FORMS[self._question.__name__](self._step, self.options, decided=self.decide)
        asked = {**self.options, **made.undecided}
        try:
            found = self._question(self._step.phase, self._step.sessions, **asked)
        except RunbookError:
            return None
        if any(finding.verdict is Verdict.FAIL for finding in found.findings):
            return made
        self.options = asked
        return None

    def _remember(self, form: Form) -> None:
        """Take what was decided in this run before, where the question still passes with it."""
        before = self._step.before if isinstance(self._step, WalkedStep) else None
        kept = form.kept(before, self._step.evidence().records) if before is not None else None
        if kept is not None and not self._take(kept):
            form.say("Decided before in this run, and still so.", good=True)
            if kept.get("apply"):
                form.lock()

    def _told(self) -> tuple[Bundle, Bundle]:
        if self.answer is None or not self.decided:
            return prose(""), {"text/html": "", "text/plain": ""}
        return prose(summary(self.answer.findings)), bundle_of(finding_rows(self.answer.findings))

    def _refresh(self) -> None:
        if self._shown is None:
            return
        for handle, bundle in zip(self._shown, self._told(), strict=True):
            handle.update(bundle, raw=True)
            if Recorder.running is not None:
                Recorder.running.update(handle.display_id, bundle)


def decide(step: Step, question: Callable[..., Answer], /, **options: Any) -> Decision:
    """Put a question that a person decides; the parameters among `options` decide where nobody is there."""
    return Decision(step, question, options)
