"""Texts that are not ours, as they are shown: what would steer a terminal, or hide or reorder text, is spelled out."""

from __future__ import annotations

import json
import re
import unicodedata
from functools import lru_cache
from html import escape
from typing import Any

# Characters that Unicode calls letters or marks and nobody sees.
_UNSEEN = frozenset("\u034f\u115f\u1160\u17b4\u17b5\u180b\u180c\u180d\u180f\u3164\uffa0")
_PLAIN = re.compile(r"[ -~]*")
_BLOCK = re.compile(r"[ -~\n\t]*")


def visible(text: str) -> str:
    r"""Return a text as one line in which every character is seen: others, line ends too, as \n, \x1b or \u202e.

    Those are control characters (and so every escape sequence), marks of direction, characters of no width,
    halves of characters, and what Unicode does not know. A backslash stays as it is: this is for reading.
    """
    return text if _PLAIN.fullmatch(text) else "".join(map(_seen, text))


def visible_lines(text: str) -> str:
    """Return a text as `visible` does, with its line ends and tabs."""
    if _BLOCK.fullmatch(text):
        return text
    return "".join(c if c in "\n\t" else _seen(c) for c in text)


def visible_json(value: Any) -> str:
    r"""Return a value as JSON that says the same and shows every character: others are written as JSON's \u escapes."""
    text = json.dumps(value, indent=2, ensure_ascii=False)
    return "".join(c if c == "\n" or _seen(c) == c else json.dumps(c)[1:-1] for c in text)


def visible_html(text: str) -> str:
    """Return a text as `visible_lines` does, as HTML that shows it."""
    return escape(visible_lines(text))


@lru_cache(maxsize=4096)
def _seen(c: str) -> str:
    hidden = unicodedata.category(c)[0] == "C" or unicodedata.category(c) in ("Zl", "Zp") or c in _UNSEEN
    return c.encode("unicode_escape", "surrogatepass").decode() if hidden else c
