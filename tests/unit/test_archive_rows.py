"""A sealed directory of dumped rows is the one whose digest was recorded when it was made."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from runbooks_lib.archive.manifest import Listed
from runbooks_lib.archive.seal.problem import Kind
from runbooks_lib.archive.seal.recorded import recorded_problems
from runbooks_lib.evidence import Evidence
from runbooks_lib.postgres.dump.directory import directory_digest

HASHES = {"toc.dat": "a" * 64, "1.dat.gz": "b" * 64}
FOLDER = "backup/data_backup_20260101_000000"
STORED = Path(__file__).parent / "evidence" / "applied"
ROWS = {"path": FOLDER.split("/")[1], "sha256": directory_digest(HASHES)}
ROWS |= {"files": 2, "size_bytes": 2, "complete": True}


@pytest.fixture
def evidence() -> Evidence:
    header, record = (
        json.loads((STORED / name).read_text("utf-8")) for name in ("run.json", "02_backup.json")
    )
    dumps = record["answers"]["dump"]["facts"]["dumps"]
    record["answers"]["dump"]["facts"]["dumps"] = {
        "leader": dumps["leader"] | {"path": "s.sql", "sha256": "c" * 64, "data": ROWS}
    }
    return Evidence.from_json(header, {"backup": record}, STORED)


@pytest.mark.parametrize(
    ("changes", "kind"),
    [
        ({}, None),
        ({"1.dat.gz": "d" * 64}, Kind.CONTRADICTS),
        ({"1.dat.gz": None}, Kind.CONTRADICTS),
        ({"2.dat.gz": "e" * 64}, Kind.CONTRADICTS),
        ({"1.dat.gz": None, "toc.dat": None}, Kind.REMOVED),
    ],
)
def test_a_directory_that_is_another_one_is_named(
    evidence: Evidence, changes: dict[str, Any], kind: Kind | None
) -> None:
    hashes = {name: sha256 for name, sha256 in {**HASHES, **changes}.items() if sha256}
    files = {f"{FOLDER}/{name}": Listed(sha256=sha256, size_bytes=1) for name, sha256 in hashes.items()}
    problems = list(
        recorded_problems({**files, "backup/s.sql": Listed(sha256="c" * 64, size_bytes=1)}, evidence)
    )
    assert [problem.kind for problem in problems] == ([kind] if kind else [])


def test_the_order_of_the_files_is_of_no_matter() -> None:
    assert directory_digest(HASHES) == directory_digest(dict(reversed(HASHES.items())))
    assert directory_digest({"a": "b c"}) != directory_digest({"a b": "c", "": ""})
