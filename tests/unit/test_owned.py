"""Only what is ours is removed or overwritten: told by owner, mode, name and a lock, never by a bare number."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from runbooks_lib import temporary as folders
from runbooks_lib.cache import cache_directory
from runbooks_lib.errors import EvidenceError
from runbooks_lib.execution.jupyter import lay_out
from runbooks_lib.lab import lab as labs
from runbooks_lib.lab import registry as states
from runbooks_lib.lab.registry import State, load, registered, registry_entry
from runbooks_lib.owned import hold, is_held, is_ours_alone, read_ours
from runbooks_lib.postgres.scratch.account import Account
from runbooks_lib.postgres.scratch.homes import sweep_homes, temporary_home
from runbooks_lib.postgres.scratch.processes import Process
from runbooks_lib.postgres.scratch.programs import ServerPrograms
from runbooks_lib.postgres.scratch.storage import is_home, remove_home
from runbooks_lib.report.html.index import write_site, write_site_at

NOBODY = 65534
GONE = {"pid": 2**22 + 1, "started": "long ago"}
ACCOUNT = Account(uid=os.geteuid(), gid=os.getegid(), switched=False)
root_only = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file to another account")


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("RUNBOOKS_CACHE", str(tmp_path / "cache"))
    return cache_directory()


@pytest.fixture
def precious() -> Iterator[Path]:
    """A folder with a letter in it, of the name of a home, where homes are."""
    folder = Path(tempfile.gettempdir()) / "runbooks-0123456789ab"
    folder.mkdir()
    (folder / "letter").touch()
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


def entry(cache: Path, name: str, home: Path) -> Path:
    (cache / "homes").mkdir(mode=0o700, exist_ok=True)
    path = cache / "homes" / f"{name}.json"
    path.write_text(json.dumps({"home": str(home), "owner": GONE}))
    path.chmod(0o600)
    return path


@contextmanager
def another_process(code: str) -> Iterator[subprocess.Popen[str]]:
    """Run code in a process of its own that says a line when it is ready, and ends with the block."""
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        with process.stdout as said:
            assert said.readline()
            yield process
    finally:
        process.kill()
        process.wait()


# -- homes -----------------------------------------------------------------------------------------


def test_what_we_wrote_down_of_a_home_of_ours_is_cleared(cache: Path, precious: Path) -> None:
    noted = entry(cache, precious.name, precious)
    sweep_homes()
    assert not precious.exists()
    assert not noted.exists()


@root_only
def test_what_another_account_wrote_down_removes_nothing(cache: Path, precious: Path) -> None:
    noted = entry(cache, precious.name, precious)
    os.chown(noted, NOBODY, NOBODY)
    sweep_homes()
    assert (precious / "letter").exists()


def test_what_others_may_write_to_removes_nothing(cache: Path, precious: Path) -> None:
    entry(cache, precious.name, precious).chmod(0o666)
    sweep_homes()
    assert (precious / "letter").exists()


def forged_elsewhere(tmp_path: Path, precious: Path) -> tuple[str, Path]:
    folder = tmp_path / "runbooks-0123456789ab"
    folder.mkdir()
    (folder / "letter").touch()
    return folder.name, folder


def forged_name(tmp_path: Path, precious: Path) -> tuple[str, Path]:
    return "runbooks-aaaaaaaaaaaa", precious


def forged_path(tmp_path: Path, precious: Path) -> tuple[str, Path]:
    return precious.name, precious.parent / "x" / ".." / precious.name


@pytest.mark.parametrize("forge", [forged_elsewhere, forged_name, forged_path])
def test_an_entry_that_names_another_folder_removes_nothing(
    cache: Path, tmp_path: Path, precious: Path, forge: Any
) -> None:
    name, home = forge(tmp_path, precious)
    entry(cache, name, home)
    sweep_homes()
    assert (home / "letter").exists() or not home.exists()
    assert (precious / "letter").exists()


@root_only
def test_a_folder_of_another_account_is_no_home(cache: Path, precious: Path) -> None:
    os.chown(precious, 12345, 12345)
    entry(cache, precious.name, precious)
    sweep_homes()
    assert (precious / "letter").exists()


def test_a_link_is_no_home(cache: Path, precious: Path, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "letter").touch()
    shutil.rmtree(precious)
    precious.symlink_to(tmp_path / "other")
    try:
        entry(cache, precious.name, precious)
        sweep_homes()
        remove_home(precious)
        assert (tmp_path / "other" / "letter").exists()
    finally:
        precious.unlink()


HOME = """
import time
from runbooks_lib.postgres.scratch.account import Account
from runbooks_lib.postgres.scratch.homes import temporary_home
import os
with temporary_home(Account(uid=os.geteuid(), gid=os.getegid(), switched=False)) as home:
    print(home, flush=True)
    time.sleep(60)
