"""Which secrets cannot be told from what a run says anyway: ordinary words, numbers, names, whatever is short."""

from __future__ import annotations

import re
from functools import cache, lru_cache

from runbooks_lib.package import package, package_files

SHORTEST = 6  # a shorter one meets by chance what it does not belong to
LONGEST_WORD = 11  # letters: longer ones are a choice, unless they are words of ours
RANDOM = 3  # changes between letters and digits: no name has as many
_NUMBER = re.compile(r"[\d.,:/ +-]{1,9}")
_NAME = re.compile(r"[\w-]+")
_CHANGES = re.compile(r"(?<=\d)(?=[A-Za-z])|(?<=[A-Za-z])(?=\d)")
_OURS = frozenset({".py", ".md", ".j2", ".po", ".toml", ".sql", ".css", ".js", ".ipynb", ".prisma", ".ts"})

_learned: set[str] = set()


def learn(text: str) -> None:
    """Let the names in a text, a phase's tables and labels say, be known as such from here on."""
    before = len(_learned)
    folded = text.casefold()
    _learned.update(_NAME.findall(folded), re.findall(r"\w+", folded))
    if len(_learned) > before:
        is_ordinary.cache_clear()


def may_be_a_name(secret: str) -> bool:
    """Tell whether a secret could also be the name of something."""
    return _NAME.fullmatch(secret) is not None and len(_CHANGES.findall(secret)) < RANDOM


@lru_cache(maxsize=512)
def is_ordinary(secret: str) -> bool:
    """Tell whether a secret may stand anywhere without being meant: to mask it there would destroy what is said."""
    if len(secret) < SHORTEST or _is_word(secret) or _NUMBER.fullmatch(secret):
        return True
    if len(_CHANGES.findall(secret)) >= RANDOM:
        return False
    folded = secret.casefold()
    return folded in _learned or folded in own_words()


def _is_word(secret: str) -> bool:
    cases = (secret.lower(), secret.upper(), secret.capitalize())
    return secret.isalpha() and len(secret) <= LONGEST_WORD and secret in cases


@cache
def own_words() -> str:
    """Return all that this package can say: its sources, checks, templates, notebooks and shipped phases."""
    folders = (package() / "notebooks", package().parent / "notebooks")
    notebooks = [path for folder in folders for path in folder.glob("*.ipynb")]
    readable = (path for path in (*package_files(), *notebooks) if path.suffix in _OURS)
    return "\n".join(path.read_text(encoding="utf-8", errors="replace") for path in readable).casefold()
