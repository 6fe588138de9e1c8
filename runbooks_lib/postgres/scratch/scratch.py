"""A scratch cluster for proofs: started from a cached template, ours alone, gone at the end."""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import LiteralString

import psycopg
from psycopg import sql

from runbooks_lib.errors import PreconditionFailed
from runbooks_lib.postgres.scratch.cluster import THROWAWAY, Cluster, copy_data
from runbooks_lib.postgres.scratch.enclosure import enclosure
from runbooks_lib.postgres.scratch.homes import temporary_home
from runbooks_lib.postgres.scratch.programs import ServerPrograms, find_server
from runbooks_lib.postgres.scratch.storage import write_private
from runbooks_lib.postgres.scratch.surroundings import Surroundings
from runbooks_lib.postgres.scratch.template import template
from runbooks_lib.postgres.session.connect import Connection
from runbooks_lib.postgres.session.session import SETTINGS, Session, begin

PASSWORD_FILE = "password"
DEADLINE_S = 3600.0  # for each question: a script may take long, and what never answers must end
SUPERUSER = "runbooks_scratch"
MAINTENANCE = "template1"
SPARE = "postgres"
EVERYBODY = "runbooks_everybody"
ROLES = (
    "SELECT rolname FROM pg_roles WHERE rolname !~ '^pg_' AND NOT rolsuper AND rolname <> %(role)s ORDER BY 1"
)
# What is a member of a role cannot be one that it is a member of.
ROLES_TO_LEND = """
SELECT rolname FROM pg_roles
WHERE rolname !~ '^pg_' AND NOT rolsuper AND NOT pg_has_role(oid, %(role)s, 'MEMBER') ORDER BY 1
"""
# Of a database's own settings, beside those by which a catalogue is printed.
UNTOUCHED = {"role": "none", "local_preload_libraries": "", "statement_timeout": "0", "lock_timeout": "0"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Scratch:
    """A running scratch cluster behind a socket that only its owner can reach.

    Its superuser has a name that no target's role has: what scripts and dumps name is an ordinary role here, and
    scripts run as one. `lent` is the password of such a role. `allowed` names what its superuser makes nonetheless.
    """

    cluster: Cluster
    password: str = field(repr=False)
    allowed: frozenset[str] = frozenset()
    lent: str = field(repr=False, default_factory=lambda: secrets.token_urlsafe(18))

    @property
    def version(self) -> str:
        """Return the server's version, such as 18.6."""
        return self.cluster.programs.version

    @property
    def major(self) -> int:
        """Return the server's major version: 18 for 18.6."""
        return self.cluster.programs.major

    def create_database(
        self,
        name: str,
        *,
        roles: Iterable[str] = (),
        owner: str | None = None,
        like: Surroundings | None = None,
    ) -> tuple[str, ...]:
        """Create an empty database, and the roles that its objects will belong to; none may log in but `owner`.

        `owner` gets the database, as `lend` says. `like` gives encoding, locale, settings and further roles; returned
        is what of them cannot be had here, in words. UTF-8 without it.
        """
        with self.connect(MAINTENANCE) as conn:
            self._create_roles(conn, {*roles, *(like.roles if like else ())})
            if name == SPARE:  # every cluster is born with one of this name
                conn.execute(sql.SQL("DROP DATABASE IF EXISTS {}").format(sql.Identifier(name)))
            lacking = _create(conn, name, like, self.major)
            if owner is not None:
                self._lend(conn, name, owner)
            if like is not None:
                lacking += _settings(conn, name, like.settings_of(owner or ""))
        if like is not None and like.public_owner in like.roles:
            with self.connect(name) as conn:
                whose = sql.Identifier(like.public_owner or "")
                conn.execute(sql.SQL("ALTER SCHEMA public OWNER TO {}").format(whose))
        return lacking

    def lend(self, database: str, owner: str) -> None:
        """Give a database to an ordinary role, in whose name scripts may then run; it is made if it is not there.

        It may log in, and give what it makes to every other role here, each of which may make objects in schema
        public. It is no superuser, makes no roles, and has none of PostgreSQL's own roles, which read and write files
        and start programs on this machine.
        """
        with self.connect(MAINTENANCE) as conn:
            self._lend(conn, database, owner)

    def session(self, database: str, *, owner: str, schema: str = "public") -> Session:
        """Open an autocommit session as a role that a database was lent to, with `schema` as its search_path."""
        return self._connect(database, user=owner, password=self.lent, options=path_option(schema))

    def is_ordinary(self, role: str) -> bool:
        """Return whether a role has no rights that a script could gain by it."""
        return role not in ("", SUPERUSER) and not role.startswith("pg_")

    def run(self, database: str, script: bytes, *, owner: str) -> None:
        """Execute a script as `owner`, whom the database was lent to, with search_path public.

        Raises psycopg errors as they come.
        """
        with self.session(database, owner=owner) as conn:
            conn.execute(script)

    def connect(self, database: str) -> Connection:
        """Open an autocommit superuser session as `read_catalog` needs it; nothing that others made is executed."""
        return self._connect(database, user=SUPERUSER, password=self.password, options=self._guarded())

    def _connect(self, database: str, **parameters: str) -> Session:
        ours = {"sslmode": "disable", "client_encoding": "utf8", "application_name": "runbooks scratch"}
        conn = begin({**self.cluster.address(), **parameters, **ours, "dbname": database})
        conn.deadline_s = DEADLINE_S
        return conn

    def _guarded(self) -> str:
        """Return what a database's own settings, which its owner may change, do not decide for our sessions."""
        triggers = {"event_triggers": "off"} if self.major >= 17 else {}
        return " ".join(_option(*each) for each in {**SETTINGS, **UNTOUCHED, **triggers}.items())

    def _create_roles(self, conn: Connection, roles: set[str]) -> None:
        known = {row["rolname"] for row in conn.execute("SELECT rolname FROM pg_roles").fetchall()}
        for role in sorted(roles - known):
            conn.execute(sql.SQL("CREATE ROLE {}").format(sql.Identifier(role)))

    def _lend(self, conn: Connection, database: str, owner: str) -> None:
        self._create_roles(conn, {owner, EVERYBODY})
        name, everybody = sql.Identifier(owner), sql.Identifier(EVERYBODY)
        conn.execute(sql.SQL("ALTER ROLE {} LOGIN PASSWORD {}").format(name, sql.Literal(self.lent)))
        conn.execute(sql.SQL("GRANT {} TO {}").format(everybody, _listed(conn, ROLES, EVERYBODY)))
        others = _listed(conn, ROLES_TO_LEND, owner)
        conn.execute(sql.SQL("GRANT {} TO {} WITH ADMIN OPTION").format(others, name))
        conn.execute(sql.SQL("ALTER DATABASE {} OWNER TO {}").format(sql.Identifier(database), everybody))
        if self.major < 15:  # later ones give it to whoever owns the database
            with self.connect(database) as inside:
                inside.execute(sql.SQL("ALTER SCHEMA public OWNER TO {}").format(everybody))


def _settings(conn: Connection, database: str, settings: Mapping[str, str]) -> tuple[str, ...]:
    """Give a database settings of its own; return in words which of them cannot be had here."""
    lacking = []
    setting = sql.SQL("ALTER DATABASE {} SET {} TO {}")
    for name, value in settings.items():
        parts = (sql.Identifier(database), sql.Identifier(*name.split(".")), sql.Literal(value))
        try:
            conn.execute(setting.format(*parts))
        except psycopg.Error as error:
            lacking.append(f"the setting {name} ({error.diag.message_primary})")
    return tuple(lacking)


def path_option(schema: str) -> str:
    """Return the option with which a session begins whose search_path is one schema."""
    return _option("search_path", sql.Identifier(schema).as_string())


def _option(name: str, value: str) -> str:
    escaped = value.replace("\\", "\\\\").replace(" ", "\\ ")
    return f"-c {name}={escaped}"


def _listed(conn: Connection, query: LiteralString, role: str) -> sql.Composed:
    """Return the roles that a query about one of them finds, for a list in SQL."""
    rows = conn.execute(query, {"role": role}).fetchall()
    return sql.SQL(", ").join(sql.Identifier(row["rolname"]) for row in rows)


def _create(conn: Connection, name: str, like: Surroundings | None, major: int) -> tuple[str, ...]:
    """Create a database of the locale of another one; of this server's own where it hasn't that one, and say so."""
    create = sql.SQL("CREATE DATABASE {} TEMPLATE template0 ").format(sql.Identifier(name))
    plain = sql.SQL("ENCODING 'UTF8'")
    if like is None:
        conn.execute(create + plain)
        return ()
    try:
        conn.execute(create + like.creation(major))
    except psycopg.Error:
        conn.execute(create + plain)
        return (f"the locale {like.locale_in_words}",)
    return ()


@contextmanager
def scratch(
    programs: ServerPrograms | None = None,
    *,
    in_memory: bool = True,
    allowed: Iterable[str] = (),
) -> Iterator[Scratch]:
    """Run an empty cluster; everything of it is gone at the end, also after an error, Ctrl-C or a kill.

    `in_memory` False keeps it on disk: for rows, which may be many. `allowed` names what its superuser may make.
    Raises LabError when it does not start, PreconditionFailed when something is allowed and code in the server could
    write where the operator can.
    """
    programs = programs or find_server()
    if allowed:
        _require_shut_in(programs)
    source = template("scratch", _ingredients(programs), lambda folder: _build(programs, folder))
    with temporary_home(programs.account, in_memory=in_memory) as home:
        cluster = Cluster(programs=programs, home=home, name="scratch", enclosed=True)
        copy_data(source / "data", [cluster.data])
        cluster.configure()
        cluster.start()
        cluster.wait_ready()
        try:
            yield Scratch(
                cluster=cluster,
                password=(source / PASSWORD_FILE).read_text(encoding="utf-8"),
                allowed=frozenset(allowed),
            )
        finally:
            cluster.stop()


def _require_shut_in(programs: ServerPrograms) -> None:
    around = enclosure(programs.account)
    if not (around.folder_option or programs.account.switched):
        raise PreconditionFailed(
            f"Objects that need a superuser are made in a sandbox only, and here scratch servers have {around.words}.",
            "Install bubblewrap (bwrap), or leave --allow-superuser-objects out: the objects are not judged then.",
        )


def _ingredients(programs: ServerPrograms) -> Iterator[str]:
    yield programs.identity
    yield json.dumps(dict(THROWAWAY), sort_keys=True)
    yield Path(__file__).read_text(encoding="utf-8")


def _build(programs: ServerPrograms, folder: Path) -> None:
    password = secrets.token_urlsafe(18)
    with temporary_home(programs.account, in_memory=True) as home:
        cluster = Cluster(programs=programs, home=home, name="scratch")
        cluster.initdb(password, superuser=SUPERUSER, quick_logins=True)
        cluster.configure()
        copy_data(cluster.data, [folder / "data"])
    write_private(folder / PASSWORD_FILE, password)
