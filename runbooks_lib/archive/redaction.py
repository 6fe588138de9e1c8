"""Masking: no password that we can know reaches the run folder.

Known are the passwords of the service file, the pass files and PGPASSWORD: as they are, and in the forms that
URLs, HTML, SQL, JSON and Python give them.
"""

from __future__ import annotations

import html
import json
import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import quote, quote_plus

from runbooks_lib.postgres.connect import service_files

MASK = "***"
SHORTEST_MASKED = 4  # masking a shorter one everywhere would spoil the text around it
SECRET_OPTIONS = frozenset({"password", "sslpassword", "oauth_client_secret"})
# libpq ends a field at the first colon that no backslash escapes, the password too.
_PASS_LINE = re.compile(":".join([r"((?:\\.|[^\\:]|\\$)*)"] * 5))


def known_secrets() -> frozenset[str]:
    """Return every password that libpq could use here.

    Reads the service files, the pass files and PGPASSWORD. Files that cannot be read hold nothing that we know.
    """
    secrets = {os.environ.get("PGPASSWORD", "")}
    pass_files = {Path(os.environ.get("PGPASSFILE") or Path.home() / ".pgpass")}
    for path in service_files():
        for line in _lines(path):
            option, _, value = (part.strip() for part in line.partition("="))
            if option in SECRET_OPTIONS:
                secrets.add(value)
            elif option == "passfile":
                pass_files.add(Path(value))
    for path in pass_files:
        fields = (_PASS_LINE.match(line) for line in _lines(path) if not line.startswith("#"))
        secrets.update(re.sub(r"\\(.)", r"\1", found[5]) for found in fields if found)
    return frozenset(secret for secret in secrets if len(secret) >= SHORTEST_MASKED)


def masker() -> Callable[[str], str]:
    """Return a function that masks every secret known now, in each form in which it may stand in a text."""
    forms = {form for secret in known_secrets() for form in _forms(secret)}
    if not forms:
        return lambda text: text
    known = re.compile("|".join(re.escape(form) for form in sorted(forms, key=len, reverse=True)))
    return lambda text: known.sub(MASK, text)


def redact(text: str) -> str:
    """Return the text with every known secret masked."""
    return masker()(text)


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="utf-8", errors="replace").split("\n")
    except OSError:
        return []


def _forms(secret: str) -> Iterator[str]:
    written = {
        secret,
        quote(secret, safe=""),
        quote(secret),
        quote_plus(secret),
        html.escape(secret),
        secret.replace("'", "''"),
        repr(secret)[1:-1],
    }
    for form in written:
        yield form
        yield json.dumps(form)[1:-1]
        yield json.dumps(form, ensure_ascii=False)[1:-1]
