"""Which Prisma project is meant: the one that is named, or the folder in which a command was called."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from runbooks_lib.errors import PreconditionFailed

PROJECT_VARIABLE = "RUNBOOKS_PRISMA_PROJECT"


def find_project(explicit: str | None = None) -> Path:
    """Return the Prisma project, its folder or its schema: `explicit`, else what RUNBOOKS_PRISMA_PROJECT names.

    Where nothing is named it is the folder in which we were called, if that looks like one; nothing else is read.
    Raises PreconditionFailed when none of these is.
    """
    named = explicit or os.environ.get(PROJECT_VARIABLE) or project_here()
    if not named:
        raise PreconditionFailed(
            "No Prisma project is named.",
            f"Let {PROJECT_VARIABLE} name the folder that holds its package.json and its prisma folder, "
            "or the schema that its people give to Prisma as --schema.",
        )
    return Path(named).expanduser().absolute()


def project_here() -> Path | None:
    """Return the folder in which we were called, if it looks like a Prisma project."""
    try:
        here = Path.cwd()
    except FileNotFoundError:  # it was deleted meanwhile
        return None
    has_part = any(here.glob("prisma*.config.*")) or (here / "prisma").is_dir()
    return here if has_part or (here / "schema.prisma").exists() else None


def name_project(project: str | None) -> str | None:
    """Name a project for all that this process starts, and return it; None: the variable names one already.

    Where neither does it is the folder in which we were called, if that looks like one: kernels work elsewhere.
    """
    if not (project or os.environ.get(PROJECT_VARIABLE)):
        project = str(project_here() or "")
    if project:
        os.environ[PROJECT_VARIABLE] = project
    return project or None


@contextmanager
def naming(project: Path | None) -> Iterator[None]:
    """Have this be the project that is named inside the block; None changes nothing."""
    before = os.environ.get(PROJECT_VARIABLE)
    if project is not None:
        os.environ[PROJECT_VARIABLE] = str(project)
    try:
        yield
    finally:
        if project is not None:
            os.environ.pop(PROJECT_VARIABLE, None)
            if before is not None:
                os.environ[PROJECT_VARIABLE] = before
