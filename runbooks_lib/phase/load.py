"""Finds a phase by its id or path, and reads phase.toml into a Phase."""

from __future__ import annotations

import hashlib
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from decimal import Decimal
from importlib.resources import files
from pathlib import Path
from typing import Any

from runbooks_lib.errors import SpecError
from runbooks_lib.given import read_given, text_of
from runbooks_lib.phase.checklist import derived
from runbooks_lib.phase.mistakes import Mistakes, below, nearest, shown, suggestion
from runbooks_lib.phase.model import (
    OLDEST_SPEC_VERSION,
    SPEC_VERSION,
    Phase,
    Role,
    SchemaSource,
    Target,
)
from runbooks_lib.phase.older import SECTIONS, as_today
from runbooks_lib.phase.reader import Reader
from runbooks_lib.phase.references import check_references, check_seed_file
from runbooks_lib.phase.seed_file import SeedFile

_FILE_NAME = "phase.toml"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Owners:
    """[owners] of the file."""

    default: str


def load_phase(ref: str, *, kept: bool = False) -> Phase:
    """Read the phase with the shipped id `ref`, or at the path `ref` (phase.toml or its folder).

    Reads phase.toml and the files beside it that it names; writes nothing. `kept` is a run's copy, which is without
    the files of seeds: its digest is not the phase's.

    Raises SpecError: with every mistake of the file, each with its key path; or because there
    is no such phase, or the file is no TOML.
    """
    file = _find(ref)
    content = _read(file)
    raw = _parse(content, file)
    mistakes = Mistakes()
    mistakes.refuse_connection_strings(raw.get("targets"), "targets")
    phase = _build(raw, file.parent, mistakes)
    check_references(phase, mistakes, raw)
    targets = {name: _follow(target, phase.targets, mistakes) for name, target in phase.targets.items()}
    digest = hashlib.sha256(content + b"\0" + _read_baseline(phase, mistakes))
    if phase.schema.file:
        digest.update(b"\0" + _read_schema(phase.folder / phase.schema.file, mistakes))
    for seed_digest in () if kept else _read_seed_files(phase, mistakes):
        digest.update(b"\0" + seed_digest.encode())
    mistakes.raise_all(file)
    return replace(phase, targets=targets, digest=digest.hexdigest())


def shipped_ids() -> tuple[str, ...]:
    """Return the ids of the phases that come with this package."""
    return tuple(sorted(path.parent.name for path in _shipped().glob(f"*/{_FILE_NAME}")))


def reference(phase: Phase) -> str:
    """Return what `load_phase` finds this very phase by: its id when it is shipped, else its folder."""
    return phase.id if phase.folder == (_shipped() / phase.id).resolve() else str(phase.folder)


def _shipped() -> Path:
    return Path(str(files("runbooks_lib") / "phases"))


def _find(ref: str) -> Path:
    """Return the absolute path of the phase.toml that `ref` means."""
    if ref in shipped_ids():
        return (_shipped() / ref).resolve() / _FILE_NAME
    path = Path(ref)
    try:
        if path.is_dir():
            path /= _FILE_NAME
        if path.is_file():
            # Only the folder is resolved: its name is the id, while the file may be mounted as a link.
            return path.parent.resolve() / path.name
    except OSError as error:
        raise SpecError(f"{shown(ref)} cannot be opened: {error.strerror}.", "Check the path.") from error
    near = nearest(ref.strip(" /"), shipped_ids())
    raise SpecError(
        f"There is no phase {shown(ref)}: it is neither the id of a shipped phase "
        f"nor the path of a {_FILE_NAME} or of its folder.{_what_it_is(path)}",
        (f"Did you mean {near}? " if near else "")
        + f"Shipped are: {', '.join(shipped_ids())}; runbooks phase new FOLDER begins one.",
    )


def _what_it_is(path: Path) -> str:
    """Return what stands at the path of a phase.toml that is not there, where that is known."""
    if (path.parent / "run.json").is_file():
        return " It is the folder of a run: runbooks run PHASE --resume takes it up, runbooks runs show tells of it."
    return f" The folder has no {_FILE_NAME}." if path.parent.is_dir() and path.name == _FILE_NAME else ""


def _read(file: Path) -> bytes:
    try:
        return read_given(file.resolve())  # the one that the operator named may be mounted as a link
    except OSError as error:
        raise SpecError(
            f"The file {file} cannot be read: {error.strerror}.", "Make it readable for this user."
        ) from error


def _parse(content: bytes, file: Path) -> dict[str, Any]:
    if file.suffix == ".ipynb":
        raise SpecError(
            f"{file} is a notebook, and no phase.", "Run its step: runbooks run PHASE --only STEP."
        )
    try:
        return tomllib.loads(text_of(content), parse_float=Decimal)  # digit for digit, as it is written
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise SpecError(
            f"The phase file {file} is not UTF-8 (line {line}).", "Save it as UTF-8, as TOML requires."
        ) from error
    except tomllib.TOMLDecodeError as error:
        # The message ends in "(at line 3, column 7)" or "(at end of document)".
        raise SpecError(
            f"The phase file {file} is no valid TOML: {error}.", "Correct the syntax there and run again."
        ) from error


