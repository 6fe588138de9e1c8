"""Can a fleet run be trusted? Its own seal, the seal of each of its runs, and that both tell the same."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from runbooks_lib.archive.manifest import MANIFEST, Sealed
from runbooks_lib.archive.seal.problem import Kind, Problem
from runbooks_lib.archive.seal.verify import Verification, file_problems, sealed_in, signature, verify
from runbooks_lib.errors import EvidenceError, RunbookError
from runbooks_lib.execution.fleet.finish import statement
from runbooks_lib.execution.fleet.folder import FleetFolder
from runbooks_lib.execution.fleet.record import FLEET, Ended, Fleet, Member
from runbooks_lib.execution.fleet.runner import confirmation, fleet_hash
from runbooks_lib.execution.fleet.task import told

if TYPE_CHECKING:
    from securesystemslib.signer import SSlibKey


def verify_fleet(folder: FleetFolder, *, key: Path | None = None) -> Verification:
    """Verify a fleet run and each of its runs; with `key` also the signatures.

    `problems` name a run's file as NAME/RUN/FILE. Raises EvidenceError when the folder is none, or the key no key.
    """
    from runbooks_lib.archive.seal.keys import load_public

    if not folder.path.is_dir():
        raise EvidenceError(f"{folder.path} is no folder.", "Name that of a fleet run: RUNS/fleets/PHASE/ID.")
    public = load_public(key) if key else None
    notes: list[str] = []
    sealed = sealed_in(folder.path, ["runbooks", "fleet", "resume", str(folder.path)])
    if isinstance(sealed, Problem):
        return _found(folder, None, None, (sealed,), notes)
    problems = list(file_problems(sealed))
    fleet, signed_by = None, None
    if not problems:
        try:
            fleet = folder.read()
            problems += _fleet_problems(sealed, fleet)
            problems += [p for member in fleet.members for p in _run_problems(folder, fleet, member, key)]
        except EvidenceError as error:
            problems.append(Problem(Kind.CHANGED, FLEET, str(error)))
    signed_by, said = _signed(sealed, fleet, public, notes)
    return _found(folder, sealed, fleet, (*problems, *said), notes, signed_by)


def _signed(
    sealed: Sealed, fleet: Fleet | None, public: SSlibKey | None, notes: list[str]
) -> tuple[str | None, list[Problem]]:
    if fleet is None:
        return signature(sealed, public, notes, None)
    return signature(sealed, public, notes, lambda: statement(fleet, sealed.content, sealed.sha256))


def _found(
    folder: FleetFolder,
    sealed: Sealed | None,
    fleet: Fleet | None,
    problems: tuple[Problem, ...],
    notes: list[str],
    signed_by: str | None = None,
) -> Verification:
    return Verification(
        folder=folder.path,
        manifest=sealed.content if sealed else None,
        mode=fleet.mode if fleet else None,
        signed_by=signed_by,
        problems=tuple(dict.fromkeys(problems)),
        notes=tuple(notes),
    )


def _fleet_problems(sealed: Sealed, fleet: Fleet) -> Iterator[Problem]:
    """Compare fleet.json with its folder, its manifest and itself."""
    manifest = sealed.content
    says = fleet.id, fleet.phase.id, fleet.verdict, fleet.finished_at is not None
    if says != (sealed.path.name, manifest.phase, manifest.verdict, manifest.complete):
        yield Problem(Kind.CONTRADICTS, FLEET, "it says something else of the fleet run than the manifest")
    if (fleet.finished_at is None) == (fleet.exit_code == 0):
        yield Problem(Kind.CONTRADICTS, FLEET, "whether it came to its end is not as its databases say")
    if fleet.hash and (
        fleet.hash != fleet_hash(fleet) or fleet.confirmation != confirmation(fleet.phase.id, fleet.hash)
    ):
        yield Problem(Kind.CONTRADICTS, FLEET, "its hash is not that of its plans")


def _run_problems(folder: FleetFolder, fleet: Fleet, member: Member, key: Path | None) -> Iterator[Problem]:
    """Verify the run at a database, and that it is what fleet.json says of it."""
    path = folder.run(member, fleet.phase.id)
    where = f"{member.name}/{member.run}"
    if member.ended.manifest is None:
        if member.ended.state == "done":
            yield Problem(Kind.CONTRADICTS, where, "fleet.json says done, and names no seal of it")
        elif member.ended.state == "waiting" and path.exists():
            yield Problem(Kind.CONTRADICTS, where, "there is a run, and fleet.json says that none has begun")
        return
    if not path.is_dir():
        yield Problem(Kind.REMOVED, where, "fleet.json names the run")
        return
    found = verify(path, key=key)
    yield from (Problem(each.kind, f"{where}/{each.where}", each.what) for each in found.problems)
    if found.trusted:
        yield from _told_otherwise(path, where, fleet, member)


def _told_otherwise(path: Path, where: str, fleet: Fleet, member: Member) -> Iterator[Problem]:
    from runbooks_lib.archive.run import Run

    try:
        run = Run.open(path)
        header, says = run.header(), told(run, check=fleet.mode == "check")
    except RunbookError as error:
        yield Problem(Kind.CONTRADICTS, where, str(error))
        return
    if says.manifest != member.ended.manifest:
        yield Problem(Kind.REPLACED, f"{where}/{MANIFEST}", "its SHA-256 is not the one that fleet.json has")
    elif _comparable(says) != _comparable(member.ended):
        yield Problem(Kind.CONTRADICTS, where, "fleet.json says something else of it than its own files")
    places = {each.name: (each.service, each.database) for each in header.targets}
    services, databases = member.place.services, member.place.databases
    elsewhere = [
        name
        for name, (service, database) in places.items()
        if service != services.get(name, service) or database != databases.get(name, database)
    ]
    mode = "apply" if fleet.mode == "apply" else "plan"
    if (header.phase.digest, header.mode) != (fleet.phase.digest, mode) or elsewhere:
        yield Problem(
            Kind.CONTRADICTS, where, "it is of another phase, mode or database than fleet.json says"
        )


def _comparable(ended: Ended) -> Ended:
    """Return what of an end stands in the run, too."""
    return msgspec.structs.replace(ended, attempts=0, worker="")
