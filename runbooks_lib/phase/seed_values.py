"""Declared values as the text that PostgreSQL reads, and rows by the name under which they are told."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import date, datetime, time
from decimal import Decimal


def as_text(value: object) -> str | None:
    """Return a value of phase.toml as PostgreSQL reads it, whatever the column's type; None is NULL."""
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, datetime | date | time):
        return value.isoformat()
    if isinstance(value, float | Decimal) and value != value:
        return "NaN"  # it has no sign there
    return str(value)


def shown(text: str | None) -> str:
    """Return a value in words, so that NULL, an empty text and the text NULL are three things."""
    if text is None:
        return "NULL"
    return f"'{text}'" if text == "" or text.upper() == "NULL" else text


def name_of(key: Iterable[str], row: Mapping[str, object]) -> str:
    """Return the name of a row by the columns of its key: [first, second]."""
    return f"[{', '.join(shown(as_text(row[column])) for column in key)}]"
