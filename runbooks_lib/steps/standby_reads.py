"""A question that only reads is asked again when a standby's replay cancelled one of its queries, and that is said."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from functools import wraps
from typing import ParamSpec

from runbooks_lib.checks import Check
from runbooks_lib.errors import RunbookError
from runbooks_lib.findings import CLOSING, Answer, Finding, Verdict
from runbooks_lib.postgres.session.session import Session

TIMES = 6
PAUSE_S = (
    0.3  # then twice as long each time: what replay removed is removed, and its next batch takes a while
)
HINT = (
    "Its replay removes rows that a query still sees, and cancels the query at once: hot_standby_feedback = on, or a "
    "longer max_standby_streaming_delay there, lets reports and checks end."
)

Arguments = ParamSpec("Arguments")


def read_again(question: Callable[Arguments, Answer]) -> Callable[Arguments, Answer]:
    """Ask up to TIMES times, as long as replay cancels; what the last time says stands, whatever it is.

    Only for questions that write nothing. An answer that needed it has a finding reads_are_not_cancelled.
    """

    @wraps(question)
    def asked(*arguments: Arguments.args, **options: Arguments.kwargs) -> Answer:
        before = Session.cancelled
        for time_s in (PAUSE_S * 2**number for number in range(TIMES - 1)):
            seen = Session.cancelled
            try:
                answer = question(*arguments, **options)
            except RunbookError:
                if Session.cancelled == seen:
                    raise
            else:
                if Session.cancelled == seen or answer.verdict not in CLOSING:
                    return _with_finding(answer, Session.cancelled - before)
            time.sleep(time_s)
        return _with_finding(question(*arguments, **options), Session.cancelled - before)

    return asked


def _with_finding(answer: Answer, cancelled: int) -> Answer:
    if not cancelled:
        return answer
    finding = Finding(
        check=Check.READS_ARE_NOT_CANCELLED,
        target="-",
        object="queries on standbys",
        have=f"{cancelled} cancelled by replay or cut, and read again",
        want="none cancelled",
        verdict=Verdict.OPEN,
        hint=HINT,
    )
    return replace(answer, findings=(*answer.findings, finding), rows=answer.rows)
