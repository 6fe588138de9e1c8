"""Somebody's own Prisma project in a lab: a copy of it, and a database in which its migrations ran.

Nothing is written to the project itself, and nothing secret of it is copied: no .env, no .git, no node_modules. The
copy has Prisma of our lock file, and an .env that leads to the lab.
"""

from __future__ import annotations

import os
import re
import shutil
import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from psycopg import sql

from runbooks_lib.drafting.diagnose import provider_of
from runbooks_lib.errors import PreconditionFailed, PrismaError
from runbooks_lib.lab.disorder import Disorder, Place
from runbooks_lib.lab.initial_state import OWN_DATABASE, OWNER
from runbooks_lib.npm.install import install_packages
from runbooks_lib.postgres.scratch.cluster import Cluster
from runbooks_lib.postgres.scratch.extensions import how_to_have
from runbooks_lib.postgres.scratch.programs import ServerPrograms, find_server, install_server_for
from runbooks_lib.postgres.scratch.script_run import extensions_made
from runbooks_lib.postgres.scratch.storage import write_private
from runbooks_lib.prisma.command import Prisma
from runbooks_lib.prisma.history import MigrationFile, read_migrations
from runbooks_lib.prisma.project import PACKAGES, folder_and_schema, has_address, read_package, read_project
from runbooks_lib.prisma.url import aim

COPY = "project"  # the folder of the copy, in the lab's
LARGEST = 2_000_000  # bytes: what is larger, and no migration or schema, no configuration reads
TOLD = 800  # characters of what Prisma said, from its end
_NOT_COPIED = {"node_modules", "dist", "build", "coverage"}
_COPIED_ALL_THE_SAME = {".config"}  # Prisma's configuration may lie there
_FOLDER = 'export default { schema: "prisma/schema", migrations: { path: "prisma/migrations" } };\n'
_VARIABLE = re.compile(r"""\benv\(\s*["'](\w+)["']|\bprocess\.env(?:\.(\w+)|\[["'](\w+)["']\])""")


def copy_project(named: Path, folder: Path) -> Path:
    """Copy the project that somebody named, by its folder or its schema; return what is to be named of the copy.

    Raises PreconditionFailed when there is none, or when it is for another kind of database.
    """
    if not named.exists():
        raise PreconditionFailed(f"There is no folder {named}.", "Name the folder of the Prisma project.")
    whole, schema = folder_and_schema(named)
    shutil.copytree(whole, folder, ignore=_left_out, ignore_dangling_symlinks=True)
    providers = {provider_of(lock.parent) for lock in folder.rglob("migration_lock.toml")}
    if providers and not providers & {"postgresql", "postgres"}:
        raise PreconditionFailed(
            f"The migrations are for {', '.join(sorted(providers))}, and the lab is PostgreSQL.",
            "Name a project for PostgreSQL.",
        )
    _say_where_it_is(folder)
    packages = install_packages(PACKAGES[6 if has_address(schema or whole) else 7])
    (folder / "node_modules").symlink_to(packages / "node_modules")
    return folder if schema is None else folder / schema.relative_to(whole)


def _say_where_it_is(folder: Path) -> None:
    """Configure a copy whose schema is the folder prisma/schema: Prisma before 6.6 finds that itself, ours does not."""
    prisma = folder / "prisma"
    if any(_configuring(folder)) or not all((prisma / part).is_dir() for part in ("schema", "migrations")):
        return
    if "schema" not in (read_package(folder).get("prisma") or {}):
        (folder / "prisma.config.ts").write_text(_FOLDER, "utf-8")


def programs_for(named: Path) -> ServerPrograms:
    """Find the server programs that have the extensions which the project's migrations make.

    Raises PreconditionFailed, which says how to have them, when none has.
    """
    found = (
        Path(folder, name)
        for folder, folders, names in os.walk(folder_and_schema(named)[0])
        for name in _kept(folders, names)
        if name == "migration.sql"
    )
    made = extensions_made([path.read_text("utf-8", errors="replace") for path in found])
    programs = install_server_for(find_server().major, extensions=made, also=())
    if lacking := programs.lacks(made):
        raise PreconditionFailed(
            f"{', '.join(sorted(lacking))}: the migrations make them, and PostgreSQL {programs.version} has them not.",
            how_to_have(lacking, programs.major),
        )
    return programs


