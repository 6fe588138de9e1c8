"""Masking: no secret that we can know reaches the run folder, in whatever form it is written."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from runbooks_lib.archive.masking.forms import Form, forms, squeezed
from runbooks_lib.archive.masking.places import NAME, has_places, in_place, masked_places
from runbooks_lib.archive.masking.sources import known_secrets
from runbooks_lib.ordinary import may_be_a_name

MASK = "***"


NAMES = frozenset({"check", "verdict", "target", "object"})  # of a finding: what it is about stays as it is


class Masker:
    """Masks every secret known when it was made, in each form in which it may stand in a text.

    One that is an ordinary word is masked only in the places of secrets. Keys, and what a finding is about, are names:
    in them only what can be none is masked.
    """

    def __init__(self) -> None:
        known = known_secrets()
        # The longest first: a shorter one may be a part of it.
        strong = sorted(known.strong, key=lambda secret: (-len(secret), secret))
        self._weak = frozenset(known.weak)
        self._forms: list[Form] = [form for secret in strong for form in forms(secret)]
        self._no_names = [form for secret in strong if not may_be_a_name(secret) for form in forms(secret)]
        self._in_place = [form for secret in sorted(known.weak) for form in in_place(secret)]

    def __call__(self, text: str) -> str:
        """Return the text with the secrets masked."""
        small = squeezed(text)
        text = _masked(text, small, self._forms)
        for form in self._in_place:
            if form.core in small:
                text = form.pattern.sub(rf"\g<before>{MASK}", text)
        return masked_places(text, MASK)

    def value(self, value: Any) -> Any:
        """Return a value of JSON with the texts in it masked; itself when nothing in it can be a secret."""
        together = "\0".join(_texts(value))
        small = squeezed(together)  # has the core of every secret that stands in one of them
        anything = any(form.core in small for form in (*self._forms, *self._in_place)) or has_places(together)
        return self._value(value) if anything else value

    def _value(self, value: Any) -> Any:
        if isinstance(value, str):
            return self(value)
        if isinstance(value, list):
            return [self._value(each) for each in value]
        if isinstance(value, dict):
            return {self._name(key): self._field(key, each) for key, each in value.items()}
        return value

    def _name(self, name: str) -> str:
        return _masked(name, squeezed(name), self._no_names)

    def _field(self, key: str, value: Any) -> Any:
        if key in NAMES and isinstance(value, str):
            return self._name(value)
        if isinstance(value, str) and value in self._weak and NAME.search(key):
            return MASK
        return self._value(value)


def _masked(text: str, small: bytes, all_forms: Iterable[Form]) -> str:
    """Return a text with the secrets masked that have these forms; `small` is the text squeezed."""
    for form in all_forms:
        if form.core in small:
            text = form.pattern.sub(MASK, text)
    return text


def _texts(value: Any) -> Iterator[str]:
    """Yield every text in a value of JSON, keys too."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, list):
        for each in value:
            yield from _texts(each)
    elif isinstance(value, dict):
        for key, each in value.items():
            yield key
            yield from _texts(each)


def redact(text: str) -> str:
    """Return the text with every known secret masked."""
    return Masker()(text)


def redact_notebook(notebook: Mapping[str, Any]) -> dict[str, Any]:
    """Return a notebook with every known secret masked: inside the texts, and across the pieces they are split into.

    Pieces are what nbformat splits: lines of a text, lines of a traceback, the chunks in which a stream arrived.
    """
    mask = Masker()
    content: dict[str, Any] = mask.value({**notebook, "cells": []})
    content["cells"] = [redact_cell(cell, mask) for cell in notebook["cells"]]
    return content


def redact_cell(cell: Mapping[str, Any], mask: Masker) -> dict[str, Any]:
    """Return a cell of a notebook masked: its source, and its outputs over all their pieces."""
    whole = {**cell, "source": _joined(cell["source"])}
    if "outputs" in cell:
        whole["outputs"] = [_output(output, mask) for output in _streams_joined(cell["outputs"])]
    masked: dict[str, Any] = mask.value(whole)
    return masked


def _output(output: Mapping[str, Any], mask: Masker) -> dict[str, Any]:
    whole = dict(output)
    if "text" in whole:
        whole["text"] = _joined(whole["text"])
    if "data" in whole:
        whole["data"] = {kind: _joined(value) for kind, value in whole["data"].items()}
    if "traceback" in whole:
        together = "\n".join(whole["traceback"])
        masked = mask(together)
        if masked != together:
            whole["traceback"] = masked.split("\n")
    return whole


def _joined(value: Any) -> Any:
    if isinstance(value, list) and all(isinstance(each, str) for each in value):
        return "".join(value)
    return value


def _streams_joined(outputs: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    joined: list[dict[str, Any]] = []
    for output in outputs:
        before = joined[-1] if joined else {}
        if (
            output["output_type"] == "stream" == before.get("output_type")
            and output["name"] == before["name"]
        ):
            before["text"] = _joined(before["text"]) + _joined(output["text"])
        else:
            joined.append(dict(output))
    return joined


def standing_in(text: str) -> list[str]:
    """Return the sources of the secrets that stand in a text; one that could be a name counts in places of secrets."""
    small = squeezed(text)
    return [
        source
        for secret, source in known_secrets().strong.items()
        if any(
            form.core in small and form.pattern.search(text)
            for form in (in_place(secret) if may_be_a_name(secret) else forms(secret))
        )
    ]


def holds(text: str, small: bytes, secret: str) -> bool:
    """Tell whether a secret stands in a text, in any of its forms; `small` is the text squeezed."""
    return any(form.core in small and form.pattern.search(text) for form in forms(secret))
