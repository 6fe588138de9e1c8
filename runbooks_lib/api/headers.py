"""Headers that a service is to be asked with: from a variable of the environment, and told to nobody else."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping

from runbooks_lib.errors import PreconditionFailed

Headers = Mapping[str, str]
NO_HEADERS: Headers = {}

# Source: https://www.rfc-editor.org/rfc/rfc9110.html#name-collected-abnf
_LINE = re.compile(r"([!#$%&'*+.^_`|~0-9A-Za-z-]+):[ \t]*([\x21-\x7e](?:[\x20-\x7e\t]*[\x21-\x7e])?)[ \t]*")
_TOKEN = re.compile(r"[A-Za-z0-9._~+/-]+=*")  # https://www.rfc-editor.org/rfc/rfc6750.html#section-2.1
_OURS = frozenset({"host", "content-length", "transfer-encoding", "connection"})


def headers_of(variable: str | None) -> Headers:
    """Return the headers that a variable holds, one `Name: value` a line, or a token alone; none where it is not set.

    Raises PreconditionFailed, which tells the variable and the line and nothing of what stands there.
    """
    if variable is None or not os.environ.get(variable, "").strip():
        return NO_HEADERS
    text = os.environ[variable].strip()
    if _TOKEN.fullmatch(text):
        return {"Authorization": f"Bearer {text}"}
    found: dict[str, str] = {}
    for number, line in enumerate(text.splitlines(), start=1):
        if not line.strip():
            continue
        match = _LINE.fullmatch(line.strip())
        if match is None or match[1].lower() in _OURS:
            raise PreconditionFailed(
                f"Line {number} of the environment variable {variable} is no header that can be sent.",
                "Write a token, or one header a line such as `Authorization: Bearer …`, in plain ASCII.",
            )
        found[match[1]] = match[2]
    return found
