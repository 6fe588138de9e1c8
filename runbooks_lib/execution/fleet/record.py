"""fleet.json: which phase, at which databases, by whom, in which runs; then how each of them ended."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from runbooks_lib.errors import GateClosed
from runbooks_lib.evidence import Operator, PhaseOfRun
from runbooks_lib.findings import CLOSING, Verdict, worst_of
from runbooks_lib.typed import Moment, Sha256, Typed

FLEET = "fleet.json"
SCHEMA_VERSION = 1
# `done` came to its end and every gate opened; `stopped` ended at a gate or by an error; `lost` has no answer of its
# worker; `waiting` has not begun.
State = Literal["waiting", "done", "stopped", "lost"]
FleetMode = Literal["plan", "apply", "check"]  # `check` plans, and wants that there is nothing to apply


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What is asked of a fleet run beside phase and databases. `confirm` is PHASE:HASH8, empty to plan or to check."""

    runs: Path
    confirm: str = ""
    check: bool = False
    canary: int = 0
    wave: int = 0
    max_failures: int = 1


class Place(Typed):
    """A database of a fleet: its name there, the address of its server, its wave and labels, and where the targets
    of the phase are in its run.
    """

    name: str
    server: str
    wave: int
    labels: dict[str, str]
    services: dict[str, str]
    databases: dict[str, str]


class Stop(Typed):
    """What closed a gate in a run, or ended it: step ("-" for none), check, object, and words for people."""

    step: str
    check: str
    object: str
    have: str
    hint: str = ""


class Ended(Typed, omit_defaults=True):
    """How the run at a database stands: verdicts by step, its plan, its seal; `reason` where it is not done.

    `attempts` counts how often it was handed out, `worker` is who had it last.
    """

    state: State = "waiting"
    verdict: Verdict | None = None
    exit_code: int | None = None
    steps: dict[str, Verdict] = {}
    duration_s: float = 0.0
    plan_hash: str = ""
    confirmation: str = ""
    manifest: Sha256 | None = None
    stops: tuple[Stop, ...] = ()
    reason: str = ""
    attempts: int = 0
    worker: str = ""


class Member(Typed):
    """A database of a fleet, the id of its run, and how that ended. `confirm` is the plan that is applied there."""

    place: Place
    run: str
    confirm: str = ""
    ended: Ended = Ended()

    @property
    def name(self) -> str:
        """Return the name of the database in the fleet."""
        return self.place.name


class Pace(Typed):
    """How the fleet goes on: the first databases alone, how many a wave, and after how many failures it stops."""

    per_server: int
    canary: int = 0
    wave: int = 0
    max_failures: int = 1


class Fleet(Typed, omit_defaults=True):
    """fleet.json. `hash` covers the plan of every database; `planned` is the fleet run whose plan is applied.

    `scheduler` and `dashboard` are the addresses of the cluster that has it, empty for processes of one machine.
    """

    schema_version: int
    id: str
    phase: PhaseOfRun
    mode: FleetMode
    started_at: Moment
    operator: Operator
    versions: dict[str, str]
    library: Sha256
    code: str
    file_sha256: Sha256
    pace: Pace
    members: tuple[Member, ...]
    finished_at: Moment | None = None
    stopped_at: Moment | None = None
    hash: str = ""
    confirmation: str = ""
    planned: str = ""
    scheduler: str = ""
    dashboard: str = ""
    stopped_by: str = ""

    @property
    def failed(self) -> tuple[Member, ...]:
        """Return the databases whose run began and is not done."""
        return tuple(each for each in self.members if each.ended.state in ("stopped", "lost"))

    @property
    def not_begun(self) -> tuple[Member, ...]:
        """Return the databases whose run has not begun."""
        return tuple(each for each in self.members if each.ended.state == "waiting")

    @property
    def verdict(self) -> Verdict:
        """Return the worst verdict; what has none, since it was lost or did not begin, is an ERROR."""
        return worst_of(each.ended.verdict or Verdict.ERROR for each in self.members)

    @property
    def exit_code(self) -> int:
        """Return 0 when every run is done; else the first exit code of one that is not."""
        codes = [each.ended.exit_code or GateClosed.exit_code for each in self.failed]
        return codes[0] if codes else GateClosed.exit_code if self.not_begun or self.verdict in CLOSING else 0
