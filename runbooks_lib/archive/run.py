"""A run and its folder: RUNS/PHASE/20260107T174759Z-3f9c2a/, one for each execution of a phase."""

from __future__ import annotations

import getpass
import os
import platform
import re
import secrets
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from importlib.metadata import version
from pathlib import Path
from typing import Any, TypeVar

from runbooks_lib.archive.files import write_bytes, write_json, write_text
from runbooks_lib.archive.manifest import ATTESTATION, MANIFEST, alone, followers
from runbooks_lib.archive.masking.mask import standing_in
from runbooks_lib.archive.notebooks import notebooks_folder
from runbooks_lib.archive.reader import SMALL_BYTES
from runbooks_lib.archive.sealed_files import Believed, sealed_as
from runbooks_lib.errors import EvidenceError, PreconditionFailed
from runbooks_lib.evidence import (
    HEADER,
    SCHEMA_VERSION,
    Evidence,
    Header,
    Operator,
    PhaseOfRun,
    Record,
    TargetOfRun,
    header_of,
    record_of,
    step_name,
)
from runbooks_lib.given import read_given, read_given_text
from runbooks_lib.ordinary import learn
from runbooks_lib.package import DISTRIBUTION, library_digest
from runbooks_lib.phase import STEPS, Phase, reference, with_services
from runbooks_lib.phase.seed_file import SeedFile
from runbooks_lib.prisma.named import PROJECT_VARIABLE, find_project
from runbooks_lib.typed import Moment, plain, typed

_STAMP = "%Y%m%dT%H%M%SZ"
_URL = re.compile(r"[a-z][a-z0-9+.-]*://")
SEALED_BY_RUNNER = "RUNBOOKS_SEALED_BY_RUNNER"  # the id of the run that the runner itself will seal
T = TypeVar("T")
RECORDED_PACKAGES = ("papermill", "psycopg", "jupyterlab", "ipykernel", "pandas")


