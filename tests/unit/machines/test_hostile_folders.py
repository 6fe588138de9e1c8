"""A run folder made by somebody hostile: each command says what is wrong, at once, and reads nothing outside of it."""

from __future__ import annotations

import hashlib
import json
import os
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from runbooks_lib.archive import reader
from runbooks_lib.archive.manifest import canonical
from runbooks_lib.archive.run import Run
from runbooks_lib.archive.seal.verify import verify
from runbooks_lib.archive.store.remote import upload
from runbooks_lib.cli import commands
from runbooks_lib.errors import EvidenceError, RunbookError
from runbooks_lib.findings import Verdict
from runbooks_lib.phase import STEPS
from runbooks_lib.typed import Moment, Sha256, Typed, typed

RUNBOOKS = Path(sys.executable).with_name("runbooks")
CANARY = "canary-7f3a9c-only-outside"
ALL = {step: {"schema": [("has_table", "public.A", "there", "PASS")]} for step in STEPS}
TIMEOUT_S = 60  # of a process that a pipe would keep for ever


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    """A file that is nobody's business here, and would be a run.json if it were read."""
    path = tmp_path / "outside.json"
    path.write_text(json.dumps({"schema_version": 1, "id": CANARY, "secret": CANARY}))
    return path


@pytest.fixture
def run(make_run: Any, seal_anew: Any) -> Run:
    made: Run = make_run(ALL, header={"steps": []})
    (made.path / "plan").mkdir()
    (made.path / "plan" / "phase.toml").write_text("x")
    seal_anew(made.path)
    assert verify(made.path).problems == ()
    return made


def relist(path: Path, name: str, **changed: Any) -> None:
    """Have the manifest list a file as it is now, as one would who can write but not sign."""
    manifest = json.loads((path / "manifest.json").read_text("utf-8"))
    sha256 = hashlib.sha256((path / name).read_bytes()).hexdigest() if not changed else "0" * 64
    manifest["files"][name] = {"sha256": sha256, "size_bytes": (path / name).stat().st_size, **changed}
    (path / "manifest.json").write_text(json.dumps(manifest, indent=2) + "\n", "utf-8")


def fifo(path: Path, outside: Path) -> None:
    os.mkfifo(path)


def zero(path: Path, outside: Path) -> None:
    path.symlink_to("/dev/zero")


