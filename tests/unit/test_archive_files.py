"""Files of the archive: whole or not at all, private, and readable again."""

from __future__ import annotations

import json
import os
import stat
import subprocess
from collections.abc import Iterator
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path

import pytest

from runbooks_lib.archive import files
from runbooks_lib.archive.files import write_json, write_text
from runbooks_lib.archive.reader import read_json, sha256_of
from runbooks_lib.errors import EvidenceError

from ..faults.campaign import fault


@pytest.fixture(autouse=True)
def no_secrets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("PGSERVICEFILE", "PGPASSFILE"):
        monkeypatch.setenv(name, str(tmp_path / "none"))
    for name in ("PGSYSCONFDIR", "PGPASSWORD"):
        monkeypatch.delenv(name, raising=False)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_text_is_written_for_its_owner_only(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    write_text(path, "é\r\n\u2028")
    assert path.read_bytes().decode() == "é\r\n\u2028"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    write_text(path, "second")
    assert path.read_text() == "second"
    assert names(tmp_path) == ["a.txt"]


def test_what_is_no_unicode_is_written_all_the_same(tmp_path: Path) -> None:
    """A file name that is not UTF-8 reaches Python as lone surrogates."""
    write_text(tmp_path / "a.txt", os.fsdecode(b"caf\xe9"))
    assert (tmp_path / "a.txt").read_text() == "caf\\udce9"
    write_json(tmp_path / "a.json", {"name": os.fsdecode(b"caf\xe9")})
    assert read_json(tmp_path / "a.json") == {"name": "caf\\udce9"}


@pytest.mark.parametrize("failing", ["replace", "fsync"])
def test_a_write_that_fails_leaves_the_old_file_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failing: str
) -> None:
    """The system call is made to fail: a disk that breaks at that very moment cannot be had."""
    path = tmp_path / "a.txt"
    write_text(path, "old")

    def fail(*_: object) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(files.os, failing, fail)
    with pytest.raises(EvidenceError, match=r"a\.txt could not be written: Input/output error") as caught:
        write_text(path, "new")
    assert "--runs DIR" in caught.value.what_to_do
    assert path.read_text() == "old"
    assert names(tmp_path) == ["a.txt"]


def test_an_interrupted_write_leaves_the_old_file_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.txt"
    write_text(path, "old")

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(files.os, "fsync", interrupt)
    with pytest.raises(KeyboardInterrupt):
        write_text(path, "new")
    assert path.read_text() == "old"
    assert names(tmp_path) == ["a.txt"]


def test_a_folder_that_is_not_there_is_an_evidence_error(tmp_path: Path) -> None:
    with pytest.raises(EvidenceError, match="No such file or directory"):
        write_text(tmp_path / "gone" / "a.txt", "x")


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 64 KiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    if os.geteuid() != 0:
        pytest.skip("only root may mount a small file system")
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(folder)],
        capture_output=True,
        text=True,
        check=False,
    )
    if mounted.returncode:
        pytest.skip(f"mounting is not permitted here: {mounted.stderr.strip()}")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


@fault(
    kind="storage",
    fault="the disk is full while a record is written",
    injected="a tmpfs of 64 KiB",
    seen="ENOSPC",
    told="error: which file, No space left on device; the old file stays",
    goes_on="free space, then `runbooks run PHASE --resume latest`",
    fast=True,
)
def test_a_full_disk_leaves_the_old_file_and_nothing_else(small_disk: Path) -> None:
    path = small_disk / "a.json"
    write_json(path, {"a": 1})
    with pytest.raises(EvidenceError, match=r"a\.json could not be written: No space left on device"):
        write_json(path, {"a": "x" * 200_000})
    assert read_json(path) == {"a": 1}
    assert names(small_disk) == ["a.json"]


def test_json_is_written_as_the_standard_library_indents_it(tmp_path: Path) -> None:
    content = {
        'é "q"': ["", [], {}, [[]], [{"a": [None]}], -0.5, 10**20, True],
        "deep": {"a": {"b": [1, {"c": ["\u2028\n"]}]}},
        "wide": {str(number): number for number in range(11)},
    }
    path = tmp_path / "a.json"
    write_json(path, content)
    assert path.read_text(encoding="utf-8") == json.dumps(content, indent=2, ensure_ascii=False) + "\n"


def test_a_record_is_one_line_of_json(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    write_json(path, {"findings": [{"check": "é", "n": 1}, {"deep": {"er": None}}], "one": {"a": "x\n"}})
    assert path.read_text(encoding="utf-8").splitlines() == [
        "{",
        '  "findings": [',
        '    {"check": "é", "n": 1},',
        "    {",
        '      "deep": {"er": null}',
        "    }",
        "  ],",
        '  "one": {"a": "x\\n"}',
        "}",
    ]


def test_json_keeps_what_it_can_and_makes_texts_of_the_rest(tmp_path: Path) -> None:
    class Colour(StrEnum):
        RED = "red"

    path = tmp_path / "a.json"
    write_json(
        path,
        {
            "text": 'é <b> "q" \\ \n',
            "list": (1, 2.5, None, True),
            "colour": Colour.RED,
            "path": Path("/x"),
            "when": datetime(2026, 1, 7, 17, 47, tzinfo=UTC),
        },
    )
    assert read_json(path) == {
        "text": 'é <b> "q" \\ \n',
        "list": [1, 2.5, None, True],
        "colour": "red",
        "path": "/x",
        "when": "2026-01-07 17:47:00+00:00",
    }
    assert path.read_text().endswith("}\n")
    assert "é" in path.read_text()


@pytest.mark.parametrize(
    ("content", "match"),
    [
        (None, "cannot be read"),
        (b"", "cannot be read"),
        (b'{"a": 1', "cannot be read"),
        (b"\xff\xfe", "cannot be read"),
        (b"[1]", "holds no JSON object"),
    ],
)
def test_what_is_no_json_object_is_an_evidence_error(
    tmp_path: Path, content: bytes | None, match: str
) -> None:
    path = tmp_path / "a.json"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(EvidenceError, match=match):
        read_json(path)


def test_sha256(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"abc")
    assert sha256_of(tmp_path / "a").startswith("ba7816bf8f01cfea")


@pytest.mark.parametrize("password", ["1234", "null", "true", '": "', "b1g-Secret", "1"])
def test_a_password_does_not_spoil_what_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, password: str
) -> None:
    """Keys, and what a finding is about, stay whatever the password is."""
    monkeypatch.setenv("PGPASSWORD", password)
    path = tmp_path / "a.json"
    finding = {"check": password, "target": password, "object": password, "verdict": "PASS"}
    masked = "***" if password == "b1g-Secret" else password
    write_json(path, {"bytes": 912345, "end": None, "yes": True, password: [f"x {password} y"], "f": finding})
    assert read_json(path) == {
        "bytes": 912345, "end": None, "yes": True, password: [f"x {masked} y"], "f": finding
    }  # fmt: skip
    assert json.loads(path.read_text())