def now() -> Moment:
    """Return the present time, UTC, with milliseconds."""
    return Moment(datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"))


def new_id(newest: str = "") -> str:
    """Return the id of a new run: the present time, and a few digits of chance.

    It comes after `newest`, the newest run before it, also in the same second and after a clock was set back:
    20260107T174800Z-… after 20260107T174759Z-3f9c2a.
    """
    begins = datetime.now(UTC).replace(microsecond=0)
    with suppress(ValueError, OverflowError):  # a folder of another name
        before = datetime.strptime(newest.partition("-")[0], _STAMP).replace(tzinfo=UTC)
        begins = max(begins, before + timedelta(seconds=1))
    return f"{begins:{_STAMP}}-{secrets.token_hex(3)}"


def is_url(text: str | None) -> bool:
    """Tell whether an archive is named by a URL: s3://bucket/runs and the like, file:// and memory:// too."""
    return bool(text and _URL.match(text))


def runs_folder(explicit: str | Path | None = None) -> Path:
    """Return where runs are kept: `explicit`, else RUNBOOKS_RUNS, else ./runs.

    A kernel started by JupyterLab works in the notebooks' own folder: there it is ../runs, as for a shell.
    Raises PreconditionFailed when that is a URL: a run is made in a folder, and copied when it is sealed; and when it
    is the folder of one run, or of a phase's runs: a run within a run would break its seal; EvidenceError when a file
    stands in its place.
    """
    given = explicit or os.environ.get("RUNBOOKS_RUNS")
    if given and is_url(str(given)):
        raise PreconditionFailed(
            "The folder of the runs (--runs, RUNBOOKS_RUNS) is a URL, and this needs one of this machine.",
            "Name a folder; when the run is sealed: runbooks runs upload RUN --runs URL.",
        )
    if given:
        folder = Path(given).expanduser().absolute()
        if (folder / HEADER).is_file():
            raise _no_archive(folder, "a run", folder.parent.parent)
        if any(folder.glob(f"*/{HEADER}")):
            raise _no_archive(folder, "where the runs of one phase are", folder.parent)
        there = next(each for each in (folder, *folder.parents) if each.exists())
        if not there.is_dir():
            raise EvidenceError(f"{there} is a file, and no archive of runs.", "Name a folder: --runs DIR.")
        return folder
    here = Path.cwd()
    return (here.parent if here == notebooks_folder() else here) / "runs"


def _no_archive(folder: Path, what: str, archive: Path) -> PreconditionFailed:
    return PreconditionFailed(
        f"{folder} is {what}, and no archive of runs.", f"Name the folder of all runs: --runs {archive}"
    )


@dataclass(frozen=True, slots=True)
class Run:
    """A run by its folder."""

    path: Path

    @classmethod
    def create(
        cls, runs: Path, phase: Phase, *, superuser_objects: Sequence[str] = (), run_id: str = ""
    ) -> Run:
        """Make a new run folder with its header and a copy of the phase; the folder is readable by its owner only.

        `superuser_objects` are those that the run's scratch servers may make by a superuser. `run_id` was drawn by
        `new_id` for it before.
        Raises EvidenceError when it cannot be made, PreconditionFailed when a file of the phase holds a secret.
        """
        _require_no_secrets(phase)
        _learn(phase)
        if not run_id:
            run_id = new_id(max((run.id for run in all_runs(runs, phase.id)), default=""))
        path = runs / phase.id / run_id
        try:
            for folder in (path, path / "backup", path / "plan"):
                folder.mkdir(parents=True, mode=0o700)
        except OSError as error:
            raise EvidenceError(
                f"The run folder {path} could not be made: {error.strerror or error}.",
                "Free space, or choose a folder that you may write to: --runs DIR.",
            ) from error
        write_json(
            path / HEADER, plain(_header(path.name, phase, superuser_objects, dict(_keep(phase, path))))
        )
        return cls(path)

    @classmethod
    def open(cls, path: Path) -> Run:
        """Open an existing run folder. Raises EvidenceError when it is none."""
        run = cls(path)
        run.header()
        return run

    @property
    def id(self) -> str:
        """Return the run's id, the name of its folder."""
        return self.path.name

    def header(self) -> Header:
        """Return run.json. Raises EvidenceError when there is none, or it is not as it was sealed."""
        return header_of(self.header_json(), self.path / HEADER)

    def header_json(self) -> dict[str, Any]:
        """Return run.json as it stands there, for who prints or changes it. Raises EvidenceError as `header` does."""
        return self._header_json(sealed_as(self.path))

    def _header_json(self, sealed: Believed | None) -> dict[str, Any]:
        path = self.path / HEADER
        believed = sealed or Believed({}, sealed=False)
        content = believed.read(self.path, HEADER, limit_bytes=SMALL_BYTES)
        if content is None:
            raise EvidenceError(f"{path} cannot be read: there is none.", "Name the folder of a run.")
        if content.get("schema_version") != SCHEMA_VERSION:
            raise EvidenceError(
                f"{path} is no header of a run that this version can read.",
                "Name the folder of a run; it was made by another version or is something else.",
            )
        return content

    def update(self, **fields: Any) -> None:
        """Change fields of run.json."""
        write_json(self.path / HEADER, self.header_json() | plain(fields))

    def note(self, digests: Mapping[str, str | None]) -> None:
        """Note in run.json the SHA-256 of files that are complete, by their path in the run; None: there is none now.

        What is read later, and what is sealed in the end, must be the same.
        """
        content = self.header_json()
        before = header_of(content, self.path / HEADER).digests
        noted = {name: digest for name, digest in {**before, **digests}.items() if digest is not None}
        if noted != before:
            write_json(self.path / HEADER, content | {"digests": noted})

    def services(self) -> dict[str, str]:
        """Return the service of each target in this run, by the target's name: as they were chosen when it began."""
        return {target.name: target.service for target in self.header().targets}

    def at_its_services(self, phase: Phase) -> Phase:
        """Return the run's phase with the services that the run was begun with.

        Raises PreconditionFailed when this is another phase than the run's, or another version of it.
        """
        header = self.header()
        if header.phase.digest != phase.digest:
            raise PreconditionFailed(
                f"The run {self.id} was begun with another version of phase {header.phase.id}.",
                "Begin a new run: runbooks run PHASE without --resume, or 01_preflight.ipynb with no run parameter.",
            )
        _learn(phase)
        databases = {target.name: target.database for target in header.targets}
        return with_services(phase, self.services(), databases)

    @property
    def sealed(self) -> bool:
        """Return whether the run is sealed: `runbooks verify` says whether it can be trusted."""
        return os.path.lexists(self.path / MANIFEST)

    def reopen(self) -> None:
        """Remove the seal of a run that is to go on; nothing happens when it has none.

        Raises EvidenceError when a later run of the phase has chained onto it.
        """
        if self.sealed:
            with alone(self.path.parent):
                if later := followers(self.path):
                    raise EvidenceError(
                        f"The run {self.id} is sealed, and {later[0]} has chained onto it.",
                        "It stays as it is: begin a new run.",
                    )
                (self.path / MANIFEST).unlink(missing_ok=True)
        (self.path / ATTESTATION).unlink(missing_ok=True)

    def notebook(self, step: str) -> Path:
        """Return where a step's executed notebook is archived."""
        return self.path / f"{step_name(step)}.ipynb"

    def read(self, name: str, kind: type[T]) -> T | None:
        """Return a JSON file of the run, as it was noted or sealed; None when there is none.

        Raises EvidenceError when it is something else, or was changed or removed since.
        """
        content = self.believed().read(self.path, name)
        return None if content is None else typed(content, kind, self.path / name)

    def record(self, step: str) -> Record | None:
        """Return what a step recorded; None when it has not run in this run. Raises EvidenceError as `read` does."""
        content = self.record_json(step)
        return None if content is None else record_of(content, self.path / f"{step_name(step)}.json")

    def record_json(self, step: str) -> dict[str, Any] | None:
        """Return a step's record as it stands there, for who prints it. Raises EvidenceError as `read` does."""
        return self.believed().read(self.path, f"{step_name(step)}.json")

    def evidence(self) -> Evidence:
        """Return header and records of the run as they are now. Raises EvidenceError as `read` does."""
        sealed = sealed_as(self.path)  # once for all files: a seal names hundreds
        header = self._header_json(sealed)
        believed = sealed or Believed(header_of(header, self.path / HEADER).digests, sealed=False)
        records = {step: believed.read(self.path, f"{step_name(step)}.json") for step in STEPS}
        return Evidence.from_json(header, records, self.path)

    def believed(self) -> Believed:
        """Return what the run's files must be to be believed. Raises EvidenceError when that cannot be read."""
        return sealed_as(self.path) or Believed(self.header().digests, sealed=False)


def all_runs(runs: Path, phase_id: str | None = None) -> Iterator[Run]:
    """Yield the runs of an archive, oldest first, of one phase or of all."""
    folders = sorted(runs.glob(f"{phase_id or '*'}/*/{HEADER}"), key=lambda path: path.parent.name)
    for header in folders:
        yield Run(header.parent)


def unfinished(runs: Path, phase_id: str) -> Run | None:
    """Return the newest run of a phase if it has not come to its end, else None."""
    newest = max(all_runs(runs, phase_id), key=lambda run: run.id, default=None)
    return newest if newest is not None and newest.header().finished_at is None else None


def operator() -> str:
    """Return the account of whoever runs this: its name, or its number where it has none (in a container, say)."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return str(os.getuid())


def _file(phase: Phase, name: str) -> Path:
    """Return a file of a phase; phase.toml itself may be a link that leads elsewhere, as the loader lets it."""
    return (phase.folder / name).resolve() if name == "phase.toml" else phase.folder / name


def _kept(phase: Phase) -> tuple[str, ...]:
    """Return the names of the phase's files that a run keeps a copy of."""
    baseline = (phase.baseline.file, phase.baseline.concurrently) if phase.baseline else ()
    return tuple(filter(None, ("phase.toml", *baseline, phase.schema.file)))


def _texts(phase: Phase) -> Iterator[tuple[str, str]]:
    for name in _kept(phase):
        yield name, read_given_text(_file(phase, name), errors="replace")


def _learn(phase: Phase) -> None:
    """Let what a phase names be known as names: no password that is one of them is looked for everywhere."""
    for _, text in _texts(phase):
        learn(text)


def _require_no_secrets(phase: Phase) -> None:
    """Refuse a phase whose files hold a secret: they are kept as they are, since nothing in them may be masked."""
    for name, text in _texts(phase):
        for source in standing_in(text):
            raise PreconditionFailed(
                f"{phase.folder / name} holds the secret of {source}.",
                "A run keeps a copy of it, and nothing secret may be archived: take it out, and change the secret.",
            )


def _keep(phase: Phase, path: Path) -> Iterator[tuple[str, str]]:
    """Copy the phase's files to a run; yield each one's path in the run and its SHA-256."""
    for name in _kept(phase):
        octets = read_given(_file(phase, name))
        yield f"plan/{name}", write_bytes(path / "plan" / name, octets)
    for name in [seeds.file for seeds in phase.seeds if seeds.file]:  # too large to keep, maybe
        digest = SeedFile(phase.folder / name).digest()
        yield f"plan/{name}.sha256", write_text(path / "plan" / f"{name}.sha256", f"{digest}  {name}\n")


def _header(run_id: str, phase: Phase, superuser_objects: Sequence[str], digests: dict[str, str]) -> Header:
    return Header(
        schema_version=SCHEMA_VERSION,
        id=run_id,
        phase=PhaseOfRun(
            id=phase.id,
            title=dict(phase.title.by_language),
            digest=phase.digest,
            ref=reference(phase),
        ),
        mode="plan",
        library=library_digest(),
        started_at=now(),
        finished_at=None,
        verdict=None,
        operator=Operator(user=operator(), host=platform.node()),
        versions={
            "python": platform.python_version(),
            "runbooks": version(DISTRIBUTION),
            **{package: version(package) for package in RECORDED_PACKAGES},
        },
        targets=tuple(
            TargetOfRun(name=t.name, service=t.service, role=t.role.value, database=t.database)
            for t in phase.targets.values()
        ),
        prisma_project=str(find_project()) if phase.prisma and os.environ.get(PROJECT_VARIABLE) else None,
        superuser_objects=tuple(superuser_objects),
        digests=digests,
    )
