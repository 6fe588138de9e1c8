"""The shapes of what a run folder holds, by kind of file: what the code that reads it relies on, and no more."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from types import FunctionType
from typing import Any

from runbooks_lib.errors import EvidenceError
from runbooks_lib.findings import Verdict
from runbooks_lib.phase import STEPS

NOT_UNDERSTOOD = (KeyError, TypeError, ValueError, AttributeError, IndexError, RecursionError)


@dataclass(frozen=True, slots=True)
class Fields:
    """An object with these fields at least; `optional` ones may be missing, and others may be there."""

    required: Mapping[str, Any]
    optional: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Each:
    """An object whose every value has one shape."""

    shape: Any


def TIME(value: Any) -> bool:
    """Tell whether a value is a moment in time, with its zone."""
    try:
        return datetime.fromisoformat(value).tzinfo is not None
    except (TypeError, ValueError):
        return False


# A shape is a type, the pattern of a text, a set of texts, [that of each in a list],
# Fields, Each, a function that tells, or a tuple of these.
SHA256 = re.compile(r"[0-9a-f]{64}")
NOTHING = type(None)
NUMBER = (int, float)
VERDICT = frozenset(verdict.value for verdict in Verdict)
STEP = frozenset(STEPS)
MODE = frozenset({"plan", "apply"})
FINDING = Fields(
    dict.fromkeys(("check", "target", "object", "have", "want"), str) | {"verdict": VERDICT}, {"hint": str}
)
ANSWER = Fields(
    {
        "verdict": VERDICT,
        "findings": [FINDING],
        "facts": Each(object),
        "started_at": TIME,
        "duration_s": (*NUMBER, NOTHING),
    },
    {"asked": str},
)
RECORD = Fields(
    {
        "schema_version": int,
        "step": STEP,
        "run": str,
        "phase": str,
        "mode": MODE,
        "code": str,
        "started_at": TIME,
        "finished_at": (TIME, NOTHING),
        "duration_s": (*NUMBER, NOTHING),
        "verdict": (VERDICT, NOTHING),
        "answers": Each(ANSWER),
    },
    {"library": SHA256},
)
HEADER = Fields(
    {
        "schema_version": int,
        "id": str,
        "phase": Fields({"id": str, "digest": str, "title": Each(str)}, {"ref": str}),
        "mode": MODE,
        "started_at": TIME,
        "finished_at": (TIME, NOTHING),
        "verdict": (VERDICT, NOTHING),
        "operator": Fields({"user": str, "host": str}),
        "versions": Each(str),
        "targets": [Fields(dict.fromkeys(("name", "service", "role", "database"), str))],
    },
    {
        "stopped_at": (TIME, NOTHING),
        "exit_code": int,
        "steps": [
            Fields(
                {"step": STEP, "verdict": VERDICT, "duration_s": (*NUMBER, NOTHING)},
                {"kept": (str, NOTHING)},
            )
        ],
        "resumed": [Fields({"at": TIME})],
        "digests": Each(SHA256),
        "library": SHA256,
        "superuser_objects": [str],
    },
)
VERDICTS = Fields({"schema_version": int, "verdicts": Each(Each(Each(Each(Each(VERDICT)))))})
PLAN = Fields({"hash": SHA256, "confirmation": str, "run": str, "parts": Each(object)})
MANIFEST = Fields(
    {
        "schema_version": int,
        "run": str,
        "phase": str,
        "previous": (Fields({"run": str, "sha256": SHA256}), NOTHING),
        "sealed_at": TIME,
        "verdict": VERDICT,
        "complete": bool,
        "files": Each(Fields({"sha256": SHA256, "size_bytes": int})),
    }
)
_LINES = (str, [str])
_OUTPUT = Fields({"output_type": str}, {"data": Each(object), "text": _LINES, "ename": str, "name": str})
_COUNTED = {"execution_count": (int, NOTHING), "outputs": [_OUTPUT]}
_CODE = Fields({"cell_type": frozenset({"code"}), "source": _LINES, "metadata": Each(object), **_COUNTED})
_PROSE = Fields({"cell_type": frozenset({"markdown", "raw"}), "source": _LINES, "metadata": Each(object)})
NOTEBOOK = Fields({"cells": [(_CODE, _PROSE)], "metadata": Each(object)})


def require(content: Any, shape: Any, path: Path) -> None:
    """Refuse content of another shape. Raises EvidenceError, naming the first place that differs."""
    if not _fits(content, shape):
        where = _misfit(content, shape).lstrip(".") or "the whole"
        raise EvidenceError(
            f"{path} cannot be read: {where} is not as this software writes it.",
            "It was changed, or written by another version.",
        )


@contextmanager
def understood(path: Path) -> Iterator[None]:
    """Turn what Python raises for facts that nobody of ours wrote into an EvidenceError about a run's folder."""
    try:
        yield
    except NOT_UNDERSTOOD as error:
        raise EvidenceError(
            f"What {path} holds cannot be understood: {type(error).__name__}.",
            "It was changed, or written by another version: runbooks verify says what of it is as it was sealed.",
        ) from error


def _fits(value: Any, shape: Any) -> bool:
    """Tell whether a value of JSON has a shape."""
    kind = shape.__class__
    if kind is type:
        return value.__class__ is shape or shape is object
    if kind is frozenset:
        return value.__class__ is str and value in shape
    if kind is re.Pattern:
        return value.__class__ is str and shape.fullmatch(value) is not None
    if kind is FunctionType:
        return bool(shape(value))
    if kind is tuple:
        return any(_fits(value, each) for each in shape)
    if kind is Fields:
        return value.__class__ is dict and _has(value, shape)
    if kind is Each:
        return value.__class__ is dict and _all_fit(value.values(), shape.shape)
    return value.__class__ is list and _all_fit(value, shape[0])


def _has(value: dict[str, Any], shape: Fields) -> bool:
    for key, each in shape.required.items():
        if key not in value or not _fits(value[key], each):
            return False
    return all(key not in value or _fits(value[key], each) for key, each in shape.optional.items())


def _all_fit(values: Collection[Any], shape: Any) -> bool:
    """Tell whether all values have a shape; a set of texts is asked once, as an index of many runs needs it."""
    if shape is object:
        return True
    if shape.__class__ is frozenset:
        return all(value.__class__ is str for value in values) and shape.issuperset(values)
    return all(_fits(value, shape) for value in values)


def _parts(value: Any, shape: Any) -> Iterator[tuple[str, Any, Any]]:
    """Yield what a value is made of, with its name and shape; what is missing fits nothing."""
    if isinstance(shape, list) and isinstance(value, list):
        for number, each in enumerate(value):
            yield f"[{number}]", each, shape[0]
    elif isinstance(shape, Each) and isinstance(value, dict):
        for key, each in value.items():
            yield f".{key[:80]}", each, shape.shape
    elif isinstance(shape, Fields) and isinstance(value, dict):
        for key, each in shape.required.items():
            yield f".{key}", value.get(key), each if key in value else ()
        for key, each in shape.optional.items():
            if key in value:
                yield f".{key}", value[key], each
    else:
        yield "", value, ()


def _misfit(value: Any, shape: Any) -> str:
    """Return the first place in a value that does not have its shape."""
    if isinstance(shape, Fields | Each | list):
        for name, inner, each in _parts(value, shape):
            if not _fits(inner, each):
                return name + _misfit(inner, each)
    return ""