"""


def test_the_home_of_whoever_lives_stays_though_no_number_of_theirs_is_known_here(cache: Path) -> None:
    """As from another container with the same cache: its processes have no number in this one."""
    with another_process(HOME):
        (noted,) = (cache / "homes").glob("*.json")
        found = json.loads(noted.read_text())
        noted.write_text(json.dumps({**found, "owner": GONE}))
        noted.chmod(0o600)
        home = Path(found["home"])
        sweep_homes()
        assert home.is_dir()
        assert noted.exists()
    sweep_homes()
    assert not home.exists()
    assert not noted.exists()
    assert list((cache / "homes").iterdir()) == []


def test_a_home_is_gone_with_its_block(cache: Path) -> None:
    with temporary_home(ACCOUNT) as home:
        assert is_home(home)
        sweep_homes()
        assert home.is_dir()
    assert not home.exists()
    assert list((cache / "homes").iterdir()) == []


# -- the cache -------------------------------------------------------------------------------------


def test_a_cache_that_others_may_write_to_gets_a_folder_of_our_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shared = tmp_path / "shared"
    shared.mkdir()
    shared.chmod(0o1777)
    monkeypatch.setenv("RUNBOOKS_CACHE", str(shared))
    own = cache_directory()
    assert own == shared / f"of-{os.geteuid()}"
    assert is_ours_alone(own)


@root_only
def test_a_folder_that_somebody_else_made_in_our_name_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from runbooks_lib.errors import PreconditionFailed

    shared = tmp_path / "shared"
    (shared / f"of-{os.geteuid()}").mkdir(parents=True)
    shared.chmod(0o1777)
    os.chown(shared / f"of-{os.geteuid()}", NOBODY, NOBODY)
    monkeypatch.setenv("RUNBOOKS_CACHE", str(shared))
    with pytest.raises(PreconditionFailed, match="does not belong to this account alone"):
        cache_directory()


def test_what_is_ours_is_read_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_text("x")
    path.chmod(0o600)
    assert read_ours(path) == "x"
    (tmp_path / "link").symlink_to(path)
    os.mkfifo(tmp_path / "pipe")
    for other in ("link", "pipe", ".", "none"):
        assert read_ours(tmp_path / other) is None
    path.chmod(0o620)
    assert read_ours(path) is None


# -- labs ------------------------------------------------------------------------------------------


def lab_of(directory: Path, home: Path, **fields: Any) -> State:
    programs = ServerPrograms(
        bindir=Path("/nonexistent/bin"), version="18.6", found_by="test", account=ACCOUNT
    )
    state = State(
        directory=directory, created=True, programs=programs, home=home, leader_port=1, replica_port=2, api_port=3,
        backend_port=4, owner=Process(**GONE), **fields,
    )  # fmt: skip
    directory.mkdir(parents=True, exist_ok=True)
    return state.save()


def test_a_lab_json_that_came_with_a_folder_is_nobody_s_word(tmp_path: Path, precious: Path) -> None:
    """Cloned or unpacked, it belongs to us: its programs would be executed, and its folders removed."""
    state = lab_of(tmp_path / "cloned", precious)
    registry_entry(state.directory).unlink()
    assert (state.directory / "lab.json").exists()
    assert load(state.directory) is None
    assert labs.find(state.directory) is None
    labs.sweep()
    assert (precious / "letter").exists()


@pytest.mark.parametrize("name", ["letters", "runbooks-xyz", "runbooks-0123456789abc"])
def test_a_home_of_another_name_is_not_removed(tmp_path: Path, name: str) -> None:
    home = Path(tempfile.gettempdir()) / name
    home.mkdir()
    try:
        (home / "letter").touch()
        labs._take_down(lab_of(tmp_path / "lab", home))
        assert (home / "letter").exists()
    finally:
        shutil.rmtree(home)


@root_only
def test_a_registry_entry_of_another_account_is_nobody_s_word(tmp_path: Path, precious: Path) -> None:
    state = lab_of(tmp_path / "lab", precious)
    os.chown(registry_entry(state.directory), NOBODY, NOBODY)
    assert registered() == ()
    labs.sweep()
    assert (precious / "letter").exists()


KEEPS = """
import sys, time
from pathlib import Path
from runbooks_lib.lab.registry import load
load(Path(sys.argv[1])).keep_alive()
print("ready", flush=True)
time.sleep(60)
"""


def test_a_lab_whose_owner_lives_elsewhere_stays(tmp_path: Path, precious: Path) -> None:
    state = lab_of(tmp_path / "lab", precious)
    code = KEEPS.replace("sys.argv[1]", repr(str(state.directory)))
    with another_process(code):
        assert load(state.directory).alive  # type: ignore[union-attr]
        assert labs.sweep() == ()
        assert (precious / "letter").exists()
    assert not state.alive
    assert labs.sweep() == (state.directory,)
    assert not precious.exists()
    assert states.registered() == ()


# -- folders of processes, and sites ---------------------------------------------------------------


def test_the_folders_of_killed_processes_are_swept_and_no_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    gone = GONE["pid"]
    kept = folders.new_folder("kernel")
    names = {
        name: tmp_path / f"runbooks-kernel-{gone}-{name}" for name in ("mine", "held", "shared", "linked")
    }
    for name in ("mine", "held", "shared"):
        names[name].mkdir(mode=0o700)
    names["shared"].chmod(0o777)
    (tmp_path / "target").mkdir()
    names["linked"].symlink_to(tmp_path / "target")
    held = hold(names["held"])
    folders.sweep("kernel")
    os.close(held)
    assert {name for name, path in names.items() if os.path.lexists(path)} == {"held", "shared", "linked"}
    assert kept.is_dir()
    assert is_held(kept)
    folders.delete_folder(kept)
    assert not kept.exists()


def test_what_a_killed_process_had_in_work_goes_with_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = tmp_path.resolve() / "temporary"
    place.mkdir()
    monkeypatch.setenv("TMPDIR", str(place))
    monkeypatch.setattr("tempfile.tempdir", None)
    code = (
        "import time\nfrom runbooks_lib.temporary import temporary_folder\n"
        "with temporary_folder('prisma') as folder:\n    print(folder, flush=True)\n    time.sleep(60)"
    )
    with another_process(code):
        (left,) = place.iterdir()
        with folders.temporary_folder("prisma") as mine:
            assert {left, mine} == set(place.iterdir()), "its owner lives"
    with folders.temporary_folder("prisma") as mine:
        assert [mine] == list(place.iterdir())
    assert not list(place.iterdir())


def test_what_jupyterlab_serves_is_kept_while_it_runs(tmp_path: Path) -> None:
    other = tmp_path / f".jupyter-{GONE['pid']}"
    other.mkdir(mode=0o700)
    held = hold(other)
    lay_out(tmp_path)
    assert other.is_dir()
    os.close(held)


@pytest.mark.parametrize("text", ["<h1>My home page</h1>", "", "<title>Runbooks</title>"])
def test_a_stranger_s_index_is_not_overwritten(tmp_path: Path, text: str) -> None:
    (tmp_path / "index.html").write_text(text)
    for out in (tmp_path, None):
        with pytest.raises(EvidenceError, match="nothing was overwritten"):
            write_site(tmp_path / "runs" if out else tmp_path, out)
    with pytest.raises(EvidenceError, match="nothing was overwritten"):
        write_site_at(f"file://{tmp_path}")
    assert (tmp_path / "index.html").read_text() == text


def test_a_link_to_a_page_is_not_overwritten(tmp_path: Path) -> None:
    (tmp_path / "page").write_text("mine")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "index.html").symlink_to(tmp_path / "page")
    with pytest.raises(EvidenceError, match="nothing was overwritten"):
        write_site(tmp_path / "runs", tmp_path / "out")
    assert (tmp_path / "page").read_text() == "mine"


def test_an_index_of_ours_is_written_anew(tmp_path: Path) -> None:
    for _ in range(2):
        path, _number = write_site(tmp_path / "runs", tmp_path / "out")
    assert 'content="runbooks"' in path.read_text("utf-8")
    path.write_text("<html>\n<title>Runbooks · 7 runs</title>", "utf-8")  # of an earlier version
    write_site(tmp_path / "runs", tmp_path / "out")
    write_site_at(f"file://{tmp_path}/out")
