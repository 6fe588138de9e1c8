"""The folder of a fleet run: RUNS/fleets/PHASE/ID/, beside the archive of each database, RUNS/targets/NAME/.

Each database has an archive of its own: its runs follow each other in one chain, and no two databases wait for each
other to seal.
"""

from __future__ import annotations

import os
import platform
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from runbooks_lib.archive.files import write_json
from runbooks_lib.archive.manifest import ATTESTATION, MANIFEST, alone, followers
from runbooks_lib.archive.run import operator
from runbooks_lib.archive.sealed_files import Believed, sealed_as
from runbooks_lib.errors import EvidenceError
from runbooks_lib.evidence import Operator
from runbooks_lib.execution.fleet.record import FLEET, SCHEMA_VERSION, Fleet, Member
from runbooks_lib.execution.fleet.targets import folder_of
from runbooks_lib.typed import plain, typed

FLEETS = "fleets"
TARGETS = "targets"


@dataclass(frozen=True, slots=True)
class FleetFolder:
    """A fleet run by its folder."""

    path: Path

    @classmethod
    def of(cls, runs: Path, fleet: Fleet) -> FleetFolder:
        """Return where a fleet run has its folder in an archive, made or not."""
        return cls(runs / FLEETS / fleet.phase.id / fleet.id)

    def begin(self, fleet: Fleet) -> None:
        """Make the folder of a new fleet run, or remove the seal of one that is to go on; then write its record.

        Raises EvidenceError when it cannot be made, or a later one follows the seal.
        """
        if self.path.exists():
            self._reopen()
        try:
            self.path.mkdir(parents=True, mode=0o700, exist_ok=True)
        except OSError as error:
            raise EvidenceError(
                f"The folder of the fleet run {self.path} could not be made: {error.strerror or error}.",
                "Free space, or choose a folder that you may write to: --runs DIR.",
            ) from error
        self.write(fleet)

    @property
    def runs(self) -> Path:
        """Return the archive in which the fleet run is."""
        return self.path.parents[2]

    def read(self) -> Fleet:
        """Return fleet.json. Raises EvidenceError when there is none, or it is not as it was sealed."""
        believed = sealed_as(self.path) or Believed({}, sealed=False)
        content = believed.read(self.path, FLEET)
        if content is None or content.get("schema_version") != SCHEMA_VERSION:
            raise EvidenceError(
                f"{self.path} is no fleet run that this version can read.",
                "Name its folder: RUNS/fleets/PHASE/ID.",
            )
        return typed(content, Fleet, self.path / FLEET)

    def write(self, fleet: Fleet) -> None:
        """Write fleet.json. Raises EvidenceError when it cannot be written."""
        write_json(self.path / FLEET, plain(fleet))

    def archive(self, member: Member) -> Path:
        """Return the archive of the runs at a database."""
        return self.runs / TARGETS / folder_of(member.name)

    def run(self, member: Member, phase: str) -> Path:
        """Return the folder of the run at a database."""
        return self.archive(member) / phase / member.run

    @property
    def sealed(self) -> bool:
        """Return whether the fleet run is sealed."""
        return os.path.lexists(self.path / MANIFEST)

    def _reopen(self) -> None:
        with alone(self.path.parent):
            if later := followers(self.path):
                raise EvidenceError(
                    f"The fleet run {self.path.name} is sealed, and {later[0]} has chained onto it.",
                    "It stays as it is: begin a new one.",
                )
            for name in (MANIFEST, ATTESTATION):
                (self.path / name).unlink(missing_ok=True)


def all_fleets(runs: Path, phase: str = "*") -> Iterator[FleetFolder]:
    """Yield the fleet runs of an archive, newest first."""
    for path in sorted((runs / FLEETS).glob(f"{phase}/*/{FLEET}"), key=lambda p: p.parent.name, reverse=True):
        yield FleetFolder(path.parent)


def find_planned(runs: Path, phase: str, confirm: str) -> FleetFolder | None:
    """Return the newest sealed fleet run whose plan PHASE:HASH8 names; None when there is none."""
    for folder in all_fleets(runs, phase):
        with suppress(EvidenceError):
            if folder.sealed and folder.read().confirmation == confirm:
                return folder
    return None


def here() -> Operator:
    """Return who carries a fleet run out, and where."""
    return Operator(user=operator(), host=platform.node())