def fill(leader: Cluster, passfile: Path, copied: Path, disorder: Disorder | None) -> None:
    """Make the database anew, deploy the copy's migrations by Prisma, and put both into the disorder, if one is given.

    Raises PrismaError when a migration fails.
    """
    project = read_project(copied)
    migrations = read_migrations(project.migrations)
    pending = disorder.pending(migrations) if disorder else 0
    database, owner = sql.Identifier(OWN_DATABASE), sql.Identifier(OWNER)
    with leader.connect("postgres", passfile=str(passfile)) as admin:
        admin.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(database))
        admin.execute(sql.SQL("CREATE DATABASE {} OWNER {}").format(database, owner))
        admin.execute(sql.SQL("ALTER ROLE {} SUPERUSER").format(owner))  # some extensions want one
        with _away(project.migrations, migrations[len(migrations) - pending :]):
            _deploy(leader, passfile, copied)
        admin.execute(sql.SQL("ALTER ROLE {} NOSUPERUSER").format(owner))
    if disorder:
        with leader.connect(OWN_DATABASE, user=OWNER, passfile=str(passfile)) as conn:
            disorder.make(Place(conn=conn, folder=project.migrations, migrations=migrations))


def _deploy(leader: Cluster, passfile: Path, copied: Path) -> None:
    with leader.connect(OWN_DATABASE, user=OWNER, passfile=str(passfile)) as conn:
        address = aim(conn)
    prisma = Prisma(copied, address)
    configured = prisma.project.configuration
    texts = [path.read_text("utf-8", errors="replace") for path in _configuring(prisma.project.folder)]
    texts += [path.read_text("utf-8", errors="replace") for path in configured.schema_files]
    found = {name for text in texts for names in _VARIABLE.findall(text) for name in names if name}
    names = {name for name in found if "URL" in name.upper()} | {"DATABASE_URL"}
    whole = replace(address, schema=configured.history_schema).reveal()
    lines = [f'{name}="{whole}"\n' for name in sorted(names)]
    write_private(prisma.project.folder / ".env", "".join(lines))
    said = prisma.deploy()
    if said.exit_code != 0:
        raise PrismaError(
            f"The project's migrations do not go through in an empty database: {' '.join(said.lines)[-TOLD:]}",
            "Mend the migration, or make what it needs part of the migrations. Where the address names a schema "
            "(?schema=), set the address's variable to postgresql://lab/lab?schema=NAME before.",
        )


def _configuring(folder: Path) -> Iterator[Path]:
    yield from folder.glob("prisma*.config.*")
    yield from folder.glob(".config/prisma*")


@contextmanager
def _away(folder: Path, migrations: Sequence[MigrationFile]) -> Iterator[None]:
    """Have the block find the folder without these migrations."""
    aside = folder.with_name(f".{folder.name}.pending")
    aside.mkdir()
    try:
        for each in migrations:
            (folder / each.name).rename(aside / each.name)
        yield
    finally:
        for path in aside.iterdir():
            path.rename(folder / path.name)
        aside.rmdir()


def _kept(folders: list[str], names: list[str]) -> list[str]:
    """Take out of `folders` those that are not gone into; return the names."""
    folders[:] = [name for name in folders if not _is_left_out(name)]
    return names


def _left_out(folder: str, names: list[str]) -> set[str]:
    return {name for name in names if _is_left_out(name) or not _is_ordinary(Path(folder, name))}


def _is_left_out(name: str) -> bool:
    return name in _NOT_COPIED or (name.startswith(".") and name not in _COPIED_ALL_THE_SAME)


def _is_ordinary(path: Path) -> bool:
    """Return whether something can be copied: no device or pipe, no link to a folder above it, nothing huge."""
    try:
        found = path.stat()
    except OSError:
        return False
    if stat.S_ISDIR(found.st_mode):
        return not (path.is_symlink() and path.parent.resolve().is_relative_to(path.resolve()))
    small = found.st_size <= LARGEST or path.suffix in (".sql", ".prisma")
    return stat.S_ISREG(found.st_mode) and small
