"""A sealed directory of dumped rows is the one whose digest was recorded when it was made."""

from __future__ import annotations

from typing import Any

import pytest

from runbooks_lib.archive.seal.problem import Kind
from runbooks_lib.archive.seal.recorded import recorded_problems
from runbooks_lib.postgres.dump.directory import directory_digest

HASHES = {"toc.dat": "a" * 64, "1.dat.gz": "b" * 64}
FOLDER = "backup/data_backup_20260101_000000"
DUMPED = {
    "leader": {
        "path": "s.sql",
        "sha256": "c" * 64,
        "data": {"path": FOLDER.split("/")[1], "sha256": directory_digest(HASHES)},
    }
}
EVIDENCE = {"backup": {"answers": {"dump": {"facts": {"dumps": DUMPED}}}}}


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
def test_a_directory_that_is_another_one_is_named(changes: dict[str, Any], kind: Kind | None) -> None:
    hashes = {name: sha256 for name, sha256 in {**HASHES, **changes}.items() if sha256}
    files = {f"{FOLDER}/{name}": {"sha256": sha256} for name, sha256 in hashes.items()}
    problems = list(recorded_problems({**files, "backup/s.sql": {"sha256": "c" * 64}}, {}, EVIDENCE))
    assert [problem.kind for problem in problems] == ([kind] if kind else [])


def test_the_order_of_the_files_is_of_no_matter() -> None:
    assert directory_digest(HASHES) == directory_digest(dict(reversed(HASHES.items())))
    assert directory_digest({"a": "b c"}) != directory_digest({"a b": "c", "": ""})