def device(path: Path, outside: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root may make a device")
    try:
        os.mknod(path, 0o600 | 0o020000, os.makedev(1, 5))
    except PermissionError:
        pytest.skip("devices may not be made here")


def folder(path: Path, outside: Path) -> None:
    path.mkdir()
    (path / "x").touch()


def unix_socket(path: Path, outside: Path) -> None:
    here = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    before = Path.cwd()
    try:
        os.fchdir(here)  # its path may have 108 bytes only
        with socket.socket(socket.AF_UNIX) as listening:
            listening.bind(path.name)
    finally:
        os.chdir(before)
        os.close(here)


def link(path: Path, outside: Path) -> None:
    path.symlink_to(outside)


def dangling(path: Path, outside: Path) -> None:
    path.symlink_to(outside.parent / "nothing")


def explosion(path: Path, outside: Path) -> None:
    with path.open("wb") as stream:
        stream.truncate(1 << 40)


KINDS = [fifo, zero, device, folder, unix_socket, link, dangling, explosion]
FILES = ["manifest.json", "run.json", "01_preflight.json", "attestation.dsse.json", "plan/phase.toml"]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", FILES)
def test_what_is_no_file_of_the_folder_is_named_and_never_read(
    run: Run, outside: Path, name: str, kind: Callable[[Path, Path], None], tmp_path: Path
) -> None:
    (run.path / name).unlink(missing_ok=True)
    kind(run.path / name, outside)
    said = []
    runs = run.path.parents[1]
    for words in (
        ["verify", run.path],
        ["verify", run.path, "--json"],
        ["verify", run.path, "--chain"],
        ["runs", "list", "--runs", runs],
        ["runs", "show", run.path],
        ["runs", "diff", run.path, run.path],
        ["runs", "site", "--runs", runs, "--out", tmp_path / "site"],
        ["runs", "upload", run.path, "--runs", f"file://{tmp_path}/store"],
        ["report", run.path],
    ):
        done = CliRunner().invoke(commands, [str(word) for word in words])
        assert done.exception is None or isinstance(done.exception, RunbookError | SystemExit), words
        said.append(f"{done.output} {done.exception}")
    assert name in said[0]
    assert "cannot be trusted" in said[0] or "is incomplete" in said[0]
    assert CANARY not in " ".join(said)
    assert not any((tmp_path / "store").rglob("*.*"))


@pytest.mark.parametrize("kind", [fifo, zero, link])
def test_a_link_or_a_pipe_keeps_no_process(
    run: Run, outside: Path, kind: Callable[[Path, Path], None]
) -> None:
    """As one types it: a pipe would keep it, and /dev/zero fill its memory."""
    (run.path / "run.json").unlink()
    kind(run.path / "run.json", outside)
    for words in (["verify", str(run.path)], ["runs", "list", "--runs", str(run.path.parents[1])]):
        done = subprocess.run(
            [str(RUNBOOKS), *words], capture_output=True, text=True, timeout=TIMEOUT_S, check=False
        )
        assert "Traceback" not in done.stderr
        assert "run.json" in done.stdout + done.stderr


def test_a_folder_that_is_a_link_is_not_followed(run: Run, tmp_path: Path) -> None:
    (run.path / "plan").rename(tmp_path / "plan")
    (run.path / "plan").symlink_to(tmp_path / "plan", target_is_directory=True)
    found = verify(run.path)
    assert {(p.kind.value, p.where) for p in found.problems} == {
        ("added", "plan"),
        ("removed", "plan/phase.toml"),
    }
    for name in ("plan/phase.toml", "../run.json", "/etc/passwd", "plan/../run.json", "a\0b", ""):
        with pytest.raises(EvidenceError, match="is no ordinary file"):
            reader.read(run.path, name)


def test_a_manifest_that_lists_what_is_outside(run: Run, seal_anew: Any, outside: Path) -> None:
    for name in ("../../../outside.json", str(outside), "plan/../../run.json"):
        files = {name: {"sha256": reader.sha256_of(outside), "size_bytes": outside.stat().st_size}}
        seal_anew(run.path, files=files)
        problems = {(p.kind.value, p.where) for p in verify(run.path).problems}
        assert ("removed", name) in problems


def test_a_manifest_that_says_how_long_it_is_is_not_believed(run: Run) -> None:
    """A file as long as somebody liked: read to its end it would keep the reader for hours."""
    path = run.path / "plan" / "phase.toml"
    explosion(path, path)
    relist(run.path, "plan/phase.toml", size_bytes=1 << 40)
    (problem,) = verify(run.path).problems
    assert (problem.where, "has holes" in problem.what) == ("plan/phase.toml", True)


def test_a_file_is_read_as_long_as_it_is_and_no_longer(tmp_path: Path) -> None:
    (tmp_path / "three").write_bytes(b"abc")
    assert reader.read(tmp_path, "three", limit_bytes=3) == b"abc"
    with pytest.raises(EvidenceError, match="more than"):
        reader.read(tmp_path, "three", limit_bytes=2)
    with pytest.raises(EvidenceError, match="somebody writes to it"):
        reader.read(Path("/proc/self"), "status")  # its size is 0, and there is more of it


TWICE = '{"schema_version": 1, "schema_version": 1, "verdicts": {}}'
WRONG = [
    ("verdicts.json", TWICE, "stands in it twice"),
    (
        "verdicts.json",
        '{"schema_version": 1, "verdicts": {"report": {"a": {"b": {"c": {"d": "GREEN"}}}}}}',
        "'GREEN' - at `$.verdicts[...]",
    ),
    (
        "verdicts.json",
        '{"schema_version": 1, "verdicts": {"report": {"a": {"b": {"c": {"d": "PASS"}}}}}}',
        "verdicts",
    ),
    ("verdicts.json", "[]", "no JSON object"),
    ("run.json", "NaN", "no number"),
    ("run.json", '{"a": 1e999}', "can be held"),
    ("run.json", '{"a": "\\ud800"}', "surrogates"),
    ("run.json", "[" * 100_000, "run.json"),
    ("run.json", '{"a":' * 90 + "1" + "}" * 90, "nested deeper"),
    ("01_preflight.json", '{"step": 1}', "`$.step`"),
    ("01_preflight.json", "\ufeff{}", "BOM"),
    ("01_preflight.ipynb", '{"cells": 7, "metadata": {}}', "cells"),
]


@pytest.mark.parametrize(("name", "content", "said"), WRONG)
def test_content_of_another_shape_is_named_although_it_is_sealed(
    run: Run, name: str, content: str, said: str
) -> None:
    (run.path / name).write_text(content)
    relist(run.path, name)
    found = verify(run.path)
    assert not found.trusted
    assert any(
        name in f"{p.where} {p.what}" and said in f"{p.where} {p.what} {name}" for p in found.problems
    ), [str(p) for p in found.problems]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (
            lambda path: (path / "run.json").write_text((path / "run.json").read_text() + " "),
            "not as it was sealed",
        ),
        (lambda path: (path / "05_seed_verification.json").unlink(), "is gone"),
        (lambda path: (path / "03_baseline_migration.json").write_text("{}"), "not as it was sealed"),
    ],
    ids=["header", "removed", "record"],
)
def test_what_was_changed_after_the_seal_is_shown_by_no_command(
    run: Run, change: Callable[[Path], object], said: str, tmp_path: Path
) -> None:
    change(run.path)
    for words in (["runs", "show"], ["report"]):
        failed = CliRunner().invoke(commands, [*words, str(run.path)]).exception
        assert isinstance(failed, EvidenceError)
        assert said in str(failed)
    with pytest.raises(EvidenceError, match="cannot be trusted, so it was not uploaded"):
        upload(run, f"file://{tmp_path}/store")


