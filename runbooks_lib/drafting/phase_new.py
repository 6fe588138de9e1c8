"""A first phase.toml for whoever writes one by hand: the sections that most phases have, the others as comments."""

from __future__ import annotations

import re
from pathlib import Path

import tomlkit

from runbooks_lib.errors import PreconditionFailed

PHASE_FILE = "phase.toml"
_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_TEXT = """\
# What must be true after this operation. Then: runbooks phase check {folder}, runbooks run {folder}.
spec_version = 3
id = {id}  # the folder's name
title = {title}  # REVIEW: what the operation is for

[targets]  # names of pg_service.conf: addresses and passwords stay there
leader = {{ service = {service}, role = "primary", database = {database} }}  # REVIEW
# replica = {{ service = "…", role = "standby", database = {database}, primary = "leader" }}

[schema]
from = "migrations"  # what the migrations of the Prisma project make is what must stand

[prisma]
target = "leader"
settle = "all"  # or a list of names, to settle those alone

# Every other section may be left out. What is not declared is not asked, and the report says so.

# [owners]
# default = "shop_owner"  # of what the phase names, and as whom the baseline runs

# [baseline]  # what is missing, in a form that may run twice: runbooks phase baseline prints one
# file = "baseline.sql"
# target = "leader"

# [[tables]]  # beyond the migrations
# name = "public.Country"
# rows = 249

# [[seeds]]
# table = "public.Country"
# key = ["code"]
# rows = [{{ code = "NO", name = "Norway" }}]
"""


def new_phase(folder: Path, *, service: str, database: str) -> Path:
    """Make a folder with a first phase.toml, and return the file's path; its id is the folder's name.

    Raises PreconditionFailed when there is something of that name, or the name can't be an id.
    """
    if not is_phase_id(folder.name):
        raise PreconditionFailed(
            f"{folder.name!r} can't be the id of a phase.", "Name the folder by letters, digits, - and _."
        )
    try:
        folder.mkdir(parents=True)
    except FileExistsError as error:
        raise PreconditionFailed(
            f"{folder} is there already.", "Name a folder that is not: nothing is written over."
        ) from error
    except OSError as error:
        raise PreconditionFailed(f"{folder} can't be made: {error}", "Name another folder.") from error
    spelt = {"id": folder.name, "title": folder.name, "service": service, "database": database}
    text = _TEXT.format(
        folder=folder, **{key: tomlkit.string(each).as_string() for key, each in spelt.items()}
    )
    file = folder / PHASE_FILE
    file.write_text(text, encoding="utf-8")
    return file


def folder_for(service: str) -> Path:
    """Return the folder in which a service's phase is drafted unless another is named: `phase-SERVICE`."""
    return Path(f"phase-{re.sub(r'[^A-Za-z0-9._-]', '-', service)}")


def free_folder_for(service: str, within: Path = Path()) -> Path:
    """Return the first of `phase-SERVICE`, `phase-SERVICE-2` … that is not there `within` a folder."""
    first = folder = within / folder_for(service)
    number = 1
    while folder.exists():
        number += 1
        folder = Path(f"{first}-{number}")
    return folder


def is_phase_id(name: str) -> bool:
    """Return whether a folder of this name can be that of a phase."""
    return _ID.fullmatch(name) is not None
