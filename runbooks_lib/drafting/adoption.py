"""From a diagnosis to a phase: what has to be given a reason for, and the draft with the reasons that were given."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING

from runbooks_lib.drafting.diagnosis import Condition, Diagnosis
from runbooks_lib.prisma.named import naming

if TYPE_CHECKING:
    from runbooks_lib.drafting.phase_draft import Drafted


class Reason(StrEnum):
    """What a person may give a reason for, and what is asked for it; each is an option of `runbooks adopt`."""

    ACCEPT = "accept"
    REPAIR = "repair"
    IGNORE = "ignore"

    @property
    def question(self) -> str:
        """Return what is asked, and what no answer means."""
        return _QUESTIONS[self]


_QUESTIONS = {
    Reason.ACCEPT: "Why may the migrations stay that only the database has? (empty: none may)",
    Reason.REPAIR: "Why may what is missing of recorded migrations be made anew? (empty: it may not)",
    Reason.IGNORE: "Why may the objects stay that no migration makes? (empty: that is left open)",
}


def a_phase_can_help(found: Diagnosis) -> bool:
    """Return whether a phase can bring this state in line, if every reason that it needs is given."""
    return found.condition.draftable or found.condition is Condition.UNKNOWN_MIGRATIONS


def to_ask(found: Diagnosis) -> tuple[Reason, ...]:
    """Return what a reason can be given for in this state, in the order in which it is asked."""
    if not a_phase_can_help(found):
        return ()
    asked = {
        Reason.ACCEPT: found.condition is Condition.UNKNOWN_MIGRATIONS,
        Reason.REPAIR: found.condition is Condition.NOT_AS_RECORDED,
        Reason.IGNORE: found.extras,
    }
    return tuple(reason for reason, wanted in asked.items() if wanted)


def can_be_drafted(found: Diagnosis, reasons: Mapping[Reason, str]) -> bool:
    """Return whether a phase can be drafted in this state: unknown migrations need a reason."""
    return found.condition.draftable or (a_phase_can_help(found) and bool(reasons.get(Reason.ACCEPT)))


def draft(service: str, project: Path, folder: Path, reasons: Mapping[Reason, str]) -> Drafted:
    """Draft a phase as `draft_phase` does, of this project."""
    from runbooks_lib.drafting.phase_draft import draft_phase  # reads SQL, which nobody else here does

    with naming(project):
        return draft_phase(
            service,
            folder,
            [],
            accept=reasons.get(Reason.ACCEPT, ""),
            ignore=reasons.get(Reason.IGNORE, ""),
            repair=reasons.get(Reason.REPAIR, ""),
        )