def test_what_was_added_after_the_seal_is_no_evidence(make_run: Any) -> None:
    sealed = make_run({"preflight": ALL["preflight"]}, sealed=True)
    other = make_run(ALL, runs=sealed.path.parents[2] / "other")
    name = "07_report.json"
    (sealed.path / name).write_bytes((other.path / name).read_bytes())
    with pytest.raises(EvidenceError, match="no part of what was sealed"):
        sealed.evidence()


def test_upload_copies_what_is_listed_and_nothing_that_a_link_leads_to(
    run: Run, outside: Path, tmp_path: Path
) -> None:
    upload(run, f"file://{tmp_path}/store")
    copied = {p.name for p in (tmp_path / "store").rglob("*") if p.is_file()}
    assert copied == {p.name for p in run.path.rglob("*") if p.is_file()}
    (run.path / "plan" / "more").symlink_to(outside)
    with pytest.raises(EvidenceError, match="plan/more"):
        upload(run, f"file://{tmp_path}/second")
    assert not (tmp_path / "second").exists()


def test_upload_without_a_url_repeats_nothing_that_was_given(run: Run) -> None:
    for words in (
        [str(run.path), "--runs", "anne:s3cr3t@host/bucket"],
        ["s3://anne:s3cr3t@host/bucket", "--runs", "s3://anne:s3cr3t@host/bucket"],
        ["anne:s3cr3t@host/bucket", "--runs", "file:///nowhere"],
    ):
        done = CliRunner().invoke(commands, ["runs", "upload", *words])
        assert done.exit_code != 0
        assert "s3cr3t" not in f"{done.output}{done.exception}"


PIECES = st.sampled_from(
    [b"{", b"}", b'"files"', b":", b",", b"[", b"]", b"null", b"1", b"-1e9", b'"../x"', b"\\u0000", b"\xff", b"NaN",
     b'"sha256"', b'{"a":1,"a":2}', b"true", b" "]
)  # fmt: skip
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)


