"""The places in which a text holds a secret, whatever the secret is: URLs, passwords by name, what logs a client in.

A secret that is an ordinary word is masked there alone; where only a secret can stand, one that nobody knows is too.
"""

from __future__ import annotations

import re

from runbooks_lib.archive.masking.forms import Form, forms

_NAMES = (
    r"password|passwd|passphrase|passkey|pwd|secret|token|credential|auth"
    r"|(?:api|access|private|account|encryption)_?key|(?<=_)pass"
)
NAME = re.compile(rf"(?:^|_)(?:pg|ssl)?(?:{_NAMES})s?(?:$|_)", re.IGNORECASE)
_AFTER_NAME = (
    rf"(?i:(?<![^\W_])(?:pg|ssl)?(?:{_NAMES})[\"']?\s{{0,9}}(?:=>|[=:])\s{{0,9}}[\"']?(?:bearer |basic )?"
    r"|(?<![^\W_])password\s{1,9}')"
)
_IN_URL = r"(?<![a-zA-Z0-9+.-])[a-zA-Z][a-zA-Z0-9+.-]{0,30}://[^\s/@:]{0,200}:"
_UNKNOWN = (
    re.compile(rf"(?P<before>{_IN_URL})(?P<secret>[^\s@/?#'\"]+)(?=@)"),
    re.compile(
        r"(?P<before>(?i:\bauthorization[\"']?\s?[:=]\s?[\"']?(?:bearer|basic|token) ))(?P<secret>[^\s\"',;]+)"
    ),
    re.compile(r"(?P<before>\bPGPASSWORD=)(?P<secret>'[^']*'|\"[^\"]*\"|[^\s'\"]+)"),
)
_URL_WITH_SECRET = re.compile(r"://[^\s/@:]{0,200}:[^\s@/?#'\"]+@")
_SIGNS = ("PGPASSWORD=", "uthorization", "UTHORIZATION")


def has_places(text: str) -> bool:
    """Tell whether a text may have a place in which a secret stands that nobody knows."""
    return any(sign in text for sign in _SIGNS) or _URL_WITH_SECRET.search(text) is not None


def masked_places(text: str, mask: str) -> str:
    """Return a text with all masked that stands where only a secret can."""
    if has_places(text):
        for pattern in _UNKNOWN:
            text = pattern.sub(lambda found: f"{found['before']}{mask}", text)
    return text


def in_place(secret: str) -> list[Form]:
    """Return the forms of a secret where it stands as one: behind a name of secrets, or in a URL."""
    return [
        Form(form.core, rf"(?P<before>{_AFTER_NAME}|{_IN_URL})(?:{form.source})(?![\w-])")
        for form in forms(secret)
    ]
