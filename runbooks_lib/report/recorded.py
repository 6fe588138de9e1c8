"""What steps recorded of a finding (found, expected, what to do), said in the language of a report.

Records are in English. A catalogue `texts/LANG.findings.po` has patterns, in which `{}` stands for what differs from
run to run; a text that none of them fits is told as it was recorded.
"""

from __future__ import annotations

import re
from functools import cache, lru_cache
from io import BytesIO

from babel.messages.pofile import read_po

from runbooks_lib.checks import Check
from runbooks_lib.phase import ENGLISH
from runbooks_lib.report.language import texts

_NAMES = frozenset(
    {
        Check.COL_IS_PK,
        Check.ENUM_HAS_LABELS,
        Check.ENUM_OWNER_IS,
        Check.INDEX_OWNER_IS,
        Check.TABLE_OWNER_IS,
        Check.TARGET_DATABASE_IS,
    }
)
_BETWEEN = "; "  # several answers in one text
_BETWEENS = {"fr": " ; "}
_GAP = re.compile(r"\{\}")
_Patterns = dict[str, list[tuple[str, str]]]


@lru_cache(maxsize=4096)
def recorded(text: str, lang: str) -> str:
    """Return a text of a finding in a language, or as it is."""
    if lang == ENGLISH or not text:
        return text
    parts = [(part, _translated(part, lang)) for part in text.split(_BETWEEN)]
    if all(said for _, said in parts):
        return _BETWEENS.get(lang, _BETWEEN).join(said or "" for _, said in parts)
    return _translated(text, lang) or _BETWEEN.join(said or part for part, said in parts)


def is_name(words: str, check: str) -> bool:
    """Tell whether what was found or expected is a name in a database: a label `done` is not said in French."""
    return check in _NAMES and " " not in words


def _translated(text: str, lang: str) -> str | None:
    patterns = _patterns(lang)
    for english, said in (*patterns.get(text.partition(" ")[0], ()), *patterns.get("", ())):
        if text.startswith(english.partition("{}")[0]) and (found := _pattern(english).fullmatch(text)):
            gaps = (
                _fixed(lang).get(gap, gap) if " " in gap else gap for gap in found.groups()
            )  # no name has a space
            return "".join(map("".join, zip(_GAP.split(said), (*gaps, ""), strict=True)))
    return None


@cache
def _entries(lang: str) -> dict[str, str]:
    path = texts() / f"{lang}.findings.po"
    if not path.exists():
        return {}
    return {entry.id: entry.string for entry in read_po(BytesIO(path.read_bytes()), locale=lang) if entry.id}


@cache
def _fixed(lang: str) -> dict[str, str]:
    """Return what a language says of texts in which nothing differs from run to run."""
    return {english: said for english, said in _entries(lang).items() if "{}" not in english}


@cache
def _patterns(lang: str) -> _Patterns:
    """Return a language's patterns by their first word, where that is fixed; the most specific ones first."""
    found: _Patterns = {}
    for english, said in sorted(_entries(lang).items(), key=lambda entry: -len(entry[0])):
        first = english.partition(" ")[0]
        found.setdefault("" if "{}" in first else first, []).append((english, said))
    return found


@cache  # compiled when a text may fit, which most never do
def _pattern(english: str) -> re.Pattern[str]:
    """Return what a text of this form matches; each gap ends where it first can, so that no text takes long."""
    begin, *pieces = map(re.escape, _GAP.split(english))
    gaps = [f"(?>(.+?){piece})" for piece in pieces[:-1]] + [f"(.+){piece}" for piece in pieces[-1:]]
    return re.compile(begin + "".join(gaps), re.DOTALL)