@settings(deadline=None, suppress_health_check=list(HealthCheck))
@given(st.dictionaries(st.text('a"\\/u\n\x00\x7fü\u2028😀\ud800', max_size=8), JSON, max_size=4))
@example({"": {}, "ü": [[], "\ud800"]})
def test_a_seal_is_written_as_json_is_with_two_spaces(content: dict[str, Any]) -> None:
    assert canonical(content).decode("ascii") == json.dumps(content, indent=2) + "\n"


@pytest.mark.parametrize("step", ["", "backup"])
def test_a_record_that_says_it_is_of_another_step_is_refused(run: Run, step: str) -> None:
    path = run.path / "01_preflight.json"
    path.write_text(json.dumps(json.loads(path.read_text("utf-8")) | {"step": step}), encoding="utf-8")
    relist(run.path, path.name)
    with pytest.raises(EvidenceError):
        run.record("preflight")


@settings(deadline=None, max_examples=150, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_verify_ends_with_a_verdict_whatever_is_in_the_folder(run: Run, data: st.DataObject) -> None:
    """Octets at random, JSON at random, and one value of a real file replaced by another; resealed or not."""
    name = data.draw(st.sampled_from(["manifest.json", "run.json", "01_preflight.json", "07_report.json"]))
    path = run.path / name
    before = {each: (run.path / each).read_bytes() for each in (name, "manifest.json")}
    kind = data.draw(st.sampled_from(["octets", "json", "value"]))
    if kind == "octets":
        path.write_bytes(b"".join(data.draw(st.lists(PIECES, max_size=12))))
    elif kind == "json":
        path.write_text(json.dumps(data.draw(JSON)))
    else:
        path.write_text(json.dumps(_with_one_changed(json.loads(before[name]), data), indent=2) + "\n")
    try:
        if name != "manifest.json":
            relist(run.path, name)
        found = verify(run.path, chain=True)
        assert isinstance(found.trusted, bool)
        for words in (["runs", "show"], ["runs", "diff", str(run.path)], ["report"]):
            failed = CliRunner().invoke(commands, [*words, str(run.path)]).exception
            assert failed is None or isinstance(failed, RunbookError | SystemExit), words
    finally:
        for each, octets in before.items():
            (run.path / each).write_bytes(octets)


def _with_one_changed(content: Any, data: st.DataObject) -> Any:
    """Return JSON in which one value, somewhere, is another."""
    if isinstance(content, dict) and content and data.draw(st.integers(0, 4)):
        key = data.draw(st.sampled_from(sorted(content)))
        return {**content, key: _with_one_changed(content[key], data)}
    if isinstance(content, list) and content and data.draw(st.integers(0, 4)):
        place = data.draw(st.integers(0, len(content) - 1))
        return [*content[:place], _with_one_changed(content[place], data), *content[place + 1 :]]
    return data.draw(JSON)


class Number(Typed):
    a: int


class Maybe(Typed):
    a: int = 0


@pytest.mark.parametrize(
    ("value", "kind", "fits"),
    [
        (1, int, True), (True, int, False), (1.5, float, True), (None, str | None, True),
        ("2026-01-07T17:47:59.250Z", Moment, True), ("2026-02-31T17:47:59Z", Moment, False),
        ("2026-01-07T17:47:59", Moment, False), (7, Moment, False), ([], Verdict, False), ("GREEN", Verdict, False),
        ("ab" * 32, Sha256, True), ("ab" * 32 + "\n", Sha256, False), ("AB" * 32, Sha256, False),
        ({"a": 1, "b": None}, Number, True), ({}, Number, False), ({"a": "x"}, Maybe, False), ({}, Maybe, True),
        ({"a": 1}, dict[str, int], True), ([1, "x"], list[int], False), ([], list[int], True), ({}, list[int], False),
        ([], dict[str, Any], False),
    ],
)  # fmt: skip
def test_types(value: Any, kind: Any, fits: bool) -> None:
    if fits:
        assert typed(value, kind, Path("x")) is not None or value is None
    else:
        with pytest.raises(EvidenceError, match="x cannot be read"):
            typed(value, kind, Path("x"))
