"""The languages of the report: English is the template's own, every other one is a catalogue in texts/.

To add a language, add texts/LANG.po with the template's messages translated; nothing else.
"""

from __future__ import annotations

from datetime import UTC, datetime
from functools import cache
from gettext import GNUTranslations, NullTranslations
from importlib.resources import files
from io import BytesIO
from pathlib import Path

from babel.dates import format_date
from babel.messages.mofile import write_mo
from babel.messages.pofile import read_po
from babel.numbers import format_decimal

from runbooks_lib.amounts import UNITS, scaled
from runbooks_lib.errors import PreconditionFailed
from runbooks_lib.phase import ENGLISH, Text, text_in

BYTES = ("%(num)s byte", "%(num)s bytes")
SIZES = (BYTES, *UNITS)  # messages that no template has


def texts() -> Path:
    """Return the folder of the template and the catalogues."""
    return Path(str(files("runbooks_lib") / "texts"))


def languages() -> tuple[str, ...]:
    """Return the languages in which a report can be written, in alphabetical order."""
    return tuple(sorted({ENGLISH, *(path.stem for path in texts().glob("??.po"))}))


@cache
def translations(lang: str) -> NullTranslations:
    """Return the messages of a language.

    Raises PreconditionFailed for a language without a catalogue.
    """
    if lang not in languages():
        raise PreconditionFailed(
            f"There is no report in the language {lang!r}.",
            f"Choose one of {', '.join(languages())}, or add the catalogue {lang}.po.",
        )
    if lang == ENGLISH:
        return NullTranslations()
    compiled = BytesIO()
    write_mo(compiled, read_po(BytesIO((texts() / f"{lang}.po").read_bytes()), locale=lang))
    compiled.seek(0)
    return GNUTranslations(compiled)


def dated(moment: str, lang: str) -> str:
    """Return an ISO 8601 moment as a date and time, UTC, in the words of a language."""
    when = datetime.fromisoformat(moment)
    when = when.replace(tzinfo=UTC) if when.tzinfo is None else when
    when = when.astimezone(UTC)
    return f"{format_date(when, 'long', locale=lang)}, {when:%H:%M:%S} UTC"


def sized(octets: int, lang: str) -> str:
    """Return a number of bytes as a language writes it: 1 byte, 68.8 GiB; 0 octet, 68,8 Gio."""
    number, unit = scaled(octets)
    if not unit:
        return translations(lang).ngettext(*BYTES, octets) % {"num": octets}
    return f"{format_decimal(number, '0.0', locale=lang)} {translations(lang).gettext(unit)}"


def in_language(text: Text | dict[str, str], lang: str) -> str:
    """Return a text of the phase file in a language, or what stands for it where the file does not have it."""
    return text.in_(lang) if isinstance(text, Text) else text_in(text, lang)