def _build(raw: Mapping[str, Any], folder: Path, mistakes: Mistakes) -> Phase:
    """Read the parsed file; its digest is still empty, and standbys follow whom the file says."""
    reader = Reader(mistakes)
    owner = reader.table(_Owners, raw["owners"], "owners").default if "owners" in raw else None
    with_owners = {
        key: _own(value, owner) if owner and key in ("enums", "tables") else value
        for key, value in raw.items()
    }
    also = ("owners", *(key for key in SECTIONS if key in raw))
    phase = reader.table(Phase, with_owners, "", also=also, folder=folder, digest="", owner=owner)
    phase = _with_defaults(as_today(phase, raw, reader, mistakes))
    version = raw.get("spec_version")
    if type(version) is int and not OLDEST_SPEC_VERSION <= version <= SPEC_VERSION:
        mistakes.add(
            "spec_version",
            f"is {version}",
            f"this version of runbooks reads spec_version {OLDEST_SPEC_VERSION} to {SPEC_VERSION}",
        )
    if phase.id and phase.id != folder.name:
        mistakes.add("id", f"is {shown(phase.id)}, but the folder is {shown(folder.name)}", "they are equal")
    for name in phase.targets:
        if not re.fullmatch(r"[A-Za-z0-9_-]+", name):
            mistakes.add(below("targets", name), "is no name", "accepted are letters, digits, '_' and '-'")
    return phase


def _with_defaults(phase: Phase) -> Phase:
    """Fill in what follows from the rest: whose dump is made, what must stand, which boxes there are to tick."""
    schema, backup = phase.schema, phase.backup
    if schema.file and schema.target is None:
        schema = replace(schema, target=_target_of_schema(phase))
    if phase.prisma:
        schema = replace(schema, source=SchemaSource.MIGRATIONS)
    if not backup.targets:
        written = (section.target for section in (phase.prisma, phase.baseline) if section)
        backup = replace(backup, targets=tuple(dict.fromkeys(n for n in written if n in phase.targets)))
    phase = replace(phase, schema=schema, backup=backup)
    return phase if phase.checklist else replace(phase, checklist=derived(phase))


def _target_of_schema(phase: Phase) -> str | None:
    """Return the target in which what the schema's file makes has to stand, where the phase leaves no choice."""
    primaries = [target.name for target in phase.targets.values() if target.role is Role.PRIMARY]
    section = phase.prisma or phase.baseline
    return section.target if section else primaries[0] if len(primaries) == 1 else None


def _own(entries: object, owner: str) -> object:
    """Give each entry that names no owner the default owner."""
    if not isinstance(entries, list):
        return entries
    return [{"owner": owner, **entry} if isinstance(entry, dict) else entry for entry in entries]


def _follow(target: Target, targets: Mapping[str, Target], mistakes: Mistakes) -> Target:
    """Return `target` with the primary that it follows, where it is a standby."""
    path = below("targets", target.name)
    if target.role is Role.PRIMARY:
        for key in ("primary", "max_lag_bytes"):
            if getattr(target, key) is not None:
                mistakes.add(f"{path}.{key}", "is given for a primary", "leave it out")
    unread = any(not (t.role and t.database) for t in targets.values())
    if target.role is not Role.STANDBY or unread:
        return target
    primaries = [t.name for t in targets.values() if (t.role, t.database) == (Role.PRIMARY, target.database)]
    if target.primary is None and len(primaries) == 1:
        return replace(target, primary=primaries[0])
    held = f"the database {shown(target.database)}"
    if target.primary is None:
        mistakes.add(
            f"{path}.primary",
            f"is missing, and {len(primaries)} primaries have {held}",
            "accepted is the name of the target that this standby follows",
        )
    elif target.primary not in primaries:
        mistakes.add(
            f"{path}.primary",
            f"names no primary with {held}: {shown(target.primary)}",
            suggestion(target.primary, primaries),
        )
    return target


def _read_baseline(phase: Phase, mistakes: Mistakes) -> bytes:
    """Return the bytes of the baseline's files, where there are any; note when one cannot be read."""
    content = b""
    for key in ("file", "concurrently") if phase.baseline else ():
        name = getattr(phase.baseline, key)
        try:
            content += read_given(phase.folder / name) if name else b""
        except OSError as error:
            mistakes.add(
                f"baseline.{key}",
                f"is {shown(name)}, which cannot be read: {error.strerror}",
                "accepted is the name of a file in the folder of phase.toml",
            )
    return content


def _read_schema(file: Path, mistakes: Mistakes) -> bytes:
    """Return the bytes of the schema's file; note when it cannot be read as text."""
    try:
        content = read_given(file)
        content.decode("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        why = "it is not UTF-8" if isinstance(error, UnicodeDecodeError) else error.strerror
        mistakes.add(
            "schema.file",
            f"is {shown(file.name)}, which cannot be read: {why}",
            "accepted is the name of a file in the folder of phase.toml",
        )
        return b""
    return content


def _read_seed_files(phase: Phase, mistakes: Mistakes) -> list[str]:
    """Return the digest of each file of seeds; note what cannot be read, and what its header lacks."""
    digests: list[str] = []
    for number, seeds in enumerate(phase.seeds):
        if seeds.file:
            path = f"seeds[{number}].file"
            if phase.spec_version < 2:
                mistakes.add(path, "is a key of spec_version 2", "say spec_version = 2")
            try:
                file = SeedFile(phase.folder / seeds.file)
                check_seed_file(phase, seeds, file.columns, path, mistakes)
                if next(file.records(), None) is None:
                    mistakes.add(
                        path, f"has no row: {shown(seeds.file)}", "declare rows, or leave these seeds out"
                    )
                digests.append(file.digest())
            except SpecError as error:
                mistakes.add(
                    path, f"is {shown(seeds.file)}: {error.what_happened.rstrip('.')}", error.what_to_do
                )
    return digests
