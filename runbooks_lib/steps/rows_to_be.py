"""Which rows will be as the migrations leave them, once the baseline is applied? Seen in a transaction of its own."""

from __future__ import annotations

from collections.abc import Mapping

from runbooks_lib.phase import Phase
from runbooks_lib.postgres.rows.done import Done, Judged
from runbooks_lib.postgres.script.apply import run_script, take_lock
from runbooks_lib.postgres.session.connect import Sessions
from runbooks_lib.steps.baseline_file import baseline_of, read_statements, rehearsable, runnable
from runbooks_lib.steps.baseline_runs import writing
from runbooks_lib.steps.pending import shows_baseline
from runbooks_lib.steps.prisma_look import Looked, judged, section

UNDONE = frozenset({Done.NONE, Done.PART})


def rows_to_be(phase: Phase, sessions: Sessions, looked: Looked) -> Mapping[str, tuple[Judged, ...]]:
    """Run a baseline that changes rows in a transaction that is rolled back, and judge there what was undone before.

    Nothing is run unless rows of a migration that is not recorded as applied are undone, and the baseline writes some
    to the same database. What no rollback would take back is left out, so that its rows stay undone.
    Raises MigrationError when the baseline is refused or fails.
    """
    undone = {
        name
        for name, found in looked.data.items()
        if looked.state.recorded(name) != "applied" and any(one.done in UNDONE for one in found)
    }
    writes = phase.baseline is not None and any(each.writes_rows for each in read_statements(phase))
    if not undone or not writes or not shows_baseline(phase, sessions, section(phase).target):
        return {}
    wait_ms = baseline_of(phase).lock_timeout_ms
    with writing(phase, sessions) as conn, conn.transaction(force_rollback=True):
        take_lock(conn, wait_ms=wait_ms)
        here, _ = rehearsable(runnable(phase, conn))
        run_script(conn, [each.statement for each in here], owner=phase.owner, lock_timeout_ms=wait_ms)
        return dict(judged(conn, looked.state, undone))
