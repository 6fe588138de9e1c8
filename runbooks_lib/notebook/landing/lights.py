"""The servers' lights: who answers at each target, as what, how far behind, and who else is at work there.

A light that nobody looks at any more is never shown as one that somebody does.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence

import psycopg

from runbooks_lib.amounts import size
from runbooks_lib.errors import RunbookError
from runbooks_lib.findings import Verdict
from runbooks_lib.notebook.landing.live import EVERY_S, clock
from runbooks_lib.notebook.landing.panel import Bundle, Panel
from runbooks_lib.notebook.tables import bundle_of
from runbooks_lib.phase import Role, Target
from runbooks_lib.postgres.session.connect import Sessions
from runbooks_lib.postgres.session.locks import OtherRun, other_runs
from runbooks_lib.postgres.session.replication import present_lag
from runbooks_lib.report.verdicts import SYMBOLS
from runbooks_lib.visible import visible_html

Row = dict[str, str]
APPLICATION = "runbooks-start"  # not "runbooks …": who only looks here is not at work in the database
LATE_S = EVERY_S
OLD_S = 4 * EVERY_S  # so long nothing new came: the kernel has ended, or the page was loaded anew
# The page itself says so, since then nobody else can: what comes anew begins from the beginning.
AGEING = f"""<style>
@keyframes runbooks-fade {{ to {{ opacity: 0.2 }} }}
@keyframes runbooks-old {{ to {{ visibility: visible }} }}
.runbooks-live {{ animation: runbooks-fade 1s {OLD_S:.0f}s forwards }}
.runbooks-old {{ visibility: hidden; animation: runbooks-old 1s {OLD_S:.0f}s forwards }}
</style>"""
OLD = "If this time stands still, the lights are old: run this cell again."


class Lights(Panel):
    """The lights of `targets`, with sessions that are kept from look to look; `own` are the runs of this archive."""

    def __init__(self, targets: Callable[[], Mapping[str, Target]], own: Callable[[], Sequence[str]]) -> None:
        self._targets = targets
        self._own = own
        self._sessions = Sessions({}, application_name=APPLICATION)
        self._rows: list[Row] = []
        self._at = clock()
        self._drawing = threading.Lock()
        self._answered = False
        super().__init__(self._lights)

    def refresh(self) -> None:
        """Look again as `Panel.refresh` does; meanwhile, if that takes long, no light is green."""
        self._answered = False
        late = threading.Timer(LATE_S, self._say_late)
        late.daemon = True
        late.start()
        try:
            super().refresh()
        finally:
            late.cancel()

    def show(self, bundle: Bundle) -> None:
        """Show what was seen."""
        with self._drawing:
            self._answered = True
            super().show(bundle)

    def failed(self, why: str) -> Bundle:
        """Return what is shown when nothing could be seen."""
        self._rows = [{"light": SYMBOLS[Verdict.ERROR], "target": "every one", "answers": why}]
        return self._bundle(f"Could not be looked at, {clock()} UTC.")

    def rest(self) -> None:
        """Close the sessions, and say that nobody looks any more."""
        self._sessions.close()
        self._dim(Verdict.SKIP)
        self.show(self._bundle(f"Not looked at since {self._at} UTC: press Look again."))

    def _lights(self) -> Bundle:
        targets = self._targets()
        if self._sessions.targets != targets:
            self._sessions.close()
            self._sessions = Sessions(targets, application_name=APPLICATION)
        self._sessions.forget()
        self._rows = light_rows(self._sessions, self._own())
        self._at = clock()
        return self._bundle(f"Looked at {self._at} UTC, and again every {EVERY_S:.0f} s.", live=True)

    def _say_late(self) -> None:
        with self._drawing:
            if not self._answered:
                self._dim(Verdict.ERROR)
                super().show(
                    self._bundle(f"Asked again after {self._at} UTC, and not all have answered yet.")
                )

    def _dim(self, verdict: Verdict) -> None:
        """Have no light green."""
        green = SYMBOLS[Verdict.PASS]
        self._rows = [
            row | {"light": SYMBOLS[verdict]} if row["light"] == green else row for row in self._rows
        ]

    def _bundle(self, line: str, *, live: bool = False) -> Bundle:
        table = bundle_of(self._rows)
        kind = ' class="runbooks-live"' if live else ""
        shown = f'{AGEING}<div{kind} role="status" aria-live="polite">{table["text/html"]}</div>'
        old = f' <b class="runbooks-old">{OLD}</b>' if live else ""
        return {
            "text/html": f"{shown}<p>{visible_html(line)}{old}</p>",
            "text/plain": f"{table['text/plain']}\n{line}" + (f" {OLD}" if live else ""),
        }


def light_rows(sessions: Sessions, own: Sequence[str]) -> list[Row]:
    """Return a row for each target; whoever does not answer is one, too, with the server's own words.

    `own` are the ids of this archive's runs, the present one last.
    """
    return [_row(name, target, sessions, own) for name, target in sessions.targets.items()]


def _row(name: str, target: Target, sessions: Sessions, own: Sequence[str]) -> Row:
    row = {"light": SYMBOLS[Verdict.ERROR], "target": name, "service": target.service}
    try:
        who = sessions.identity(name)
        right = (who.role, who.database) == (target.role, target.database)
        lag_bytes = present_lag(sessions, name, target) if target.role is Role.STANDBY else None
        others = other_runs(sessions.unguarded(name), own[-1] if own else "-")
    except (RunbookError, psycopg.Error) as error:
        return row | {"answers": f"{error}", "role": "", "lag": "", "also at work": ""}
    far = lag_bytes is not None and target.max_lag_bytes is not None and lag_bytes > target.max_lag_bytes
    lag = "" if lag_bytes is None else f"{size(lag_bytes)} behind"
    return row | {
        "light": SYMBOLS[Verdict.PASS if right and not far else Verdict.FAIL],
        "answers": f"{who.server}, database {who.database}, PostgreSQL {who.server_version}",
        "role": who.role.value
        if right
        else f"{who.role} of {who.database}, declared {target.role} of {target.database}",
        "lag": f"{lag}, at most {size(target.max_lag_bytes or 0)} are declared" if far else lag,
        "also at work": _at_work(others, own),
    }


def _at_work(others: Sequence[OtherRun], own: Sequence[str]) -> str:
    """Say who is at work; a kernel of this archive that does nothing is idle, whoever else does nothing may read."""
    idle = [each for each in others if each.idle and each.run in own]
    at_work = "; ".join(str(each) for each in others if each not in idle) or "nobody"
    return f"{at_work} (idle: {', '.join(each.application for each in idle)})" if idle else at_work
