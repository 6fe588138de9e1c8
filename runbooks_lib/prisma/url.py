"""The address of a database as Prisma wants it, made in memory from a libpq session."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any
from urllib.parse import quote, urlencode

import psycopg

from runbooks_lib.errors import ConnectionFailed, PreconditionFailed
from runbooks_lib.ordinary import is_ordinary
from runbooks_lib.postgres.session.identity import identify
from runbooks_lib.postgres.session.session import OPTIONS_MARK
from runbooks_lib.postgres.session.sqlstate import what_to_do

HIDDEN = "***"
_URL_PASSWORD = re.compile(r"(\w+://[^:@/\s\"']*):[^@\s]+@")


@dataclass(frozen=True, slots=True, kw_only=True)
class DatabaseUrl:
    """A PostgreSQL address for Prisma. Printing it never shows the password; `reveal()` does.

    `host` may be the folder of a Unix socket. `verified` asks Prisma to check the server's certificate,
    against `root_certificate` where one is given. `options` are the service's, such as
    `-c role=...`. `system_identifier` and `role` are those of the session that it was
    made from: whoever writes at this address has to find the same. `started` stands for an identifier that the
    server does not tell: when it was started.
    """

    host: str
    port: int
    user: str
    dbname: str
    password: str | None = field(default=None, repr=False)
    schema: str = "public"
    encrypted: bool = False
    verified: bool = False
    root_certificate: str | None = None
    options: str = ""
    system_identifier: str | None = None
    started: str | None = None
    role: str | None = None

    def __str__(self) -> str:
        return self._url(HIDDEN if self.password else None)

    def reveal(self) -> str:
        """Return the URL, password included. For a child's environment only."""
        return self._url(_encode(self.password) if self.password else None)

    def without_password(self) -> str:
        """Return the URL without its password."""
        return self._url(None)

    def redact(self, text: str) -> str:
        """Return `text` without the password: as it is, percent-encoded, as JSON, or in any URL.

        One that is an ordinary word is left outside of URLs: what Prisma says would be spoiled.
        """
        if self.password and not is_ordinary(self.password):
            in_json = {json.dumps(self.password, ensure_ascii=ascii)[1:-1] for ascii in (True, False)}
            forms = {self.password, _encode(self.password), quote(self.password), *in_json}
            for form in sorted(forms, key=len, reverse=True):
                text = text.replace(form, HIDDEN)
        return _URL_PASSWORD.sub(rf"\1:{HIDDEN}@", text)

    @property
    def server(self) -> str:
        """Return host:port as Prisma prints it: a Unix socket is `localhost`."""
        if self.host.startswith("/"):
            return f"localhost:{self.port}"
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{_encode(self.host)}:{self.port}"

    def with_settings(self, settings: Mapping[str, str]) -> DatabaseUrl:
        """Return the address with settings for its sessions, by name; a `role` is expected there, too."""
        given = [f"-c {name}={_in_options(value)}" for name, value in settings.items()]
        options = " ".join(filter(None, (self.options, *given)))
        return replace(self, options=options, role=settings.get("role", self.role))

    def expected(self) -> str:
        """Return, as JSON, what a session at this address has to be, as far as known."""
        found = {
            "system": self.system_identifier,
            "started": self.started,
            "database": self.dbname,
            "role": self.role,
        }
        return json.dumps({name: value for name, value in found.items() if value is not None})

    def names_database(self, printed: str) -> bool:
        """Return whether `printed` is this database's name, as it is or as it stands in the URL."""
        return printed in (self.dbname, _encode(self.dbname))

    def _url(self, encoded_password: str | None) -> str:
        query = {"schema": self.schema, "sslmode": "require" if self.encrypted else "disable"}
        if self.encrypted:
            query["sslaccept"] = "strict" if self.verified else "accept_invalid_certs"
        if self.root_certificate:
            query["sslcert"] = self.root_certificate
        if self.options:
            query["options"] = self.options
        if self.host.startswith("/"):
            query["host"] = self.host
        secret = f":{encoded_password}" if encoded_password else ""
        user = f"{_encode(self.user)}{secret}@"
        return f"postgresql://{user}{self.server}/{_encode(self.dbname)}?{urlencode(query, quote_via=quote)}"


def database_url(info: psycopg.ConnectionInfo, *, schema: str = "public") -> DatabaseUrl:
    """Return the address of the server that a session is connected to.

    The password is whatever libpq used: from the service file, the pass file or the environment. Prisma
    encrypts exactly when this session is encrypted, because Prisma's `prefer` and libpq's differ.

    Raises PreconditionFailed for an encrypted session through a client certificate given by name: Prisma
    takes those in another format.
    """
    given = info.get_parameters()
    encrypted = bool(info.pgconn.ssl_in_use)
    if encrypted and "sslcert" in given:
        raise PreconditionFailed(
            "The service logs in with a client certificate (sslcert), which Prisma only takes as PKCS 12.",
            "Use a service with a password for the Prisma step, or run `prisma migrate resolve` by hand.",
        )
    verified = given.get("sslmode", "").startswith("verify-")
    root_certificate = given.get("sslrootcert") if encrypted and verified else None
    # a host's name may stand for several servers; one that is only a label beside hostaddr can't be looked up
    reached = info.hostaddr if "hostaddr" in given and not verified else info.host
    return DatabaseUrl(
        host=reached or info.host,
        port=info.port,
        user=info.user,
        dbname=info.dbname,
        password=info.password or None,
        schema=schema,
        options=info.options.replace(f" -c {OPTIONS_MARK}=taken", ""),
        encrypted=encrypted,
        verified=encrypted and verified,
        root_certificate=None if root_certificate == "system" else root_certificate,
    )


def aim(conn: psycopg.Connection[Any]) -> DatabaseUrl:
    """Return the address of a session, with the system and the role that were found there.

    Raises PreconditionFailed as `database_url` does, ConnectionFailed when the session is lost.
    """
    try:
        who, url = identify(conn), database_url(conn.info)
    except psycopg.Error as error:
        raise ConnectionFailed(
            f"The session by which Prisma is aimed was lost: {' '.join(str(error).split())}",
            what_to_do(error.sqlstate),
            sqlstate=error.sqlstate,
        ) from error
    return replace(
        url,
        system_identifier=who.system_identifier,
        started=None if who.system_identifier else who.started,
        role=who.role_name,
    )


def _encode(text: str) -> str:
    return quote(text, safe="")


def _in_options(value: str) -> str:
    return re.sub(r"([\\ ])", r"\\\1", value)
