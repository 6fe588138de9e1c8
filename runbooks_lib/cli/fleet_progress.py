"""What a fleet run looks like while it goes on, and what is left at its end."""

from __future__ import annotations

import shlex
import time
from collections.abc import Sequence
from pathlib import Path

from rich.console import Group
from rich.table import Table

from runbooks_lib.cli.progress import PLAIN_WIDTH, STYLES, Watched
from runbooks_lib.cli.terminal import console, say, shown
from runbooks_lib.execution.fleet.campaign import Campaign, Turn
from runbooks_lib.execution.fleet.record import Fleet, Member
from runbooks_lib.findings import Verdict

WAITING = 5  # databases that are asked again, with their reason, while it goes on
SHOWN = 30  # databases at the end of which a line tells; all are in the report


class FleetProgress(Watched):
    """Shows what is at work, and how those ended that are done, on stderr."""

    def __init__(self, fleet: Fleet) -> None:
        super().__init__(f"{fleet.phase.id} {fleet.mode} {fleet.id}, {len(fleet.members)} databases")
        self._total = len(fleet.members)
        self._campaign: Campaign | None = None
        self._told: set[str] = {each.name for each in fleet.members if each.ended.state == "done"}
        self._waits: set[str] = set()
        self._began = time.monotonic()

    def show(self, fleet: Fleet, campaign: Campaign) -> None:
        """Take notice of what has changed."""
        self._campaign = campaign
        if self._console.is_terminal:
            return
        for turn in _asked_again(campaign):
            if turn.member.name not in self._waits:
                self._waits.add(turn.member.name)
                self._console.print(shown(f"{turn.member.name:32} waits: {turn.why}"), soft_wrap=True)
        for name in list(campaign.ended.keys() - self._told):
            self._told.add(name)
            ended = campaign.ended[name]
            self._console.print(shown(f"{name:32} {ended.verdict or '-'!s:6} {ended.duration_s:6.1f} s"))

    def _render(self) -> Group:
        campaign = self._campaign
        if campaign is None:
            return Group(shown(self._title))
        ended = dict(campaign.ended)
        failed = [name for name, each in ended.items() if each.state != "done"]
        line = f"{len(ended)} of {self._total} ended, {len(failed)} failed, {time.monotonic() - self._began:.0f} s"
        table = Table(box=None, pad_edge=False)
        for heading in ("database", "server", "seconds"):
            table.add_column(heading)
        for turn in list(campaign.at_work.values())[:SHOWN]:
            seconds = f"{time.monotonic() - turn.began:.0f}"
            table.add_row(shown(turn.member.name), shown(turn.member.place.server), seconds)
        again = [
            shown(f"{turn.member.name} again in {_in_s(turn)} s: {turn.why}")
            for turn in _asked_again(campaign)[:WAITING]
        ]
        link = [shown(f"dashboard: {campaign.crew.dashboard}")] if campaign.crew.dashboard else []
        return Group(shown(self._title), shown(line), table, *again, *link)


def _asked_again(campaign: Campaign) -> list[Turn]:
    """Return the databases that are asked again: nothing was begun there yet, or their worker was lost."""
    return [turn for turn in list(campaign.waiting) if turn.why]


def _in_s(turn: Turn) -> int:
    return max(0, round(turn.not_before - time.monotonic()))


def print_fleet(fleet: Fleet, folder: Path, again: Sequence[str]) -> None:
    """Print a fleet run's end: each database or, of many, those that did not come to their end; then what is next.

    `again` are the words that began it, empty where they are not known.
    """
    listed = fleet.members if len(fleet.members) <= SHOWN else (*fleet.failed, *fleet.not_begun)
    console(width=None if console().is_terminal else PLAIN_WIDTH).print(_table(listed[:SHOWN]))
    done = sum(each.ended.state == "done" for each in fleet.members)
    counted = f"{done} of {len(fleet.members)} done, {len(fleet.failed)} failed"
    say(f"{counted}, {len(fleet.not_begun)} not begun: {fleet.verdict}")
    for each in fleet.failed[:SHOWN]:
        say(f"  {each.name}: {each.ended.reason}", err=True)
    if fleet.stopped_by:
        say(f"stopped: {fleet.stopped_by}; not begun: {_names(fleet.not_begun)}", err=True)
    say(f"fleet folder: {folder}")
    if fleet.confirmation:
        say("plan only: no database was written to")
        say(f"fleet hash: {fleet.hash}")
        say(f"to apply it: {shlex.join([*again, '--apply', '--confirm', fleet.confirmation])}")
    elif fleet.exit_code and fleet.mode == "apply":
        say(f"to go on: {shlex.join(['runbooks', 'fleet', 'resume', str(folder)])}")


def _names(members: tuple[Member, ...]) -> str:
    names = [each.name for each in members[:SHOWN]]
    more = f" and {len(members) - SHOWN} more" if len(members) > SHOWN else ""
    return (", ".join(names) or "none") + more


def _table(members: tuple[Member, ...]) -> Table:
    table = Table(box=None, pad_edge=False)
    for heading in ("database", "verdict", "state"):
        table.add_column(heading)
    table.add_column("seconds", justify="right")
    for each in members:
        verdict = each.ended.verdict or Verdict.ERROR
        began = each.ended.state != "waiting"
        table.add_row(
            shown(each.name),
            shown(verdict if began else "–", style=STYLES[verdict] if began else ""),
            shown(each.ended.state if began else "not begun"),
            f"{each.ended.duration_s:.1f}" if began else "",
        )
    return table
