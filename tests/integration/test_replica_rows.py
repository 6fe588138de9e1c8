"""A standby's rows against its primary's: told by digests, also while somebody writes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from msgspec import structs

from runbooks_lib.errors import ConnectionFailed
from runbooks_lib.findings import Finding, Verdict
from runbooks_lib.lab.lab import Lab
from runbooks_lib.phase import load_phase
from runbooks_lib.postgres.rows.content import content_hash
from runbooks_lib.postgres.session.connect import Connection, Sessions
from runbooks_lib.postgres.session.replication import Lag, measure_lag
from runbooks_lib.steps import replica_rows

PHASE = load_phase(str(Path(__file__).parents[1] / "phases" / "PH15-AMAZON-DB-FOUNDATION-01"))
TABLE = "public.OAuthState"


def check() -> Finding:
    with Sessions(PHASE.targets) as sessions:
        return replica_rows.check_rows(PHASE, sessions, "replica", PHASE.targets["replica"])


@pytest.mark.usefixtures("lab")
def test_the_same_rows() -> None:
    finding = check()
    assert (finding.verdict, finding.have) == (Verdict.PASS, "the same 14 rows")


@pytest.mark.parametrize("names", [(), ("public.not_made_yet",)])
@pytest.mark.usefixtures("lab")
def test_no_table_that_is_there_is_nothing_compared_and_no_pass(names: tuple[str, ...]) -> None:
    phase = replace(PHASE, tables=tuple(replace(PHASE.tables[0], name=name) for name in names))
    with Sessions(phase.targets) as sessions:
        finding = replica_rows.check_rows(phase, sessions, "replica", phase.targets["replica"])
    assert (finding.verdict, finding.have) == (Verdict.SKIP, "not judged: no declared table is there")


@pytest.mark.usefixtures("lab")
def test_other_rows_on_the_standby(monkeypatch: pytest.MonkeyPatch) -> None:
    """A standby with damaged data can't be had quickly: its answer for one table is another one's here."""

    def damaged(conn: Connection, relation: str) -> tuple[int, str]:
        on_standby = conn.execute("SELECT pg_is_in_recovery() AS it").fetchone() == {"it": True}
        other = on_standby and relation == TABLE
        return content_hash(conn, "public.inbound_addresses" if other else relation)

    monkeypatch.setattr(replica_rows, "content_hash", damaged)
    finding = check()
    assert (finding.verdict, finding.have) == (Verdict.FAIL, f"other rows in {TABLE} (5 rows)")
    assert "pg_amcheck" in finding.hint


@pytest.mark.parametrize(("writes", "verdict"), [(1, Verdict.PASS), (99, Verdict.SKIP)])
def test_rows_that_change_while_they_are_looked_at(
    fresh_lab: Lab, monkeypatch: pytest.MonkeyPatch, writes: int, verdict: Verdict
) -> None:
    left = writes

    def somebody_writes(*arguments: Any) -> Lag:
        nonlocal left
        if left > 0:
            left -= 1
            with fresh_lab.admin("keybuzz_backend") as admin:
                admin.execute("UPDATE \"OAuthState\" SET state = state || 'x'")
        return measure_lag(*arguments)

    monkeypatch.setattr(replica_rows, "measure_lag", somebody_writes)
    finding = check()
    assert finding.verdict is verdict
    assert verdict is Verdict.PASS or finding.have == f"not judged: {TABLE} changed during each of 3 looks"


@pytest.mark.usefixtures("lab")
def test_a_standby_that_does_not_replay_is_not_judged(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        replica_rows, "measure_lag", lambda *all_: structs.replace(measure_lag(*all_), replayed=False)
    )
    finding = check()
    assert (finding.verdict, finding.have) == (Verdict.SKIP, "not judged: the standby has not replayed")


def test_a_table_that_may_not_be_read(fresh_lab: Lab) -> None:
    with fresh_lab.admin("keybuzz_backend") as admin:
        admin.execute('REVOKE SELECT ON "OAuthState" FROM keybuzz_operator')
    with pytest.raises(ConnectionFailed, match="permission denied for table OAuthState"):
        check()
