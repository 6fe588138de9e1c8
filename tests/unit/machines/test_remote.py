"""Archives at URLs: whole or not there, and never taken for sealed before they are."""

from __future__ import annotations

import builtins
import json
import os
import stat
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fsspec
import pytest
from fsspec.implementations.memory import MemoryFileSystem

from runbooks_lib import phase
from runbooks_lib.archive.run import Run, is_url
from runbooks_lib.archive.store.remote import (
    archive_url,
    downloaded,
    listed_at,
    local_folder,
    located,
    place,
    prepare,
    shown,
    upload,
)
from runbooks_lib.errors import EvidenceError, PreconditionFailed

PHASE = "PH15-AMAZON-DB-FOUNDATION-01"
STEPS = {step: {"schema": [("has_table", "public.A", "there", "PASS")]} for step in phase.STEPS}
BY_HAND = {"steps": []}  # so there are no notebooks
IDS = [f"2026010{n}T000000Z-00000{n}" for n in (1, 2, 3)]


@pytest.fixture(params=["memory", "file"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    if request.param == "file":
        yield f"file://{tmp_path}/bucket/runs"
        return
    name = uuid.uuid4().hex
    yield f"memory://{name}/runs"
    if MemoryFileSystem().exists(f"/{name}"):
        MemoryFileSystem().rm(f"/{name}", recursive=True)


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("RUNBOOKS_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    return tmp_path / "cache"


@pytest.fixture
def run(make_run: Any, seal_anew: Any) -> Run:
    made: Run = make_run(STEPS, header=BY_HAND)
    (made.path / "backup").mkdir()
    (made.path / "backup" / "schema é.sql").write_bytes(b"\x00\xff" * 50_000)
    (made.path / "empty").touch()
    seal_anew(made.path)
    return made


def contents(folder: Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def at(url: str) -> tuple[Any, str]:
    return fsspec.url_to_fs(url)  # type: ignore[no-any-return]


def test_there_and_back(run: Run, url: str) -> None:
    where = upload(run, url)
    assert where == f"{url}/{PHASE}/{run.id}"
    with downloaded(where) as folder:
        assert contents(folder) == contents(run.path)
        assert (folder.name, folder.parent.name) == (run.id, PHASE)
        assert stat.S_IMODE(folder.parent.parent.stat().st_mode) == 0o700
        temporary = folder.parent.parent
    assert not temporary.exists()


def test_a_slash_at_the_end_makes_no_difference(run: Run, url: str) -> None:
    assert upload(run, f"{url}/") == upload(run, url)
    with downloaded(f"{url}/{PHASE}/{run.id}/") as folder:
        assert contents(folder) == contents(run.path)


def test_the_manifest_is_written_last(run: Run, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    written: list[str] = []
    kind = type(at(url)[0])
    original = kind.put

    def put(self: Any, lpath: Any, rpath: Any, **options: Any) -> Any:
        written.extend(Path(path).name for path in rpath)
        return original(self, lpath, rpath, **options)

    monkeypatch.setattr(kind, "put", put)
    upload(run, url)
    assert sorted(written) == sorted(Path(name).name for name in contents(run.path))
    assert written[-1] == "manifest.json"


def test_twice_is_once(run: Run, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    upload(run, url)
    monkeypatch.setattr(type(at(url)[0]), "put", None)
    assert upload(run, url) == f"{url}/{PHASE}/{run.id}"


def test_what_was_cut_short_is_written_again(run: Run, url: str) -> None:
    where = upload(run, url)
    fs, root = at(where)
    fs.pipe_file(f"{root}/manifest.json", b'{"complete": false}')
    fs.pipe_file(f"{root}/empty", b"not empty")
    fs.pipe_file(f"{root}/stale", b"of an earlier try")
    upload(run, url)
    with downloaded(where) as folder:
        assert contents(folder) == contents(run.path)


def test_a_stopped_run_that_was_continued_replaces_itself(run: Run, url: str, seal_anew: Any) -> None:
    whole = (run.path / "run.json").read_text()
    (run.path / "run.json").write_text(json.dumps(json.loads(whole) | {"finished_at": None}))
    seal_anew(run.path)
    upload(run, url)
    (run.path / "run.json").write_text(whole)
    seal_anew(run.path)
    with downloaded(upload(run, url)) as folder:
        assert contents(folder) == contents(run.path)


@pytest.mark.parametrize("there", ['{"complete": true}', "{}", "no json", "[]"])
def test_a_complete_run_is_never_overwritten(run: Run, url: str, there: str) -> None:
    fs, root = at(upload(run, url))
    fs.pipe_file(f"{root}/manifest.json", there.encode())
    with pytest.raises(EvidenceError, match="already holds a complete run that differs") as caught:
        upload(run, url)
    assert str(run.path) in str(caught.value)
    assert fs.cat_file(f"{root}/manifest.json") == there.encode()


def test_an_unsealed_run_is_not_uploaded(make_run: Any, url: str) -> None:
    with pytest.raises(EvidenceError, match="is not sealed"):
        upload(make_run(STEPS), url)
    assert listed_at(url) == []


def test_an_upload_that_fails_names_the_folder_and_leaves_no_manifest(
    run: Run, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The third file cannot be written: what is there then has no manifest, and what is here is as it was."""
    kind = type(at(url)[0])
    original, calls = kind.put_file, iter(range(100))

    def put_file(self: Any, *paths: Any, **options: Any) -> Any:
        if next(calls) == 2:
            raise PermissionError("AccessDenied: key wr0ng-secret")
        return original(self, *paths, **options)

    monkeypatch.setattr(kind, "put_file", put_file)
    monkeypatch.setenv("PGPASSWORD", "wr0ng-secret")
    before = contents(run.path)
    with pytest.raises(
        EvidenceError, match=r"could not be uploaded to .*: AccessDenied: key \*\*\*\."
    ) as caught:
        upload(run, url)
    assert f"The run is whole in {run.path}" in caught.value.what_to_do
    assert f"runbooks runs upload {run.path} --runs " in caught.value.what_to_do
    assert caught.value.exit_code == 4
    assert contents(run.path) == before
    fs, root = at(f"{url}/{PHASE}/{run.id}")
    assert not fs.exists(f"{root}/manifest.json")
    monkeypatch.undo()
    upload(run, url)
    assert fs.exists(f"{root}/manifest.json")


def test_an_archive_that_swallows_bytes_is_noticed(
    run: Run, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    kind = type(at(url)[0])
    original = kind.put

    def put(self: Any, lpath: Any, rpath: Any, **options: Any) -> Any:
        original(self, lpath, rpath, **options)
        for path in rpath:
            if path.endswith(".sql"):
                self.pipe_file(path, b"")

    monkeypatch.setattr(kind, "put", put)
    with pytest.raises(EvidenceError, match=r"not there as they are here: backup/schema é\.sql"):
        upload(run, url)


def copied(where: str) -> None:
    with downloaded(where):
        pass


def test_nothing_there(url: str, tmp_path: Path) -> None:
    assert listed_at(url) == []
    for where in (f"{url}/{PHASE}/{IDS[0]}", url, f"{url}/{PHASE}"):
        with pytest.raises(EvidenceError, match="There is no run at"):
            copied(where)
    assert not list(tmp_path.glob("runbooks-run-*"))


def test_a_name_that_leads_out_of_the_folder_is_refused(
    url: str, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    where = upload(run, url)
    fs, root = at(where)
    kind = type(fs)
    evil = {"name": f"{root}/../../../evil", "size": 1, "type": "file"}
    find, ls = kind.find, kind.ls
    monkeypatch.setattr(
        kind, "find", lambda self, path, **options: find(self, path, **options) | {evil["name"]: evil}
    )
    monkeypatch.setattr(kind, "ls", lambda self, path, **options: [*ls(self, path, **options), evil])
    with pytest.raises(EvidenceError, match="would be written outside"):
        copied(where)
    monkeypatch.undo()


def test_the_runs_of_an_archive(make_run: Any, url: str) -> None:
    for id_ in IDS:
        upload(make_run(STEPS, id=id_, header=BY_HAND, sealed=True), url)
    fs, root = at(f"{url}/{PHASE}")
    fs.rm_file(f"{root}/{IDS[1]}/manifest.json")
    fs.pipe_file(f"{root}/{IDS[2]}/run.json", b"{cut sho")
    runs = listed_at(url)
    assert [(r.id, r.phase, r.sealed, r.state, r.verdict) for r in runs] == [
        (IDS[0], PHASE, True, "complete", "PASS"),
        (IDS[1], PHASE, False, "complete", "PASS"),
        (IDS[2], PHASE, True, "unreadable", "-"),
    ]
    assert runs[0].where == f"{url}/{PHASE}/{IDS[0]}"
    assert "run.json cannot be read" in runs[2].problem


@pytest.mark.parametrize("below", ["", f"/{PHASE}", f"/{PHASE}/{IDS[0]}"])
@pytest.mark.parametrize("error", [PermissionError("not for you"), TimeoutError("no answer")])
def test_a_folder_that_cannot_be_read_is_no_empty_one(
    make_run: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, below: str, error: OSError
) -> None:
    """The errors are put in: root may read every folder, and no server is away on demand."""
    url = f"file://{tmp_path}/bucket/runs"
    where = upload(make_run(STEPS, id=IDS[0], header=BY_HAND, sealed=True), url)
    fs, root = at(f"{url}{below}")
    original = type(fs).ls

    def ls(self: Any, path: str, **options: Any) -> Any:
        if path.rstrip("/") == root:
            raise error
        return original(self, path, **options)

    monkeypatch.setattr(type(fs), "ls", ls)
    with pytest.raises(EvidenceError, match=f"cannot be read: {error}"):
        listed_at(url)
    if below:
        with pytest.raises(EvidenceError, match=f"cannot be read: {error}"):
            prepare(url, PHASE)
    if below.endswith(IDS[0]):
        with pytest.raises(EvidenceError, match=f"could not be read: {error}"):
            copied(where)


@pytest.mark.parametrize("url", ["https://example.org/runs", "http://user:hidden@127.0.0.1:9/runs"])
def test_a_web_address_is_no_archive(run: Run, url: str) -> None:
    for ask in (listed_at, lambda url: prepare(url, PHASE), lambda url: upload(run, url), copied):
        with pytest.raises(PreconditionFailed, match="is a web address") as caught:
            ask(url)
        assert "hidden" not in str(caught.value)


def test_the_chain_comes_along(make_run: Any, url: str, cache: Path, seal_anew: Any) -> None:
    """A machine with an empty cache gets what the next seal must follow and the plans, and nothing else."""
    for id_ in IDS:
        made = make_run(STEPS, id=id_, header=BY_HAND)
        (made.path / "plan").mkdir()
        (made.path / "plan" / "plan_1a2b3c4d.json").write_text("{}")
        (made.path / "plan" / "phase.toml").touch()
        seal_anew(made.path)
        upload(made, url)
    fs, root = at(f"{url}/{PHASE}")
    fs.rm_file(f"{root}/{IDS[1]}/manifest.json")
    folder = prepare(url, PHASE)
    assert folder == local_folder(url)
    assert folder.is_relative_to(cache)
    wanted = ("run.json", "manifest.json", "plan/plan_1a2b3c4d.json")
    expected = {f"{PHASE}/{id_}/{name}" for id_ in (IDS[0], IDS[2]) for name in wanted}
    assert set(contents(folder)) == expected
    assert prepare(url, PHASE) == folder
    assert prepare(url, "ANOTHER") == folder
    with downloaded(f"{url}/{PHASE}/{IDS[2]}", chain=True) as run:
        assert set(contents(run.parent)) == {
            f"{id_}/{name}" for id_ in (IDS[0], IDS[2]) for name in contents(run)
        }  # fmt: skip


def test_each_archive_has_its_own_folder_here(url: str) -> None:
    assert local_folder(url) == local_folder(f"{url}/") != local_folder(f"{url}2")
    assert stat.S_IMODE(local_folder(url).stat().st_mode) == 0o700


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("s3://bucket/runs", True), ("file:///tmp/x", True), ("memory://x", True), ("abfs://c@account/x", True),
        ("runs", False), ("/tmp/runs", False), ("C:\\runs", False), ("", False), (None, False), ("s3:/x", False),
    ],
)  # fmt: skip
def test_what_is_a_url(text: str | None, expected: bool) -> None:
    assert is_url(text) is expected


def test_where_a_run_is_made(url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RUNBOOKS_RUNS", raising=False)
    assert archive_url() is None
    assert place(str(tmp_path), PHASE) == tmp_path
    assert place(url, PHASE) == local_folder(url)
    monkeypatch.setenv("RUNBOOKS_RUNS", url)
    assert archive_url() == url
    assert archive_url(str(tmp_path)) is None
    assert place(None, PHASE) == local_folder(url)


def test_a_run_by_folder_or_url(run: Run, url: str) -> None:
    with located(str(run.path)) as folder:
        assert folder == run.path
    with located(upload(run, url)) as folder:
        assert contents(folder) == contents(run.path)
    assert not folder.exists()
    assert run.path.exists()


def test_passwords_in_urls_are_not_shown() -> None:
    assert shown("sftp://anne:s3cr3t@host/runs?key=x#y") == "sftp://host/runs"
    assert shown("s3://bucket/runs") == "s3://bucket/runs"


@pytest.mark.parametrize(("scheme", "extra"), [("s3", "s3"), ("gs", "gs"), ("abfs", "abfs"), ("az", "abfs")])
def test_a_missing_driver_is_named_with_its_extra(
    scheme: str, extra: str, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Stands in for a machine without the drivers, wherever this one has them."""
    original = builtins.__import__

    def missing(name: str, *others: Any) -> Any:
        if name.partition(".")[0] in ("s3fs", "gcsfs", "adlfs"):
            raise ImportError(f"No module named {name!r}")
        return original(name, *others)

    monkeypatch.setattr(builtins, "__import__", missing)
    for act in (lambda u: upload(run, u), lambda u: prepare(u, PHASE), listed_at, copied):
        with pytest.raises(PreconditionFailed, match="needs a driver that is not installed") as caught:
            act(f"{scheme}://bucket/runs")
        assert f"pip install '.[{extra}]'" in caught.value.what_to_do


def test_without_fsspec(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "fsspec", None)
    with pytest.raises(PreconditionFailed, match="needs the Python package fsspec"):
        upload(run, "s3://bucket/runs")


def test_a_protocol_that_nobody_knows(run: Run) -> None:
    with pytest.raises(PreconditionFailed, match="cannot be opened: Protocol not known: nonsense"):
        upload(run, "nonsense://bucket/runs")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_may_not_be_written(run: Run, tmp_path: Path) -> None:
    (tmp_path / "locked").mkdir(mode=0o500)
    with pytest.raises(EvidenceError, match="Permission denied"):
        upload(run, f"file://{tmp_path}/locked/runs")


def test_a_thousand_runs_are_listed_within_a_second(make_run: Any) -> None:
    header = json.dumps(make_run(STEPS).header_json()).encode()
    fs, root = at(f"memory://{uuid.uuid4().hex}/runs")
    for n in range(1_000):
        fs.pipe_file(f"{root}/{PHASE}/20260107T{n:06d}Z-{n:06x}/run.json", header)
        fs.pipe_file(f"{root}/{PHASE}/20260107T{n:06d}Z-{n:06x}/manifest.json", b"{}")
    began = time.process_time()
    assert len(listed_at(f"memory:/{root}")) == 1_000
    assert time.process_time() - began < 1
    fs.rm(root, recursive=True)
