"""Texts of a phase, in whatever languages its author writes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

UNNAMED = "und"  # what BCP 47 calls a language that nobody named
ENGLISH = "en"


def text_in(texts: Mapping[str, str], language: str) -> str:
    """Return which of these texts, by language, is for a reader of `language`."""
    return texts.get(language) or texts.get(ENGLISH) or next(iter(texts.values()), "")


@dataclass(frozen=True, slots=True, kw_only=True)
class Text:
    """One text in one or more languages, by their codes (fr, en, pt-BR); a plain text is in one that nobody named."""

    by_language: Mapping[str, str]

    def in_(self, language: str) -> str:
        """Return the text in a language, else in English, else in the first language that there is."""
        return text_in(self.by_language, language)
