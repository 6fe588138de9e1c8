"""What a database stands in: its name and locale, and what the server gives to its scripts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import LiteralString

from psycopg import sql

from runbooks_lib.postgres.queries import query
from runbooks_lib.postgres.session.connect import Connection

# Settings of a database or a role by which the same script means something else. search_path is Prisma's to set.
MEANINGFUL = {
    "array_nulls",
    "backslash_quote",
    "bytea_output",
    "check_function_bodies",
    "datestyle",
    "default_text_search_config",
    "default_toast_compression",
    "extra_float_digits",
    "intervalstyle",
    "lc_monetary",
    "lc_numeric",
    "lc_time",
    "row_security",
    "standard_conforming_strings",
    "timezone",
    "transform_null_equals",
    "xmlbinary",
    "xmloption",
}
_PROVIDERS: dict[str, LiteralString] = {"c": "libc", "i": "icu", "b": "builtin"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """What of a target a scratch database has to share, so that a script means the same in both.

    `provider` is pg_database's letter (c libc, i ICU, b built in), `settings` are (role or "", name, value) in the
    order in which they take effect, `extensions` are (name, schema); `roles` leaves PostgreSQL's own out.
    """

    database: str
    encoding: str = "UTF8"
    provider: str = "c"
    collate: str = "C"
    ctype: str = "C"
    locale: str | None = None
    public_owner: str | None = None
    roles: tuple[str, ...] = ()
    settings: tuple[tuple[str, str, str], ...] = ()
    extensions: tuple[tuple[str, str], ...] = ()

    def settings_of(self, role: str) -> Mapping[str, str]:
        """Return the settings with which a session of `role` begins there, as far as they change what a script means.

        A name with a dot is a setting of the application's own.
        """
        return {
            name: value
            for whose, name, value in self.settings
            if whose in ("", role) and (name.lower() in MEANINGFUL or "." in name)
        }

    def creation(self, major: int) -> sql.Composed:
        """Return the options by which CREATE DATABASE of a major version makes one of this encoding and locale."""
        options = [sql.SQL("ENCODING {}").format(sql.Literal(self.encoding))]
        options.append(sql.SQL("LC_COLLATE {}").format(sql.Literal(self.collate)))
        options.append(sql.SQL("LC_CTYPE {}").format(sql.Literal(self.ctype)))
        if major >= 15:  # earlier ones know libc alone
            options.append(sql.SQL("LOCALE_PROVIDER {}").format(sql.SQL(_PROVIDERS[self.provider])))
        if self.provider != "c":
            kind = sql.SQL("ICU_LOCALE" if self.provider == "i" else "BUILTIN_LOCALE")
            options.append(sql.SQL("{} {}").format(kind, sql.Literal(self.locale)))
        return sql.SQL(" ").join(options)

    @property
    def locale_in_words(self) -> str:
        """Say encoding and locale, such as `UTF8, libc en_US.UTF-8`."""
        return f"{self.encoding}, {_PROVIDERS[self.provider]} {self.locale or self.collate}"


def read_surroundings(conn: Connection) -> Surroundings:
    """Read what the session's database stands in: one query, which everybody may ask; writes nothing."""
    row = conn.execute(query("surroundings")).fetchone()
    assert row is not None
    several = {"roles", "settings", "extensions"}
    return Surroundings(
        **{name: value for name, value in row.items() if name not in several},
        roles=tuple(row["roles"]),
        settings=tuple(map(tuple, row["settings"])),
        extensions=tuple(map(tuple, row["extensions"])),
    )
