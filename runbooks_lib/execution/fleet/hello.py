"""What two workers must have in common: versions, phase, migrations, services, and the archive's folder."""

from __future__ import annotations

import hashlib
import json
import platform
from collections.abc import Mapping
from functools import lru_cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

import psycopg

from runbooks_lib.archive.masking.mask import redact
from runbooks_lib.archive.notebooks import code_digest
from runbooks_lib.errors import ExecutionError, RunbookError
from runbooks_lib.package import DISTRIBUTION, library_digest
from runbooks_lib.phase import load_phase
from runbooks_lib.postgres.session.service_file import parameters_of
from runbooks_lib.prisma.history import folder_digest, read_folder
from runbooks_lib.prisma.named import find_project

LEADS = ("host", "hostaddr", "port", "user", "dbname")  # of a service: where it leads, and nothing secret


def look(asked: Mapping[str, Any]) -> dict[str, Any]:
    """Return what this worker has, by the name of what is compared; {"refused": why} where something is missing.

    `asked` is {phase, services, mark}: the mark is a file in the archive's folder, which every worker must see.
    Reads files; connects to nothing.
    """
    try:
        phase = load_phase(asked["phase"])
        mark = Path(asked["mark"])
        return {
            "runbooks": version(DISTRIBUTION),
            "library": library_digest(),
            "python": ".".join(platform.python_version_tuple()[:2]),
            "notebooks": code_digest(),
            "phase": phase.digest,
            "migrations": folder_digest(read_folder(find_project())) if phase.prisma else "none",
            "where services lead": _places(asked["services"]),
            "folder of the archive": mark.read_text() if mark.is_file() else "not there",
        }
    except RunbookError as error:
        return {"refused": redact(str(error))}
    except (OSError, psycopg.Error) as error:
        return {"refused": redact(" ".join(str(error).split()))}


def _places(services: list[str]) -> str:
    """Return a digest of where the services lead."""
    found = {name: {key: parameters_of(name).get(key, "") for key in LEADS} for name in services}
    return hashlib.sha256(json.dumps(found, sort_keys=True).encode()).hexdigest()


def differences(ours: Mapping[str, Any], theirs: Mapping[str, Any]) -> list[str]:
    """Return in what a worker differs, in words."""
    if "refused" in theirs:
        return [str(theirs["refused"])]
    return [
        f"{name} is {str(theirs.get(name))[:16]}, here {str(value)[:16]}"
        for name, value in ours.items()
        if theirs.get(name) != value
    ]


def require_same(has: Mapping[str, Any], asked: Mapping[str, Any]) -> None:
    """Refuse to carry an order out where something differs from the client. Raises ExecutionError."""
    if differ := differences(has, _looked(json.dumps([asked, has]))):
        raise ExecutionError(
            f"This worker is not like the client: {'; '.join(differ)}.", "It joined later: give it the same."
        )


@lru_cache(maxsize=1)
def _looked(asked_and_has: str) -> dict[str, Any]:
    """Look once for a client: one that has something else now, such as a changed phase, is looked for anew."""
    return look(json.loads(asked_and_has)[0])
