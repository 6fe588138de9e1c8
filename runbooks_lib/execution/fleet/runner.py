"""A fleet run from its beginning to its seal: plan at every database, or apply what was planned there."""

from __future__ import annotations

import hashlib
import json
import math
import secrets
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import msgspec

from runbooks_lib.archive.notebooks import code_digest
from runbooks_lib.archive.run import Run, new_id, now
from runbooks_lib.errors import PreconditionFailed, RunbookError
from runbooks_lib.evidence import PhaseOfRun
from runbooks_lib.execution.fleet.campaign import Campaign, waves
from runbooks_lib.execution.fleet.crew import crew
from runbooks_lib.execution.fleet.file import SESSIONS_OF_A_RUN, Read
from runbooks_lib.execution.fleet.finish import finish
from runbooks_lib.execution.fleet.folder import TARGETS, FleetFolder, find_planned, here
from runbooks_lib.execution.fleet.record import SCHEMA_VERSION, Asked, Ended, Fleet, Member, Pace, Place
from runbooks_lib.execution.fleet.servers import require_each_once, servers
from runbooks_lib.package import DISTRIBUTION, library_digest
from runbooks_lib.phase import Phase, reference

CHECK_HOLDS_S = 3600.0  # that a check which is taken up believes what it has found
FOUND_NO_SUCH_PLAN = "Plan first: runbooks fleet run PHASE --targets FILE prints what confirms the plan."


def new(phase: Phase, read: Read, places: Sequence[Place], asked: Asked) -> Fleet:
    """Return the record of a new fleet run, in which nothing has begun.

    Raises PreconditionFailed when no sealed plan is named so, or its databases are others than those of today.
    """
    planned = _planned(phase, places, asked) if asked.confirm else None
    confirms = {each.name: each.ended.confirmation for each in planned.members} if planned else {}
    return Fleet(
        schema_version=SCHEMA_VERSION,
        id=new_id(),
        phase=PhaseOfRun(
            id=phase.id, title=dict(phase.title.by_language), digest=phase.digest, ref=reference(phase)
        ),
        mode="apply" if planned else "check" if asked.check else "plan",
        started_at=now(),
        operator=here(),
        versions={"runbooks": version(DISTRIBUTION)},
        library=library_digest(),
        code=code_digest(),
        file_sha256=read.sha256,
        pace=_pace(read, asked, apply=planned is not None),
        members=tuple(
            Member(place=place, run=new_id(), confirm=confirms.get(place.name, "")) for place in places
        ),
        planned=planned.id if planned else "",
    )


def _pace(read: Read, asked: Asked, *, apply: bool) -> Pace:
    limits = read.content.limits
    most = limits.connections // SESSIONS_OF_A_RUN if limits.connections else limits.per_server
    per_server = min(limits.per_server, most)
    if not apply:
        return Pace(per_server=per_server, max_failures=0)  # plans are inert: all are made
    return Pace(per_server=per_server, canary=asked.canary, wave=asked.wave, max_failures=asked.max_failures)


def _planned(phase: Phase, places: Sequence[Place], asked: Asked) -> Fleet:
    """Return the fleet run whose plan is confirmed. Raises PreconditionFailed, naming each database that differs."""
    folder = find_planned(asked.runs, phase.id, asked.confirm)
    if folder is None:
        raise PreconditionFailed(
            f"No sealed plan of this archive is named {asked.confirm}.", FOUND_NO_SUCH_PLAN
        )
    planned = folder.read()
    if planned.phase.digest != phase.digest:
        raise PreconditionFailed(
            f"Phase {phase.id} has changed since the plan {asked.confirm}.", FOUND_NO_SUCH_PLAN
        )
    before = {each.name: each.place for each in planned.members}
    today = {place.name: place for place in places}
    changed = [
        *(f"{name} was not there" for name in today.keys() - before.keys()),
        *(f"{name} is there no more" for name in before.keys() - today.keys()),
        *(
            f"{name} is elsewhere or in another wave"
            for name in today
            if before.get(name, today[name]) != today[name]
        ),
    ]
    if changed:
        raise PreconditionFailed(
            f"The databases are not those of the plan {asked.confirm}: {'; '.join(sorted(changed))}.",
            FOUND_NO_SUCH_PLAN,
        )
    return planned


