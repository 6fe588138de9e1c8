"""The archive as a whole: its runs in short, and one of them by its folder, its id, or the beginning of that."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Literal

from runbooks_lib.archive.manifest import MANIFEST
from runbooks_lib.archive.run import Run, all_runs
from runbooks_lib.errors import EvidenceError, PreconditionFailed
from runbooks_lib.evidence import HEADER, Header, header_of
from runbooks_lib.typed import Typed, plain

LATEST = "latest"  # the name of the newest run
State = Literal["complete", "stopped", "unfinished", "unreadable"]


class InList(Typed, omit_defaults=True):
    """What `runs list --json` tells of a run beside its header, which is left out where it cannot be read."""

    id: str
    folder: str
    state: State
    sealed: bool
    duration_s: float | None
    problem: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Listed:
    """A run in short. `content` is its run.json, `header` the same as a record: None when that cannot be read.

    Then `problem` says why.
    """

    id: str
    phase: str
    where: str
    sealed: bool
    header: Header | None = None
    content: Mapping[str, Any] = field(default_factory=dict)
    problem: str = ""

    @property
    def mode(self) -> str:
        """Return plan or apply."""
        return self.header.mode if self.header else "-"

    @property
    def verdict(self) -> str:
        """Return the run's verdict, "-" while it has none."""
        return self.header.verdict or "-" if self.header else "-"

    @property
    def state(self) -> State:
        """Return complete, stopped (it ended early), open (it has not ended, or was killed) or unreadable."""
        if self.header is None:
            return "unreadable"
        if self.header.finished_at:
            return "complete"
        return "stopped" if self.header.stopped_at else "unfinished"

    @property
    def duration_s(self) -> float | None:
        """Return how long the run took; None when it has not ended, or when that is not known."""
        return self.header.duration_s if self.header else None

    def to_dict(self) -> dict[str, Any]:
        """Return the run's header with what else is told of it, for JSON."""
        told = InList(
            id=self.id,
            folder=self.where,
            state=self.state,
            sealed=self.sealed,
            duration_s=self.duration_s,
            problem=self.problem,
        )
        return {**self.content, **plain(told)}


def listed(runs: Path) -> list[Listed]:
    """Return every run of an archive, oldest first. One that cannot be read is listed as such, and hides no other."""
    return [_listed(run) for run in all_runs(runs)]


def _listed(run: Run) -> Listed:
    told: dict[str, Any] = {}
    try:
        content = run.header_json()
        told = {"content": content, "header": header_of(content, run.path / HEADER)}
    except EvidenceError as error:
        told = {"problem": error.what_happened}
    return Listed(id=run.id, phase=run.path.parent.name, where=str(run.path), sealed=run.sealed, **told)


def older(runs: Iterable[Listed], keep: int) -> list[Listed]:
    """Return the runs of each phase that are older than its `keep` newest, and than the newest that applied.

    What is left is the end of the phase's chain, without a gap.
    """
    by_phase: dict[str, list[Listed]] = {}
    for run in sorted(runs, key=lambda run: run.id):
        by_phase.setdefault(run.phase, []).append(run)
    return [run for group in by_phase.values() for run in group[: _first_kept(group, keep)]]


def _first_kept(group: list[Listed], keep: int) -> int:
    applied = [n for n, run in enumerate(group) if run.mode == "apply"]
    return min(max(len(group) - keep, 0), *applied[-1:], len(group))


def pick(runs: Iterable[Listed], reference: str, where: str) -> Listed:
    """Return the run that an id, the beginning of one, or `latest` names. `where` names the archive in errors.

    Raises PreconditionFailed when there is none, or more than one.
    """
    known = sorted(runs, key=lambda run: run.id)
    if reference == LATEST and known:
        return known[-1]
    found = [run for run in known if run.id.startswith(reference)] if reference else []
    exact = [run for run in found if run.id == reference]
    if len(exact or found) == 1:
        return (exact or found)[0]
    if not known:
        raise PreconditionFailed(
            f"There is no run {reference!r} in {where}: there is none at all.",
            "Name the folder that keeps the runs with --runs DIR, or begin one: runbooks run PHASE.",
        )
    if not found:
        near = get_close_matches(reference, [LATEST, *(run.id for run in known)], n=1)
        raise PreconditionFailed(
            f"There is no run {reference!r} in {where}.",
            (f"Did you mean {near[0]}? " if near else "")
            + "Name a run's folder, its id, the beginning of its id, or latest; `runbooks runs list` lists them.",
        )
    raise PreconditionFailed(
        f"{len(found)} runs in {where} begin with {reference!r}: {', '.join(run.id for run in found[:5])}"
        + (", …." if len(found) > 5 else "."),
        "Give more of the id, or the folder.",
    )


def find_folder(runs: Path, reference: str, phase_id: str | None = None) -> Path:
    """Return the folder of the run that a folder, an id, the beginning of an id, or `latest` names.

    Raises PreconditionFailed when there is none, or more than one.
    """
    path = Path(reference).expanduser()
    if reference and path.is_dir():
        return require_run(path.absolute())
    if reference and path.is_file():
        raise PreconditionFailed(
            f"{path} is a file, and no run's folder.",
            "Name the folder. What `runbooks export` wrote is unpacked, and verified as its README.txt says.",
        )
    reference = reference.rpartition("@")[2]  # what was meant for a URL may hold a password
    if "/" in reference:
        raise PreconditionFailed(
            f"There is no folder {reference}.",
            "Name the folder of a run, its id, or latest: `runbooks runs list`.",
        )
    known = (
        Listed(id=run.id, phase=run.path.parent.name, where=str(run.path), sealed=False)
        for run in all_runs(runs, phase_id)
    )
    return Path(pick(known, reference, str(runs)).where)


def require_run(path: Path) -> Path:
    """Return the folder of a run. Raises PreconditionFailed where nothing of a run is in it."""
    if not any((path / name).exists() for name in (HEADER, MANIFEST)):
        raise PreconditionFailed(
            f"{path} is no run's folder: it has neither {HEADER} nor {MANIFEST}.",
            "Name the folder of a run, or its id and the archive (--runs DIR): `runbooks runs list` lists them.",
        )
    return path


def find_run(runs: Path, reference: str, phase_id: str | None = None) -> Run:
    """Return the run that `find_folder` finds. Raises EvidenceError when it cannot be read."""
    return Run.open(find_folder(runs, reference, phase_id))
