"""How a fleet run stands at this moment, by its folder and those of its runs: for whoever looks from elsewhere."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import msgspec

from runbooks_lib.archive.run import Run
from runbooks_lib.errors import RunbookError
from runbooks_lib.evidence import HEADER
from runbooks_lib.execution.fleet.folder import FleetFolder
from runbooks_lib.execution.fleet.record import Ended, Fleet, Member
from runbooks_lib.execution.fleet.task import told
from runbooks_lib.findings import Verdict


@dataclass(frozen=True, slots=True, kw_only=True)
class Moment:
    """A fleet run as it stands; `at_work` names the databases whose run has begun and has not ended yet."""

    fleet: Fleet
    sealed: bool
    at_work: frozenset[str]

    @property
    def counts(self) -> dict[str, int]:
        """Return how many databases are done, stopped, lost, at work, and have not begun."""
        states = Counter(each.ended.state for each in self.fleet.members if each.name not in self.at_work)
        counted = {state: states[state] for state in ("done", "stopped", "lost")}
        return {**counted, "at work": len(self.at_work), "not begun": states["waiting"]}


def moment(folder: FleetFolder) -> Moment:
    """Return how a fleet run stands; what is sealed as it was sealed. Raises EvidenceError when it cannot be read."""
    fleet = folder.read()
    if folder.sealed:
        return Moment(fleet=fleet, sealed=True, at_work=frozenset())
    members, at_work = [], set()
    for member in fleet.members:
        ended, works = _seen(folder, fleet, member)
        members.append(msgspec.structs.replace(member, ended=ended))
        if works:
            at_work.add(member.name)
    now = msgspec.structs.replace(fleet, members=tuple(members))
    return Moment(fleet=now, sealed=False, at_work=frozenset(at_work))


def _seen(folder: FleetFolder, fleet: Fleet, member: Member) -> tuple[Ended, bool]:
    """Return how the run at a database stands, and whether it has begun and not ended; what is not read is an ERROR."""
    path = folder.run(member, fleet.phase.id)
    if member.ended.state == "done" or not path.is_dir():
        return member.ended, False
    if member.ended.state == "waiting" and not (path / HEADER).exists():  # its folder is being made
        return member.ended, True
    try:
        run = Run.open(path)
        return told(run, check=fleet.mode == "check"), not run.sealed
    except RunbookError as error:
        return Ended(state="stopped", verdict=Verdict.ERROR, reason=f"{error}"), False
