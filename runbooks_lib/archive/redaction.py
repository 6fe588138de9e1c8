"""Masking: no secret that we can know reaches the run folder, in whatever form it is written."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from runbooks_lib.archive.secret_forms import Form, forms, squeezed
from runbooks_lib.archive.secret_sources import secret_sources

MASK = "***"


def known_secrets() -> frozenset[str]:
    """Return every secret that can be known here: see `secret_sources`."""
    return frozenset(secret_sources())


class Masker:
    """Masks every secret known when it was made, in each form in which it may stand in a text."""

    def __init__(self) -> None:
        # The longest first: a shorter one may be a part of it.
        known = sorted(known_secrets(), key=lambda secret: (-len(secret), secret))
        self._forms: list[Form] = [form for secret in known for form in forms(secret)]

    def __call__(self, text: str) -> str:
        """Return the text with the secrets masked."""
        small = squeezed(text)
        for form in self._forms:
            if form.core in small:
                text = form.pattern.sub(MASK, text)
        return text

    def value(self, value: Any) -> Any:
        """Return a value of JSON with the texts in it masked, keys too; itself when nothing in it can be a secret."""
        small = squeezed("\0".join(_texts(value)))  # has the core of every secret that stands in one of them
        return self._value(value) if any(form.core in small for form in self._forms) else value

    def _value(self, value: Any) -> Any:
        if isinstance(value, str):
            return self(value)
        if isinstance(value, list):
            return [self._value(each) for each in value]
        if isinstance(value, dict):
            return {self(key): self._value(each) for key, each in value.items()}
        return value


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


def holds(text: str, small: bytes, secret: str) -> bool:
    """Tell whether a secret stands in a text, in any of its forms; `small` is the text squeezed."""
    return any(form.core in small and form.pattern.search(text) for form in forms(secret))
