"""What no program can see: manual items of the checklist, signed off by a person with a note."""

from __future__ import annotations

from collections.abc import Mapping

from runbooks_lib.checks import Check
from runbooks_lib.facts.contents import Signature
from runbooks_lib.findings import Finding, Verdict, not_declared
from runbooks_lib.phase import ENGLISH, ChecklistItem, Phase

NOBODY = "not signed off"


def manual_items(phase: Phase) -> dict[int, ChecklistItem]:
    """Return the manual items of the phase's checklist by their place in it, counted from 0."""
    return {number: item for number, item in enumerate(phase.checklist) if item.manual}


def judge_signatures(
    items: Mapping[int, ChecklistItem], signed: Mapping[int, str] | None, *, by: str, at: str
) -> tuple[Finding, ...]:
    """Judge item_is_signed_off of each manual item.

    `signed` has a note for each item that was verified; None: nobody has decided yet, and the gate stays closed.
    What is left open is SKIP here and an open box of the checklist. A phase without manual items gives one SKIP.
    """
    if not items:
        return (not_declared(Check.ITEM_IS_SIGNED_OFF, "-", "boxes that a person ticks"),)
    return tuple(_judge(item, number, signed, by=by, at=at) for number, item in items.items())


def _judge(
    item: ChecklistItem, number: int, signed: Mapping[int, str] | None, *, by: str, at: str
) -> Finding:
    if signed is None:
        hint = (
            "Tick what you have verified above, with a note, and press Done: what is not ticked stays open."
        )
        return _finding(item.text.in_(ENGLISH), "not decided yet", Verdict.FAIL, hint)
    if number not in signed:
        return _finding(item.text.in_(ENGLISH), NOBODY, Verdict.SKIP)
    if not (by and signed[number]):
        lacking = "a name" if not by else "a note"
        return _finding(
            item.text.in_(ENGLISH),
            f"signed without {lacking}",
            Verdict.FAIL,
            "Say who you are, and what you saw.",
        )
    signature = Signature(item=number, by=by, at=at, note=signed[number])
    return _finding(item.text.in_(ENGLISH), in_words(signature), Verdict.PASS)


def in_words(signature: Signature) -> str:
    """Return who signed an item, when, and what they saw."""
    return f"signed off by {signature.by} at {signature.at}: {signature.note}"


def signatures(
    items: Mapping[int, ChecklistItem], signed: Mapping[int, str] | None, *, by: str, at: str
) -> tuple[Signature, ...]:
    """Return each signature with the number and the text of its item, for the report."""
    return tuple(
        Signature(item=number, text=dict(item.text.by_language), by=by, note=signed[number], at=at)
        for number, item in items.items()
        if signed is not None and signed.get(number) and by
    )


def _finding(object: str, have: str, verdict: Verdict, hint: str = "") -> Finding:
    want = "signed off, or left open"
    return Finding(
        check=Check.ITEM_IS_SIGNED_OFF,
        target="-",
        object=object,
        have=have,
        want=want,
        verdict=verdict,
        hint=hint,
    )
