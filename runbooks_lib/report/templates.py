"""What all pages share: the templates in texts/, the languages, the style, and a policy that lets nothing be loaded.

A page is one file: it opens from a disk without a network, with or without JavaScript.
"""

from __future__ import annotations

import base64
import hashlib
import re
import unicodedata
from collections.abc import Callable, Mapping
from functools import cache, partial
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape

from runbooks_lib.amounts import lasted
from runbooks_lib.findings import in_short, same_fault
from runbooks_lib.phase import text_in
from runbooks_lib.report.language import languages, sized, texts, translations
from runbooks_lib.report.recorded import is_name, recorded
from runbooks_lib.report.template_cache import compiled
from runbooks_lib.report.verdicts import SYMBOLS, variables
from runbooks_lib.visible import visible_lines

_COLOURS = ":root{%s}\n@media screen and (prefers-color-scheme:dark){:root{%s}}\n"
_BREAKS = re.compile(
    r"(?<=\w[._/:@\[])(?=\w)|(?<=[a-z][a-z])(?=[A-Z][a-z])|(?<=[0-9a-f]{32})(?=[0-9a-f]{32})"
)


def render(template: str, words: Mapping[str, Any], **values: Any) -> str:
    """Fill a template; `words` are `in_language` or `in_all_languages`. What is no Markup is escaped."""
    return _environment().get_template(template).render(**words, **values)


def compile_templates(*templates: str) -> None:
    """Compile templates that will be filled in later."""
    for template in templates:
        _environment().get_template(template)


def in_language(lang: str) -> dict[str, Any]:
    """Return what a template needs to speak one language."""
    messages = translations(lang)

    def _(message: str, **variables: object) -> str:
        return messages.gettext(message) % variables

    def ngettext(one: str, many: str, num: int, **variables: object) -> str:
        return messages.ngettext(one, many, num) % {"num": num, **variables}

    return {"lang": lang, "_": _, "ngettext": ngettext, "sized": partial(sized, lang=lang)}


def in_all_languages() -> dict[str, Any]:
    """Return what a template needs to say everything in every language; the switch of the page shows one."""
    every = {lang: in_language(lang) for lang in languages()}

    def spans(function: str, *message: Any, **variables: object) -> Markup:
        said = {lang: words[function](*message, **variables) for lang, words in every.items()}
        if len(set(said.values())) == 1:
            return escape(said["en"])
        return each_language(said)

    return {
        "_": lambda *message, **variables: spans("_", *message, **variables),
        "ngettext": lambda *message, **variables: spans("ngettext", *message, **variables),
        "each_language": each_language,
        "told": told,
    }


def told(words: str, form: Callable[[object], Markup]) -> Markup:
    """Return recorded words of a finding in every language, each in a form such as `breakable`."""
    said = {lang: recorded(words, lang) for lang in languages()}
    if len(set(said.values())) == 1:
        return form(words)
    return each_language({lang: form(text) for lang, text in said.items()})


def each_language(said: Mapping[str, str]) -> Markup:
    """Return one text in every language, each marked as such; the switch of the page shows one."""
    span = Markup('<span class="l" lang="{}">{}</span>')
    return Markup("").join(span.format(lang, text_in(said, lang)) for lang in languages())


def policy(*scripts: str) -> str:
    """Return a Content-Security-Policy: nothing is loaded, and no script runs but those given."""
    allowed = " ".join(f"'sha256-{_digest(script)}'" for script in scripts) or "'none'"
    rules = ("default-src 'none'", "img-src data:", "style-src 'unsafe-inline'", f"script-src {allowed}")
    return "; ".join((*rules, "base-uri 'none'", "form-action 'none'"))


def clipped(text: object, length: int) -> str:
    """Return a text that is not longer than `length`; what is cut is marked by an ellipsis."""
    said = str(text)
    return said if len(said) <= length else said[: length - 1] + "…"


def fitting(text: object, room: float, size: float = 12.5) -> str:
    """Return a text that takes no more than `room` pixels in a picture, cut where it must be; `size` is its font's.

    The font is the reader's, so widths are those of a wide one (DejaVu Sans); a bold one is an eighth wider.
    """
    said = text.unescape() if isinstance(text, Markup) else str(text)
    if sum(map(_width, said)) * size <= room:
        return said
    left = room / size - _width("…")
    kept = ""
    for character in said:
        left -= _width(character)
        if left < 0:
            break
        kept += character
    return f"{kept}…"


def _width(character: str) -> float:
    """Return how wide a character is at most, in units of the font's size."""
    if unicodedata.east_asian_width(character) in "WF" or character in "mwMW@%…—":
        return 1.0
    if character in "fijlrtI.,:;'|!()[]- ":
        return 0.42
    return 0.74 if character.isupper() else 0.635


def breakable(text: object) -> Markup:
    """Return a text whose names may be broken where a reader would: after . _ / : @ [, and before a capital within."""
    return Markup("<wbr>").join(escape(part) for part in _BREAKS.split(visible_lines(str(text))))


def with_code(text: object) -> Markup:
    """Return a sentence with what it has between backticks as code; its names may be broken."""
    pieces = str(text).split("`")
    if len(pieces) % 2 == 0:
        return breakable(text)
    forms = (Markup("{}"), Markup("<code>{}</code>"))
    return Markup("").join(forms[number % 2].format(breakable(piece)) for number, piece in enumerate(pieces))


def _as_text(value: Any) -> Any:
    """Return what a template puts in a page: a text so that every character of it is seen, Markup as it is."""
    return visible_lines(value) if isinstance(value, str) and not isinstance(value, Markup) else value


def _digest(script: str) -> str:
    return base64.b64encode(hashlib.sha256(script.encode()).digest()).decode("ascii")


@cache
def source(name: str) -> str:
    """Return a style sheet or script of texts/, to be embedded."""
    return (texts() / name).read_text(encoding="utf-8").strip()


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(texts()),
        bytecode_cache=compiled(Path(__file__)),
        autoescape=True,
        finalize=_as_text,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["clip"] = clipped
    environment.filters["fit"] = fitting
    environment.filters["in_short"] = in_short
    environment.filters["same_fault"] = same_fault
    environment.filters["breakable"] = breakable
    environment.filters["with_code"] = with_code
    environment.globals.update(
        breakable=breakable,
        lasted=lasted,
        is_name=is_name,
        with_code=with_code,
        languages=languages(),
        symbol=lambda verdict: SYMBOLS.get(verdict, "?"),
        style=lambda: Markup(_COLOURS % (variables(dark=False), variables(dark=True)) + source("page.css")),
        policy=policy,
    )
    return environment