def carry_on(
    folder: FleetFolder,
    fleet: Fleet,
    *,
    workers: int | None,
    scheduler: str,
    key: Path | None = None,
    watch: Callable[[Fleet, Campaign], None] = lambda fleet, campaign: None,
) -> Fleet:
    """Carry out what of a fleet run is not done, then write its report and seal it, whatever happens.

    Its folder is made, or opened again, when the workers have been found and are alike. `watch` is called whenever
    something changed. Returns the record as it was sealed.
    Raises PreconditionFailed before anything is begun; EvidenceError when the folder cannot be written.
    """
    if fleet.finished_at is not None and folder.sealed:
        raise PreconditionFailed(
            f"The fleet run {fleet.id} is complete.", "Begin a new one: runbooks fleet run."
        )
    if fleet.mode == "check":
        fleet = _checked_anew(folder, fleet)
    due = [each for each in fleet.members if each.ended.state != "done"]
    mark = folder.runs / TARGETS / ".archive"
    mark.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    if not mark.exists():
        mark.write_text(secrets.token_hex(16))
    services = {service for each in due for service in each.place.services.values()}
    looked = {"phase": fleet.phase.ref, "services": sorted(services), "mark": str(mark)}
    with crew(looked, workers=workers, scheduler=scheduler) as found:
        if found.has["phase"] != fleet.phase.digest:
            raise PreconditionFailed(
                f"Phase {fleet.phase.id} has changed since this fleet run began.", "Begin a new one."
            )
        everywhere = [each.place for each in fleet.members]
        known = servers(everywhere)
        require_each_once(everywhere, known)
        fleet = msgspec.structs.replace(fleet, scheduler=scheduler, dashboard=found.dashboard)
        folder.begin(fleet)

        def order(member: Member) -> dict[str, Any]:
            return _order(folder, fleet, member, looked, found.has)

        campaign = Campaign(
            crew=found,
            order=order,
            pace=fleet.pace,
            servers=known,
            on_change=lambda: watch(fleet, campaign),
        )
        try:
            campaign.carry_out(waves(due, fleet.pace))
        finally:
            ended = with_ends(fleet, campaign.ended, campaign.stopped_by)
            finish(folder, ended, key=key)
    return ended


def _checked_anew(folder: FleetFolder, fleet: Fleet) -> Fleet:
    """Return the record with new runs where a check found a database good too long ago to say so of today."""
    members = tuple(
        Member(place=each.place, run=new_id())
        if each.ended.state == "done" and _age_s(folder.run(each, fleet.phase.id)) > CHECK_HOLDS_S
        else each
        for each in fleet.members
    )
    return msgspec.structs.replace(fleet, members=members)


def _age_s(run: Path) -> float:
    """Return how long ago a run was finished; for ever where its folder does not say."""
    try:
        finished = Run.open(run).header().finished_at
    except RunbookError:
        finished = None
    return (datetime.now(UTC) - datetime.fromisoformat(finished)).total_seconds() if finished else math.inf


def _order(
    folder: FleetFolder, fleet: Fleet, member: Member, looked: Mapping[str, Any], has: Mapping[str, Any]
) -> dict[str, Any]:
    return {
        "do": "carry_out",
        "phase": fleet.phase.ref,
        "runs": str(folder.archive(member)),
        "run": member.run,
        "services": member.place.services,
        "databases": member.place.databases,
        "apply": fleet.mode == "apply",
        "check": fleet.mode == "check",
        "confirm": member.confirm,
        "asked": looked,
        "has": has,
    }


def with_ends(fleet: Fleet, ended: Mapping[str, Ended], stopped_by: str) -> Fleet:
    """Return the record with how each database ended, and what confirms the plan where there is one."""
    members = tuple(
        msgspec.structs.replace(each, ended=ended.get(each.name, each.ended)) for each in fleet.members
    )
    found = msgspec.structs.replace(fleet, members=members, stopped_at=now(), stopped_by=stopped_by)
    if found.exit_code == 0:
        found = msgspec.structs.replace(found, finished_at=found.stopped_at)
        digest = fleet_hash(found)
        if fleet.mode == "plan" and all(each.ended.confirmation for each in members):
            found = msgspec.structs.replace(
                found, hash=digest, confirmation=confirmation(fleet.phase.id, digest)
            )
    return found


def confirmation(phase: str, digest: str) -> str:
    """Return what confirms the plan of a fleet run of a phase, by its hash."""
    return f"{phase}:{digest[:8]}"


def fleet_hash(fleet: Fleet) -> str:
    """Return the SHA-256 (hex) over the phase, and each database with its place and its plan's hash."""
    parts = [
        [each.name, each.place.services, each.place.databases, each.place.wave, each.ended.plan_hash]
        for each in fleet.members
    ]
    whole = json.dumps([fleet.phase.digest, sorted(parts)], sort_keys=True)
    return hashlib.sha256(whole.encode()).hexdigest()
