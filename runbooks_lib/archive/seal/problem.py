"""What can be wrong with an archived run."""

from __future__ import annotations

from enum import StrEnum

from runbooks_lib.typed import Typed


class Kind(StrEnum):
    """The kinds of problems, as `runbooks verify` names them."""

    INCOMPLETE = "incomplete"  # not sealed: killed, still going on, or taken up again
    CHANGED = "changed"
    ADDED = "added"
    REMOVED = "removed"
    REORDERED = "reordered"
    REPLACED = "replaced"  # whole, but of another run
    UNSIGNED = "unsigned"
    WRONGLY_SIGNED = "wrongly signed"
    NOT_EXECUTED = "not executed"
    OTHER_CODE = "other code"  # not that of the notebooks that it says it executed
    CONTRADICTS = "contradicts"  # two files of the run tell different stories
    CHAIN = "chain"


class Problem(Typed):
    """One reason not to trust a run: its kind, the file concerned, and what is wrong, in a sentence."""

    kind: Kind
    where: str
    what: str
