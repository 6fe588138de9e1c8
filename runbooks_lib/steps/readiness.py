"""What a later step would stumble over: sessions that block, slots that are taken."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from runbooks_lib.checks import Check
from runbooks_lib.errors import PreconditionFailed
from runbooks_lib.findings import Finding, Verdict, could_not_run
from runbooks_lib.names import quoted
from runbooks_lib.phase import Phase
from runbooks_lib.postgres.queries import query
from runbooks_lib.postgres.session.connect import Connection

OLD_TRANSACTION_S = 60


def check_blockers(phase: Phase, target: str, conn: Connection) -> Iterator[Finding]:
    """Check nothing_blocks: no old transaction, no lock on a declared table, no prepared transaction.

    Reads pg_stat_activity, pg_locks and pg_prepared_xacts of the session's database. To a role that may not see
    others' sessions an old transaction looks like none: that is ERROR.
    """
    allowed = conn.execute("SELECT pg_has_role('pg_read_all_stats', 'USAGE') AS allowed").fetchone()
    if not (allowed and allowed["allowed"]):
        yield could_not_run(Check.NOTHING_BLOCKS, target, "sessions and locks", cannot_see_sessions())
        return
    names = [quoted(table.name) for table in phase.tables]
    rows = conn.execute(query("blockers"), {"tables": names, "old_s": OLD_TRANSACTION_S}).fetchall()
    for row in rows:
        yield Finding(
            check=Check.NOTHING_BLOCKS,
            target=target,
            object=f"{row['kind']} {row['id']}",
            have=f"{row['owner']} ({row['application'] or 'no application_name'}), {row['age_s'] or 0:.0f} s: "
            f"{row['detail']}",
            want="no blocker",
            verdict=Verdict.FAIL,
            hint="Ask its owner to end it; as a last resort SELECT pg_terminate_backend(pid), "
            "or ROLLBACK PREPARED for a prepared transaction.",
        )
    if not rows:
        yield Finding(
            check=Check.NOTHING_BLOCKS,
            target=target,
            object="sessions and locks",
            have="no blocker",
            want="no blocker",
            verdict=Verdict.PASS,
        )


def cannot_see_sessions() -> PreconditionFailed:
    """Return why sessions cannot be judged: pg_stat_activity hides what others do from this role."""
    return PreconditionFailed(
        "The role may not see what other roles' sessions do.", "GRANT pg_read_all_stats TO it."
    )


def at_least(
    check: Check,
    target: str,
    object: str,
    *,
    have: int,
    want: int,
    hint: str,
    words: Callable[[int], str] = str,
) -> Finding:
    """Judge a head-room: PASS when `have` reaches `want`; both are said in `words`."""
    enough = have >= want
    return Finding(
        check=check,
        target=target,
        object=object,
        have=words(have),
        want=f"at least {words(want)}",
        verdict=Verdict.PASS if enough else Verdict.FAIL,
        hint="" if enough else hint,
    )
