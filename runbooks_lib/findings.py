"""Findings: what a check saw, what it wanted, and the verdict."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any

from runbooks_lib.amounts import in_words
from runbooks_lib.checks import Check
from runbooks_lib.errors import GateClosed, RunbookError
from runbooks_lib.visible import visible


class Verdict(StrEnum):
    """The five verdicts, mildest first."""

    SKIP = "SKIP"  # not judged here, and the finding says why
    PASS = "PASS"
    OPEN = "OPEN"  # declared non-blocking: an unticked box of the checklist
    FAIL = "FAIL"
    ERROR = "ERROR"  # could not be checked


class Note(StrEnum):
    """What code has to know of a finding besides its verdict."""

    NOTHING = ""
    ABSENT = "absent"  # nothing is there, and for now that is allowed


MANY = 40  # findings of a check with one verdict, from which on a table folds them
NAMED = 12  # of their objects are named in it
_SEVERITY = {verdict: rank for rank, verdict in enumerate(Verdict)}
CLOSING = frozenset({Verdict.FAIL, Verdict.ERROR})


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One row of evidence: what a check saw of one object at one target.

    `check` is the id of the check (`runbooks explain CHECK`), `have` and
    `want` are what was seen and what was expected, in words for people: no
    code reads them. `hint` says what to do when the two differ. `note` is for
    code: what it has to know of the finding besides the verdict. `of` is the
    table that the object is a part of, or is, where that is known.
    """

    check: str  # a Check, or what an archive of another version names
    target: str
    object: str
    have: str
    want: str
    verdict: Verdict
    hint: str = ""
    note: Note = Note.NOTHING
    of: str = ""

    def to_dict(self) -> dict[str, str]:
        """Return the finding as plain strings, for JSON; without a note, or a table, it has none."""
        plain = {name: str(getattr(self, name)) for name in self.__slots__}
        return {name: text for name, text in plain.items() if text or name not in ("note", "of")}


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What a step found out about one question.

    `findings` are judged by the gate. `facts` is what the report and the later
    steps need, in the question's own type (runbooks_lib/facts). `rows` is the
    one table to show; without it the findings themselves are the table.
    """

    findings: tuple[Finding, ...]
    facts: Any = field(default_factory=dict)
    rows: tuple[Mapping[str, Any], ...] = ()

    @property
    def verdict(self) -> Verdict:
        """The worst verdict of the findings; ERROR when there is none."""
        return worst(self.findings)


def judge(
    check: Check, target: str, object: str, *, have: Any, want: Any, hint: str, blocking: bool = True
) -> Finding:
    """Compare `have` with `want`: PASS when equal, else FAIL, or OPEN when not blocking."""
    verdict = Verdict.PASS if have == want else Verdict.FAIL if blocking else Verdict.OPEN
    return Finding(
        check=check,
        target=target,
        object=object,
        have=in_words(have),
        want=in_words(want),
        verdict=verdict,
        hint="" if verdict is Verdict.PASS else hint,
    )


def could_not_run(check: Check, target: str, object: str, error: RunbookError) -> Finding:
    """Return the ERROR finding of a check that could not be made."""
    return Finding(
        check=check,
        target=target,
        object=object,
        have=error.what_happened,
        want="the check can be made",
        verdict=Verdict.ERROR,
        hint=error.what_to_do,
    )


def not_declared(check: Check, target: str, what: str) -> Finding:
    """Return the SKIP finding of a check that has nothing to look at: the phase declares no `what` (a plural)."""
    return Finding(
        check=check,
        target=target,
        object="phase",
        have=f"the phase declares no {what}",
        want="asked where declared",
        verdict=Verdict.SKIP,
    )


def in_short(findings: Iterable[Finding], *, many: int = MANY) -> tuple[Finding, ...]:
    """Return findings for a table: of more than `many` of a check with one verdict, those that say alike are one line.

    That are all that passed or were skipped, and otherwise those of one table. What is of no table is never folded,
    unless it passed; the record keeps each of them.
    """
    rows = tuple(findings)
    counts = Counter((f.check, f.verdict) for f in rows)
    alike: dict[object, list[Finding]] = {}
    for number, f in enumerate(rows):
        quiet = f.verdict in (Verdict.PASS, Verdict.SKIP)
        folds = counts[f.check, f.verdict] > many and (quiet or f.of)
        about = (f.check, f.verdict, *(() if quiet else (f.target, f.of))) if folds else number
        alike.setdefault(about, []).append(f)
    return tuple(found[0] if len(found) == 1 else _line(found) for found in alike.values())


def _line(alike: list[Finding]) -> Finding:
    """Return one finding for several: of what passed or was skipped all say how many, of others one is told."""
    targets, objects = dict.fromkeys(f.target for f in alike), list(dict.fromkeys(f.object for f in alike))
    more = f" and {len(objects) - NAMED} more" if len(objects) > NAMED else ""
    first = min(
        alike, key=lambda f: len(f.want)
    )  # the shortest says it: a missing table, not all its columns
    if first.verdict in (Verdict.PASS, Verdict.SKIP):
        named = f"{len(objects)}: {', '.join(objects[:NAMED])}{more}"
        times = f"{'passed' if first.verdict is Verdict.PASS else 'skipped'} {len(alike)} times"
        return replace(
            first, target=", ".join(targets), object=named, have=times, want="each is in the record", hint=""
        )
    others = f"and {len(objects) - 1} more of {first.of}, each in the record"
    return replace(first, object=f"{first.object} ({others})")


def worst_of(verdicts: Iterable[Verdict]) -> Verdict:
    """Return the worst of several verdicts; ERROR when there is none."""
    return max(verdicts, key=_SEVERITY.__getitem__, default=Verdict.ERROR)


def worst(findings: Iterable[Finding]) -> Verdict:
    """Return the worst verdict; ERROR when there are no findings: an empty result is never PASS."""
    return worst_of(f.verdict for f in findings)


def same_fault(findings: Iterable[Finding]) -> tuple[Finding, ...]:
    """Return findings with those that say the same as one: its targets, checks and objects stand side by side.

    What was seen and what is to be done decide: a difference on leader and replica, or a server that does not answer
    whatever is asked of it. For people alone: the record keeps each of them.
    """
    alike: dict[tuple[str, ...], list[Finding]] = {}
    for f in findings:
        about = () if f.verdict is Verdict.ERROR else (f.check, f.object)
        alike.setdefault((f.verdict, f.have, f.want, f.hint, *about), []).append(f)
    return tuple(
        replace(
            group[0],
            check=", ".join(dict.fromkeys(f.check for f in group)),
            target=", ".join(dict.fromkeys(f.target for f in group)),
            object=", ".join(dict.fromkeys(f.object for f in group)),
        )
        for group in alike.values()
    )


def told(finding: Finding) -> str:
    """Return a finding as one line for people: verdict, what it is about, found, expected, what to do."""
    about = " ".join(part for part in (finding.check, finding.target, finding.object) if part != "-")
    return f"{finding.verdict} {about}: found {finding.have}, expected {finding.want}. {finding.hint}".strip()


def gate(findings: Iterable[Finding]) -> None:
    """Stop the run unless every finding is PASS, OPEN or SKIP.

    Raises GateClosed, naming each FAIL and ERROR; also when there are no findings.
    """
    rows = tuple(findings)
    if not rows:
        raise GateClosed(
            "Stopped: there is no finding to judge.",
            "A check that returns nothing has not looked; run the cell above again and read its output.",
        )
    closing = [f for f in rows if f.verdict in CLOSING]
    if closing:
        lines = ["  " + visible(told(f)) for f in same_fault(in_short(closing))]
        raise GateClosed(
            f"Stopped by {len(closing)} of {len(rows)} findings.\n" + "\n".join(lines),
            "\nMend what is named above, then run this notebook again.",
        )


def judged(findings: Collection[Finding]) -> Verdict | None:
    """Return the worst verdict; None when nothing was judged."""
    return worst(findings) if findings else None


def standing(findings: Collection[Finding]) -> Verdict | None:
    """Return the worst verdict of what is looked at in an object; PASS only when nothing is left to be judged later."""
    verdict = judged(findings)
    later = any(finding.verdict is Verdict.SKIP for finding in findings)
    return Verdict.SKIP if later and verdict is Verdict.PASS else verdict


def passed(findings: Collection[Finding]) -> int:
    """Return how many findings are PASS."""
    return sum(finding.verdict is Verdict.PASS for finding in findings)
