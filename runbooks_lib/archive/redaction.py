"""Masking: no secret that we can know reaches the run folder, in whatever form it is written."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from runbooks_lib.archive.secret_forms import Form, forms, squeezed
from runbooks_lib.archive.secret_sources import secret_sources

MASK = "***"


def known_secrets() -> frozenset[str]:
    """Return every secret that can be known here: see `secret_sources`."""
    return frozenset(secret_sources())


def masker() -> Callable[[str], str]:
    """Return a function that masks every secret known now, in each form in which it may stand in a text."""
    # The longest first: a shorter one may be a part of it.
    known = [form for secret in sorted(known_secrets(), key=lambda s: (-len(s), s)) for form in forms(secret)]
    return lambda text: _masked(text, known)


def redact(text: str) -> str:
    """Return the text with every known secret masked."""
    return masker()(text)


def redact_value(value: Any, mask: Callable[[str], str]) -> Any:
    """Return a value of JSON with the texts in it masked, keys too."""
    if isinstance(value, str):
        return mask(value)
    if isinstance(value, list):
        return [redact_value(each, mask) for each in value]
    if isinstance(value, dict):
        return {mask(key): redact_value(each, mask) for key, each in value.items()}
    return value


def redact_notebook(notebook: Mapping[str, Any]) -> dict[str, Any]:
    """Return a notebook with every known secret masked: inside the texts, and across the pieces they are split into.

    Pieces are what nbformat splits: lines of a text, lines of a traceback, the chunks in which a stream arrived.
    """
    mask = masker()
    content: dict[str, Any] = redact_value({**notebook, "cells": []}, mask)
    content["cells"] = [redact_cell(cell, mask) for cell in notebook["cells"]]
    return content


def redact_cell(cell: Mapping[str, Any], mask: Callable[[str], str]) -> dict[str, Any]:
    """Return a cell of a notebook masked: its source, and its outputs over all their pieces."""
    whole = {**cell, "source": _joined(cell["source"])}
    if "outputs" in cell:
        whole["outputs"] = [_output(output, mask) for output in _streams_joined(cell["outputs"])]
    masked: dict[str, Any] = redact_value(whole, mask)
    return masked


def _output(output: Mapping[str, Any], mask: Callable[[str], str]) -> dict[str, Any]:
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


def _masked(text: str, known: list[Form]) -> str:
    small = squeezed(text)
    for form in known:
        if form.core in small:
            text = form.pattern.sub(MASK, text)
    return text
