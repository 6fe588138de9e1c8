"""Reads TOML tables into dataclasses, guided by the dataclasses' own annotations.

A value that is wrong is noted, and an empty value of the right type put in its place, so that
reading goes on and every mistake is found in one go. What holds an empty value is never returned
to a caller of `load_phase`: there is at least one mistake then.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import MISSING, Field, fields, is_dataclass
from datetime import date, time
from decimal import Decimal
from enum import StrEnum
from types import NoneType, UnionType
from typing import Annotated, Any, TypeVar, Union, get_args, get_origin, get_type_hints

from runbooks_lib.phase.forms import AtLeast, Form, OrAll
from runbooks_lib.phase.mistakes import Mistakes, below, nearest, shown, suggestion
from runbooks_lib.phase.text import UNNAMED, Text

T = TypeVar("T")

_WORDS: dict[Any, str] = {
    str: "a string",
    int: "an integer",
    bool: "true or false",
    object: "a string, a number, a date or time, true or false",
}
_LONGEST_WITH_FORM = 2000  # characters; a pattern may take the square of the time
LANGUAGE = r"[a-z]{2,3}(-[A-Za-z0-9]{2,8})*"
_SCALARS = (str, int, Decimal, bool, date, time)  # a datetime is a date, too


class Reader:
    """Reads values of declared types and notes what is wrong with them in `mistakes`."""

    def __init__(self, mistakes: Mistakes) -> None:
        self._mistakes = mistakes

    def table(self, cls: type[T], raw: object, path: str, also: tuple[str, ...] = (), **given: Any) -> T:
        """Read the table at `path` into `cls`.

        `given` are fields that the caller supplies: they are no keys of the file. `also` are
        keys that the caller reads itself.
        """
        hints = get_type_hints(cls, include_extras=True)
        keys = {_key(f): f for f in fields(cls) if f.name not in given}  # type: ignore[arg-type]
        if not isinstance(raw, dict):
            self._mistakes.add(path, f"is {_kind(raw)}", f"accepted is {_table_words(cls)}")
            raw = {}
            wanted: set[str] = set()
        else:
            wanted = self._wanted(keys, raw, path, also)
        values = dict(given)
        for key, field in keys.items():
            hint = hints[field.name]
            if key in raw:
                values[field.name] = self.value(hint, raw[key], below(path, key))
            elif key in wanted:
                self._mistakes.add(below(path, key), "is missing", f"accepted is {_words(hint)}")
            if field.name not in values and _required(field):
                values[field.name] = _empty(hint)
        return cls(**values)

    def _wanted(
        self, keys: Mapping[str, Field[Any]], raw: Mapping[str, object], path: str, also: tuple[str, ...]
    ) -> set[str]:
        """Note unknown keys; return the keys that must be there and were not merely misspelt."""
        wanted = {key for key, field in keys.items() if _required(field)}
        accepted = (*keys, *also)
        for name in raw:
            if name not in accepted:
                self._mistakes.add(below(path, name), "is an unknown key", suggestion(name, accepted))
                wanted.discard(nearest(name, [key for key in accepted if key not in raw]) or "")
        return wanted

    def value(self, hint: Any, raw: object, path: str) -> Any:
        """Read one value of the type `hint`."""
        if path in self._mistakes:
            return _empty(hint)
        origin, arguments = get_origin(hint), get_args(hint)
        if origin is Annotated:
            return self._constrained(arguments[0], arguments[1:], raw, path)
        if origin in (Union, UnionType):
            return self.value(next(a for a in arguments if a is not NoneType), raw, path)
        if hint is Text:
            return self._text(raw, path)
        if is_dataclass(hint):
            return self.table(hint, raw, path)  # type: ignore[arg-type]
        if origin is tuple and isinstance(raw, list):
            return tuple(self.value(arguments[0], entry, f"{path}[{n}]") for n, entry in enumerate(raw))
        if origin is Mapping and isinstance(raw, dict):
            return {key: self._entry(arguments[1], key, entry, path) for key, entry in raw.items()}
        if isinstance(hint, type) and issubclass(hint, StrEnum):
            if isinstance(raw, str) and raw in list(hint):
                return hint(raw)
        elif origin is None and _is_a(hint, raw):
            if raw != "" or hint is object:  # an empty text is a value of a row
                return raw
            self._mistakes.add(path, "is empty", f"accepted is {_words(hint)}")
            return _empty(hint)
        self._mistakes.add(path, f"is {_kind(raw)}", f"accepted is {_words(hint)}")
        return _empty(hint)

    def _entry(self, hint: Any, key: str, raw: object, path: str) -> Any:
        """Read an entry of a table of tables: its key is its name."""
        if is_dataclass(hint):
            return self.table(hint, raw, below(path, key), name=key)  # type: ignore[arg-type]
        return self.value(hint, raw, below(path, key))

    def _text(self, raw: object, path: str) -> Text:
        """Read a text: in one language, or a table of it by language."""
        if not isinstance(raw, dict):
            return Text(by_language={UNNAMED: self._said(raw, path)})
        if not raw:
            self._mistakes.add(path, "is empty", f"accepted is {_words(Text)}")
        for language in raw:
            if not re.fullmatch(LANGUAGE, language):
                wrong = "accepted is a language: two or three small letters, such as fr"
                self._mistakes.add(below(path, language), "is an unknown key", wrong)
        return Text(by_language={key: self.value(str, each, below(path, key)) for key, each in raw.items()})

    def _said(self, raw: object, path: str) -> str:
        if isinstance(raw, str) and raw:
            return raw
        found = "is empty" if raw == "" else f"is {_kind(raw)}"
        self._mistakes.add(path, found, f"accepted is {_words(Text)}")
        return ""

    def _constrained(self, hint: Any, constraints: tuple[Any, ...], raw: object, path: str) -> Any:
        """Read a value of type `hint`, then hold it against its Form or AtLeast."""
        before = len(self._mistakes)
        for each in constraints if isinstance(raw, str) else ():
            if isinstance(each, OrAll):
                if raw != each.word:
                    wanted = f"accepted is {shown(each.word)} or {_words(hint)}"
                    self._mistakes.add(path, f"is {_kind(raw)}", wanted)
                return None
        value = self.value(hint, raw, path)
        if len(self._mistakes) > before:
            return value
        for constraint in constraints:
            if isinstance(constraint, Form) and not _has_form(value, constraint):
                self._mistakes.add(path, f"is {shown(value)}", f"accepted is {constraint.accepted}")
                return _empty(hint)
            if isinstance(constraint, Form):
                return constraint.read(value)
            if isinstance(constraint, AtLeast):
                size = value if isinstance(value, int) else len(value)
                if size < constraint.least:
                    what = f"is {value}" if isinstance(value, int) else "is empty"
                    self._mistakes.add(path, what, f"accepted is {_words(hint)}, at least {constraint.least}")
        return value


def _has_form(value: str, form: Form) -> bool:
    return len(value) <= _LONGEST_WITH_FORM and re.fullmatch(form.pattern, value) is not None


def _key(field: Field[Any]) -> str:
    """Return the key of the file that is read into a field."""
    return str(field.metadata.get("key", field.name))


def _required(field: Field[Any]) -> bool:
    return field.default is MISSING and field.default_factory is MISSING


def _is_a(hint: Any, raw: object) -> bool:
    """Is `raw` of the plain type `hint`? A bool is no integer here."""
    if hint is object:
        return isinstance(raw, _SCALARS)
    return isinstance(raw, hint) and not (hint is int and isinstance(raw, bool))


def _kind(raw: object) -> str:
    """Say what was found: the value where it is short, else what sort of value it is."""
    if isinstance(raw, dict):
        return "a table"
    if isinstance(raw, list):
        return "an array"
    if isinstance(raw, bool):
        return str(raw).lower()
    return f"the string {shown(raw)}" if isinstance(raw, str) else shown(raw)


def _table_words(cls: Any) -> str:
    names = [_key(f) for f in fields(cls) if _required(f)]
    return f"a table with {', '.join(names)}" if names else "a table"


def _words(hint: Any) -> str:
    """Say what a value of type `hint` is."""
    origin, arguments = get_origin(hint), get_args(hint)
    if origin is Annotated:
        form = next((c.accepted for c in arguments[1:] if isinstance(c, Form)), "")
        return form or _words(arguments[0])
    if origin in (Union, UnionType):
        return _words(next(a for a in arguments if a is not NoneType))
    if origin is tuple:
        return f"an array, each entry {_words(arguments[0])}"
    if origin is Mapping:
        return "a table"
    if hint is Text:
        return "a string, or a table of it by language"
    if is_dataclass(hint):
        return _table_words(hint)
    if issubclass(hint, StrEnum):
        return " or ".join(shown(str(member)) for member in hint)
    return _WORDS[hint]


def _empty(hint: Any) -> Any:
    """Return an empty value of type `hint`, to go on reading with."""
    origin, arguments = get_origin(hint), get_args(hint)
    if origin is Annotated:
        return _empty(arguments[0])
    if origin in (Union, UnionType):
        return None
    if is_dataclass(hint):
        hints = get_type_hints(hint, include_extras=True)
        blank: Callable[..., Any] = hint  # type: ignore[assignment]
        return blank(**{f.name: _empty(hints[f.name]) for f in fields(hint) if _required(f)})
    if origin is Mapping:
        return {}
    if hint is object or (isinstance(hint, type) and issubclass(hint, StrEnum)):
        return ""  # no member: nothing is concluded from a role that could not be read
    return (origin or hint)()
