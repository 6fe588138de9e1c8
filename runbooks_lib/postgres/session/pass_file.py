"""Where libpq looks for a password, and why it found none there."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from pathlib import Path

import psycopg

OTHERS = 0o077  # rights of anybody else: with one of them libpq does not read the file


def open_to_others(path: Path) -> str:
    """Return what to do where a pass file is not its owner's alone, and so is ignored by libpq; else nothing."""
    try:
        mode = path.stat().st_mode & 0o777
    except OSError:
        return ""
    if not mode & OTHERS:
        return ""
    return f"The pass file {path} has mode {mode:04o}, and libpq does not read it: chmod 600 {shlex.quote(str(path))}"


def why_no_password(error: psycopg.Error, parameters: Mapping[str, str]) -> str:
    """Return what to do where the server wanted a password and libpq had none; empty for any other error.

    `parameters` are those of the connection: host, port, user, dbname and passfile are said, the password never.
    """
    asked = error.pgconn
    if asked is None or not asked.needs_password:
        return ""
    path = Path(parameters.get("passfile") or Path.home() / ".pgpass")
    line = ":".join(parameters.get(name) or "*" for name in ("host", "port", "dbname", "user"))
    if not path.is_file():
        return (
            f"There is no pass file {path}, and no password elsewhere: write the line {line}:PASSWORD to it, then "
            f"chmod 600 {shlex.quote(str(path))}"
        )
    return open_to_others(path) or f"The pass file {path} has no line for {line}: add {line}:PASSWORD."
