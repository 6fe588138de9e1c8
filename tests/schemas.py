"""The JSON Schemas of what others read of runs, made from the types; `make schemas` writes runbooks_lib/schemas."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any, Literal

import msgspec

from runbooks_lib.archive.changes import Summary
from runbooks_lib.archive.manifest import Manifest
from runbooks_lib.archive.store.listing import InList
from runbooks_lib.drafting.diagnosis import Diagnosis
from runbooks_lib.evidence import Answered, Header, Record
from runbooks_lib.execution.fleet.diff import FleetDiff
from runbooks_lib.execution.fleet.record import Fleet
from runbooks_lib.facts import FACTS
from runbooks_lib.facts.writing import KeptPlan
from runbooks_lib.phase import STEPS
from runbooks_lib.report.diff import Difference
from runbooks_lib.report.summary import Told
from runbooks_lib.typed import Moment

FOLDER = Path(__file__).parents[1] / "runbooks_lib" / "schemas"
DIALECT = "https://json-schema.org/draft/2020-12/schema"
Json = dict[str, Any]


def schemas() -> dict[str, Json]:
    """Return each schema by its file's name."""
    return {
        "run.json": schema(Header, "run.json: the header of a run"),
        "record.json": any_of(
            [record(step) for step in STEPS], "NN_step.json: what a step of a run recorded"
        ),
        "plan.json": schema(KeptPlan, "plan/plan.json: a plan as it is kept to be confirmed"),
        "verdicts.json": schema(Summary, "verdicts.json: every verdict of a run"),
        "manifest.json": schema(Manifest, "manifest.json: the seal of a run"),
        "fleet.json": schema(Fleet, "fleet.json: a phase at many databases"),
        "fleet-diff-output.json": schema(FleetDiff, "what `runbooks fleet diff --json` prints"),
        "run-output.json": all_of([Header, Told], "what `runbooks run --json` prints of a run"),
        "diff-output.json": schema(Difference, "what `runbooks runs diff --json` prints"),
        "diagnosis.json": schema(Diagnosis, "what `runbooks diagnose --json` prints"),
        "list-output.json": each_of(InList, "what `runbooks runs list --json` prints"),
    }


def schema(kind: Any, title: str) -> Json:
    (made,), defs = components([kind])
    return {"$schema": DIALECT, "title": title, **made, "$defs": defs}


def any_of(kinds: list[Any], title: str) -> Json:
    made, defs = components(kinds)
    return {"$schema": DIALECT, "title": title, "anyOf": list(made), "$defs": defs}


def all_of(kinds: list[Any], title: str) -> Json:
    made, defs = components(kinds)
    return {"$schema": DIALECT, "title": title, "allOf": list(made), "$defs": defs}


def each_of(kind: Any, title: str) -> Json:
    (made,), defs = components([kind])
    return {"$schema": DIALECT, "title": title, "type": "array", "items": made, "$defs": defs}


def components(kinds: list[Any]) -> tuple[tuple[Json, ...], Json]:
    """Return what refers to the kinds, and the definitions."""
    return msgspec.json.schema_components(kinds, schema_hook=_moment, ref_template="#/$defs/{name}")


def record(step: str) -> type:
    """Return the type of a step's record: each question's answer with the question's own facts."""
    answers = [
        (question, answered(step, question, kind) | msgspec.UnsetType, msgspec.UNSET)
        for (of, question), kind in FACTS.items()
        if of == step
    ]
    name = camel(step)
    fields = [("step", Literal[step]), ("answers", msgspec.defstruct(f"{name}Answers", answers))]  # type: ignore[valid-type]
    return msgspec.defstruct(f"{name}Record", fields, bases=(Record,), kw_only=True, frozen=True)


def answered(step: str, question: str, kind: type) -> Any:
    name = f"{camel(step)}{camel(question)}Answer"
    return msgspec.defstruct(name, [("facts", kind)], bases=(Answered,), kw_only=True, frozen=True)


def camel(name: str) -> str:
    return re.sub(r"(?:^|_)(\w)", lambda found: found[1].upper(), name)


def _moment(kind: type) -> Json:
    """Return the schema of the one type of ours that msgspec does not know."""
    assert kind is Moment, kind
    return {"type": "string", "format": "date-time"}


def text(content: Json) -> str:
    return json.dumps(content, indent=2, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    for file, content in schemas().items():
        (FOLDER / file).write_text(text(content), encoding="utf-8")
