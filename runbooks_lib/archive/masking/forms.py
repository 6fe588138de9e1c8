"""The forms in which a secret may stand in a text: each character as URLs, HTML, JSON, SQL, shells and Python write it,
split over lines, coloured, and the whole as base64 or hexadecimal digits.
"""

from __future__ import annotations

import json
import re
from base64 import b64encode
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from html.entities import codepoint2name
from urllib.parse import quote

SHORTEST_SPLIT = 6  # a shorter one, split over lines, cannot be told from the text around it
SHORTEST_FRAGMENT = 6  # base64 digits: fewer meet by chance in a picture
# What may stand between two characters: colours, line ends with what indents the next line, escaping backslashes.
_COLOUR = r"(?:\x1b|\\u001b|\\x1b|\\033)\[[0-9;]*m"
_LINE_END = r"[\r\n][ \t]*+|[ \t]++(?=[\r\n])"
_WRITTEN_LINE_END = r"\\[rn][ \t]*+"
_COLOURS = re.compile(_COLOUR.encode())
_COLOUR_MARKS = (b"\x1b[", b"001b[", b"x1b[", b"033[")
_BETWEEN = (
    b" \t\r\n\\nr"  # all other characters that may stand there; n and r are those of a written line end
)
_WORDS = re.compile(r"[0-9A-Za-z]+")


@dataclass(frozen=True, slots=True)
class Form:
    """A pattern, and octets without which it cannot match in a text that was squeezed: looking for them is quick."""

    core: bytes
    source: str

    @property
    def pattern(self) -> re.Pattern[str]:
        """Return the pattern: compiled when it is first needed, which most never are."""
        return _compiled(self.source)


@lru_cache(maxsize=4096)
def _compiled(source: str) -> re.Pattern[str]:
    return re.compile(source)


@lru_cache(maxsize=256)
def forms(secret: str) -> tuple[Form, ...]:
    """Return the forms of a secret."""
    once = re.sub(r"\\+", lambda run: "\\", secret)  # how many backslashes there are, nobody can tell
    written = [_form(once, [_character(c) for c in once])]
    written += [_form(digits, [re.escape(digit) for digit in digits]) for digits in sorted(_digits(secret))]
    return tuple(written)


def squeezed(text: str) -> bytes:
    """Return the text without any character that may stand between two of a secret, wherever such a one stands.

    A secret's own n and r go as well, and so do those of a core: a backslash before them tells nothing.
    """
    octets = text.encode("utf-8", "surrogatepass")
    if any(mark in octets for mark in _COLOUR_MARKS):
        octets = _COLOURS.sub(b"", octets)
    return octets.translate(None, _BETWEEN)


def _form(text: str, characters: list[str]) -> Form:
    # The longest run of letters and digits stands in every form as it is: of "p@ss word" that is "word". A text
    # without it need not be tried with the pattern, which is slow.
    core = max((squeezed(word) for word in _WORDS.findall(text)), key=len, default=b"")
    pieces = [pattern for pair in zip(map(_before, text), characters, strict=True) for pattern in pair][1:]
    if len(text) < SHORTEST_SPLIT:
        pieces[1::2] = ["" if c == "\\" else r"\\*+" for c in text[1:]]  # or its own would be taken from it
    return Form(core, "".join(pieces))


def _before(c: str) -> str:
    """Return a pattern of what may stand before a character.

    There is one way only to match it: with two, a text could be tried for hours. So a backslash before an n that the
    secret has is a line end only where another such n, or a backslash, follows.
    """
    if c == "\\":
        return rf"(?:{_COLOUR}|{_LINE_END})*"
    if c in "rn":
        end = rf"{_WRITTEN_LINE_END}(?=[{c}\\])"
        return rf"(?:{_COLOUR}|{end}|\\(?!{end[2:]})|{_LINE_END})*"
    return rf"(?:{_COLOUR}|{_WRITTEN_LINE_END}|\\|{_LINE_END})*"


def _character(c: str) -> str:
    """Return a pattern of the ways to write one character; ASCII letters and digits are written as themselves."""
    if c.isascii() and c.isalnum():
        return c
    code, octets = ord(c), c.encode("utf-8", "surrogatepass")
    names = [name for name in (codepoint2name.get(code), "apos" if c == "'" else None) if name]
    entity = "|".join([f"#0*{code};?", f"#[xX]0*{_any_case(f'{code:x}')};?", *(f"{name};" for name in names)])
    ways = [  # of an ä: %C3%A4 or %25c3%25a4, &auml; or &#228;, \U000000e4, \xc3\xa4, \303\244, \xe4, \u00e4
        "".join(rf"%(?:25)*{_any_case(f'{octet:02x}')}" for octet in octets),
        rf"&(?:amp;)*(?:{entity})",
        rf"\\*U{_any_case(f'{code:08x}')}",
        "".join(rf"\\*x{_any_case(f'{octet:02x}')}" for octet in octets),
        r"\\*" + r"\\+".join(f"{octet:03o}" for octet in octets),
        *([rf"\\*x{_any_case(f'{code:02x}')}"] if code < 256 else []),
        r"\\*" + r"\\+".join(f"u{_any_case(unit)}" for unit in _utf16(c)),
    ]
    if c == "\\":
        ways.append(r"\\++")
    elif c == "'":
        ways.append(r"'\"'\"'|'\\+''|''?")  # a shell's '"'"' and '\'', SQL's ''
    elif c == '"':
        ways.append('""?')
    elif c == " ":
        ways.append(r"\+| ")
    else:
        ways.append(re.escape(c))
    return f"(?:{'|'.join(ways)})"


def _any_case(digits: str) -> str:
    return "".join(f"[{d}{d.upper()}]" if d.isalpha() else d for d in digits)


def _utf16(c: str) -> list[str]:
    return re.findall("....", c.encode("utf-16-be", "surrogatepass").hex())


def _digits(secret: str) -> Iterator[str]:
    """Yield what base64 and hexadecimal digits of any text around it contain whenever it contains the secret."""
    found = set()
    # base64 writes three octets as four digits, so a secret has three spellings, by where it begins in the text:
    # of "secret" that is c2VjcmV0, NlY3Jld or zZWNyZX. Digits that hold bits of the neighbours, too, are left out.
    for text in {secret, quote(secret, safe=""), json.dumps(secret)[1:-1]}:
        octets = text.encode("utf-8", "surrogatepass")
        found |= {octets.hex(), octets.hex().upper()}
        for shift in range(3):
            bits = 8 * shift, 8 * (shift + len(octets))
            digits = b64encode(bytes(shift) + octets).decode()[-(-bits[0] // 6) : bits[1] // 6]
            if len(digits) >= SHORTEST_FRAGMENT:
                found |= {digits, digits.replace("+", "-").replace("/", "_")}
    yield from found
