"""Does Prisma see what we see? What its status counts and lists, compared with the folder and the rows."""

from __future__ import annotations

from collections.abc import Sequence

from runbooks_lib.amounts import in_words
from runbooks_lib.checks import Check
from runbooks_lib.findings import Finding, Verdict
from runbooks_lib.prisma.command import CliResult, Prisma
from runbooks_lib.prisma.history import diagnose
from runbooks_lib.prisma.state import State

PENDING_EXIT_CODE = 1  # `migrate status` ends 1, without an error code, when migrations are pending


def judge_answer(target: str, said: CliResult) -> Finding:
    """Judge whether Prisma answered at all: pending migrations are an answer, an error code is ERROR."""
    # a crash ends 1 without a code too: only a status says how many migrations it found
    answered = said.code is None and said.exit_code in (0, PENDING_EXIT_CODE) and said.migrations is not None
    return Finding(
        check=Check.PRISMA_ANSWERS,
        target=target,
        object=said.command,
        have=f"exit code {said.exit_code}" + (f", {said.code}" if said.code else ""),
        want="a status without an error code",
        verdict=Verdict.PASS if answered else Verdict.ERROR,
        hint="" if answered else said.last_words,
    )


def judge_agreement(target: str, prisma: Prisma, state: State, said: CliResult) -> tuple[Finding, ...]:
    """Judge, number by number and name by name, whether Prisma reads what we have read.

    Nothing where Prisma did not answer: that is an ERROR of its own. Prisma lists what failed only when nothing is
    pending.
    """
    if said.migrations is None or said.code is not None:
        return ()
    ours = diagnose(state.files, state.rows, rolled_back_is_pending=prisma.rolled_back_is_pending)
    compared: dict[str, tuple[Sequence[str], Sequence[str]]] = {
        "pending migrations": (said.listed("pending"), ours.pending)
    }
    if not ours.pending:
        compared["failed migrations"] = (said.listed("failed"), ours.failed)
    return (
        _agrees(
            target,
            "number of migrations",
            said.migrations == len(state.files),
            said.migrations,
            len(state.files),
        ),
        *(
            _agrees(
                target,
                what,
                sorted(listed) == sorted(map(prisma.redact, read)),
                ", ".join(listed) or "none",
                ", ".join(read) or "none",
            )
            for what, (listed, read) in compared.items()
        ),
    )


def _agrees(target: str, what: str, same: bool, have: object, want: object) -> Finding:
    return Finding(
        check=Check.PRISMA_READS_THE_SAME,
        target=target,
        object=what,
        have=in_words(have),
        want=in_words(want),
        verdict=Verdict.PASS if same else Verdict.FAIL,
        hint=""
        if same
        else "Prisma reads other files, or another history, than this step has judged: compare both.",
    )
