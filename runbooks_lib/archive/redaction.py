"""Masking: no password that we can know reaches the run folder.

Known are the passwords of the service file, the pass file and PGPASSWORD, as they are and percent-encoded.
"""

from __future__ import annotations

import configparser
import json
import os
import re
from contextlib import suppress
from pathlib import Path
from urllib.parse import quote

from runbooks_lib.postgres.connect import service_files

MASK = "***"
SHORTEST_MASKED = 4  # masking a shorter one everywhere would spoil the text around it


def known_secrets() -> frozenset[str]:
    """Return every password that libpq could use here.

    Reads the service files, the pass file and PGPASSWORD. Files that cannot be read hold nothing that we know.
    """
    secrets = {os.environ.get("PGPASSWORD", "")}
    for path in service_files():
        parser = configparser.RawConfigParser(strict=False, allow_no_value=True, delimiters=("=",))
        with suppress(OSError, configparser.Error, UnicodeDecodeError):
            parser.read_string(path.read_text(encoding="utf-8"))
        secrets.update(parser.get(section, "password", fallback="") or "" for section in parser.sections())
    pass_file = Path(os.environ.get("PGPASSFILE") or Path.home() / ".pgpass")
    with suppress(OSError, UnicodeDecodeError):
        for line in pass_file.read_text(encoding="utf-8").splitlines():
            fields = re.split(r"(?<!\\):", line, maxsplit=4)
            if len(fields) == 5 and not line.startswith("#"):
                secrets.add(re.sub(r"\\(.)", r"\1", fields[4]))
    return frozenset(secret for secret in secrets if len(secret) >= SHORTEST_MASKED)


def redact(text: str) -> str:
    """Return the text with every known secret masked, in the forms in which it may stand there."""
    for secret in sorted(known_secrets(), key=len, reverse=True):
        for form in (secret, quote(secret, safe=""), json.dumps(secret)[1:-1]):
            text = text.replace(form, MASK)
    return text
