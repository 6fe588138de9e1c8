"""Runs as the runner leaves them, made from a few words."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from runbooks_lib.archive.files import write_bytes, write_json
from runbooks_lib.archive.manifest import canonical, digests
from runbooks_lib.archive.run import Run, step_name
from runbooks_lib.findings import Verdict

MakeRun = Callable[..., Run]
Row = tuple[str, str, str, str]  # check, object, have, verdict


def finding(check: str, object: str, have: str, verdict: str, **other: str) -> dict[str, str]:
    return {
        "check": check, "target": "leader", "object": object, "have": have, "want": "as declared",
        "verdict": verdict, "hint": "" if verdict == "PASS" else f"see to {object}", **other,
    }  # fmt: skip


def worst(verdicts: Sequence[str]) -> str:
    return max(verdicts, key=[v.value for v in Verdict].index, default="ERROR")


def reseal(path: Path, **changed: Any) -> None:
    """Seal a run's folder as it is now, whatever was sealed before."""
    header = json.loads((path / "run.json").read_text("utf-8"))
    content = {
        "schema_version": 1, "run": path.name, "phase": path.parent.name, "previous": None,
        "sealed_at": "2026-01-07T17:49:00.000Z", "verdict": header["verdict"],
        "complete": header["finished_at"] is not None, "files": digests(path), **changed,
    }  # fmt: skip
    write_bytes(path / "manifest.json", canonical(content))


@pytest.fixture
def seal_anew() -> Callable[..., None]:
    """Return a function that seals a run's folder as it is now."""
    return reseal


@pytest.fixture
def make_run(tmp_path: Path) -> MakeRun:
    """Return a function that writes a run: {step: {question: [(check, object, have, verdict), …]}}."""

    def make(
        steps: Mapping[str, Mapping[str, Sequence[Row]]],
        *,
        id: str = "20260107T174759Z-3f9c2a",
        phase: str = "PH15-AMAZON-DB-FOUNDATION-01",
        facts: Mapping[str, Mapping[str, Any]] = {},
        header: Mapping[str, Any] = {},
        sealed: bool = False,
        runs: Path | None = None,
    ) -> Run:
        path = (runs or tmp_path / "runs") / phase / id
        path.mkdir(parents=True)
        told = []
        for step, questions in steps.items():
            answers = {
                question: {
                    "asked": "Is it?", "started_at": "2026-01-07T17:48:00.000Z", "duration_s": 0.5,
                    "verdict": worst([row[3] for row in rows]),
                    "findings": [finding(*row) for row in rows],
                    "facts": facts.get(question, {}),
                }
                for question, rows in questions.items()
            }  # fmt: skip
            verdict = worst([answer["verdict"] for answer in answers.values()])
            write_json(path / f"{step_name(step)}.json", {
                "schema_version": 1, "step": step, "run": id, "phase": phase, "mode": "plan", "code": "c" * 64,
                "started_at": "2026-01-07T17:48:00.000Z", "finished_at": "2026-01-07T17:48:01.000Z",
                "duration_s": 1.0, "verdict": verdict, "answers": answers,
            })  # fmt: skip
            told.append({"step": step, "verdict": verdict, "duration_s": 2.5})
        write_json(path / "run.json", {
            "schema_version": 1, "id": id, "mode": "plan",
            "phase": {"id": phase, "title": {"fr": "…", "en": "…"}, "digest": "d" * 64},
            "started_at": "2026-01-07T17:47:59.250Z", "finished_at": "2026-01-07T17:48:09.250Z",
            "verdict": worst([step["verdict"] for step in told]), "exit_code": 0,
            "operator": {"user": "anne", "host": "bastion"},
            "versions": {"python": "3.11.7", "runbooks": "0.1.0"},
            "targets": [], "steps": told, **header,
        })  # fmt: skip
        if sealed:
            reseal(path)
        return Run.open(path)

    return make
