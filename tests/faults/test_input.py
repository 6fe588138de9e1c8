"""What somebody hostile may have put into a run's folder: it is named, nothing crashes, hangs, or leaves the folder."""

from __future__ import annotations

import copy
import gzip
import json
import os
import random
import re
import resource
import shutil
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from runbooks_lib.archive.manifest import MANIFEST, canonical, digests
from runbooks_lib.archive.run import Run
from runbooks_lib.archive.seal.verify import Verification, verify
from runbooks_lib.cli import commands
from runbooks_lib.errors import RunbookError
from runbooks_lib.evidence import HEADER
from runbooks_lib.lab.lab import Lab
from runbooks_lib.visible import visible_lines

from .campaign import fault
from .proof import dumps, require_told, require_unchanged

PHASE = "PH15-AMAZON-DB-FOUNDATION-01"
RUNBOOKS = Path(sys.executable).with_name("runbooks")
PATIENCE_S = 20.0  # for one command, on a loaded machine; each takes a second
SEEDS = 4
CANARY = "canary-of-a-file-outside"
NEXT_STEP = (
    "See what is the matter: runbooks verify|verify says what else|changed, or written by another version"
)
DRAWN = (".html", ".prom")  # drawn from the records: nothing but the manifest has their digests
MORE_KIB = 512 * 1024  # what reading a run may cost


@pytest.fixture(scope="module")
def planned(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A real run, planned and sealed."""
    runs = tmp_path_factory.mktemp("planned")
    subprocess.run(
        [str(RUNBOOKS), "run", PHASE, "--runs", str(runs)], capture_output=True, timeout=300, check=True
    )
    (folder,) = (runs / PHASE).iterdir()
    assert verify(folder).trusted
    return folder


@pytest.fixture
def run(planned: Path, tmp_path: Path) -> Path:
    """A copy of it, alone in its archive; beside the archive lies a file that nothing may read."""
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "secret.json").write_text(json.dumps({"id": CANARY}), "utf-8")
    folder = tmp_path / "runs" / PHASE / planned.name
    shutil.copytree(planned, folder)
    return folder


def mend(folder: Path) -> None:
    """Make the manifest agree with the files again, as one would who can write but not sign."""
    content = {**json.loads((folder / MANIFEST).read_text("utf-8")), "files": digests(folder)}
    (folder / MANIFEST).write_bytes(canonical(content))


def read_by_everything(folder: Path) -> str:
    """Let each command that reads archives read this one; return all that they said. None may crash, or take long."""
    runs = folder.parent.parent
    told = ""
    for command in (
        ("verify", str(folder)), ("verify", "--chain", "--json", str(folder)), ("report", str(folder)),
        ("runs", "list", "--runs", str(runs)), ("runs", "show", str(folder)), ("runs", "site", "--runs", str(runs)),
        ("export", str(folder), "--out", str(runs / "sent.zip")),
    ):  # fmt: skip
        began = time.monotonic()
        done = CliRunner().invoke(commands, command)
        assert time.monotonic() - began < PATIENCE_S, command
        assert done.exception is None or isinstance(done.exception, (SystemExit, RunbookError)), (
            command,
            repr(done.exception),
        )
        stopped = done.exception if isinstance(done.exception, RunbookError) else ""
        told += f"{done.output}{visible_lines(str(stopped))}\n"  # as the command line's own end says it
    assert CANARY not in told
    assert not any(CANARY in page.read_text("utf-8", "replace") for page in runs.rglob("*.html"))
    return told


def problems(found: Verification) -> str:
    assert not found.trusted
    return " ".join(f"{each.where}: {each.what}" for each in found.problems)


# --- changed at random ------------------------------------------------------------------------------------------

ODD: tuple[Any, ...] = (
    None, True, -1, 10**400, 1e308, "", "x" * 100_000, "../../../etc/passwd", "<script>alert(1)</script>",
    "\x1b[2J\x00\n", [], {}, [[]], [None] * 5, {"a": {}}, "\ud800", "2026-13-45", "=cmd|' /C calc'!A1",
)  # fmt: skip


def paths_of(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    if path:
        yield path
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        yield from paths_of(inner, (*path, key))


def change_json(rnd: random.Random, octets: bytes) -> bytes:
    """Take a value out, repeat it, put it under another key, or put something odd in its place."""
    content = json.loads(octets)
    path = rnd.choice(list(paths_of(content)))
    at = content
    for key in path[:-1]:
        at = at[key]
    last, what = path[-1], rnd.random()
    if what < 0.2:
        del at[last]
    elif what < 0.3 and isinstance(at, list):
        at.append(copy.deepcopy(at[last]))
    elif what < 0.4 and isinstance(at, dict):
        at[rnd.choice(("x", "__proto__", "verdict", ""))] = at[last]
    else:
        at[last] = rnd.choice(ODD)
    return json.dumps(content).encode("utf-8", "surrogatepass")


def cut(rnd: random.Random, octets: bytes) -> bytes:
    return octets[: rnd.randrange(len(octets))]


def flip(rnd: random.Random, octets: bytes) -> bytes:
    changed = bytearray(octets)
    for _ in range(5):
        changed[rnd.randrange(len(changed))] ^= rnd.randrange(1, 256)
    return bytes(changed)


@fault(
    kind="input",
    fault="{what}; the manifest's hashes agree again: {agrees}",
    injected="seeded changes of a real sealed run, each read by verify, report, list, show, site and export",
    seen="not trusted, but for what is drawn from the records (HTML, metrics) where hashes agree; no crash, no hang",
    told="the file; where hashes agree: it contradicts another, or a note says that the run is unsigned",
    goes_on="take the run from where it was kept, or run the phase again",
)
@pytest.mark.parametrize("agrees", ["yes", "no"])
@pytest.mark.parametrize(
    ("what", "files", "change"),
    [
        ("a record of a step says something else", "0?_*.json", change_json),
        ("an executed notebook says something else", "0?_*.ipynb", change_json),
        ("run.json says something else", "run.json", change_json),
        ("the plan says something else", "plan/*.json", change_json),
        ("a file is cut short", "*.*", cut),
        ("some bits of a file are flipped", "*.*", flip),
    ],
)
def test_what_was_changed_at_random_is_not_trusted(
    run: Path,
    planned: Path,
    what: str,
    files: str,
    change: Callable[[random.Random, bytes], bytes],
    agrees: str,
) -> None:
    for seed in range(SEEDS):
        rnd = random.Random(f"{what} {seed}")
        path = rnd.choice(
            sorted(each for each in run.glob(files) if each.is_file() and each.name != MANIFEST)
        )
        before = path.read_bytes()
        after = change(rnd, before)
        path.write_bytes(after)
        if agrees == "yes":
            mend(run)
        told = read_by_everything(run)
        found = verify(run)
        if found.trusted:  # also a run.json that has only one more key says the same
            assert before == after or (
                agrees == "yes"
                and (
                    path.suffix in DRAWN
                    or (path.name == HEADER and Run.open(run).header() == Run.open(planned).header())
                )
            ), f"{path.name}, seed {seed}"
            assert "note: unsigned" in told
        else:
            assert path.name in problems(found)
            require_told(told, cause=path.name, next_step=NEXT_STEP)
        shutil.rmtree(run)
        shutil.copytree(planned, run)
        for more in run.parent.parent.glob("*.*"):
            more.unlink()


@fault(
    kind="input",
    fault="the manifest says something else",
    injected="seeded changes of manifest.json, read by every command that reads archives",
    seen="not trusted",
    told="manifest.json is not as it was written, or what in it is no manifest's",
    goes_on="take the run from where it was kept, or run the phase again",
)
def test_a_changed_manifest_is_not_trusted(run: Path) -> None:
    octets = (run / MANIFEST).read_bytes()
    for seed in range(SEEDS * 2):
        rnd = random.Random(f"manifest {seed}")
        (run / MANIFEST).write_bytes(change_json(rnd, octets))
        require_told(read_by_everything(run), cause=MANIFEST, next_step=NEXT_STEP)
        assert MANIFEST in problems(verify(run))


# --- made to hurt whoever reads it ------------------------------------------------------------------------------


def inside(text: str) -> Callable[[Path], None]:
    """Put a text in front of what a record holds."""

    def do(folder: Path) -> None:
        path = folder / "02_backup.json"
        path.write_text("{" + text + path.read_text("utf-8")[1:], "utf-8")

    return do


def linked(target: str, name: str = "03_baseline_migration.json") -> Callable[[Path], None]:
    def do(folder: Path) -> None:
        (folder / name).unlink(missing_ok=True)
        (folder / name).symlink_to(target.format(outside=folder.parent.parent.parent / "outside"))

    return do


def pipe(folder: Path) -> None:
    (folder / "04_prisma_resolve.json").unlink()
    os.mkfifo(folder / "04_prisma_resolve.json")


def sparse(folder: Path) -> None:
    os.truncate(folder / "06_api_routes.json", 1 << 40)


def bomb(folder: Path) -> None:
    """Two GiB of zeros, packed twice: some kilobytes."""
    (folder / "backup" / "rows.dat.gz").write_bytes(gzip.compress(gzip.compress(b"\0" * (1 << 24)) * 128))


def listed(name: str) -> Callable[[Path], None]:
    """Have the manifest list a file that is not the run's own."""

    def do(folder: Path) -> None:
        content = json.loads((folder / MANIFEST).read_text("utf-8"))
        content["files"][name] = {"sha256": "0" * 64, "size_bytes": 0}
        (folder / MANIFEST).write_bytes(canonical(content))

    return do


def file_named(name: bytes) -> Callable[[Path], None]:
    def do(folder: Path) -> None:
        Path(os.fsdecode(os.fsencode(folder) + b"/" + name)).write_text("x", "utf-8")

    return do


def deep(folder: Path) -> None:
    at = folder
    for _ in range(200):
        at = at / "d"
        at.mkdir()
    (at / "file").write_text("x", "utf-8")


HOSTILE: tuple[tuple[str, Callable[[Path], None], str], ...] = (
    ("a record with a key that stands twice", inside('"step": "x",'), "02_backup.json"),
    ("a record nested 100,000 deep", inside('"x": ' + "[" * 100_000 + "]" * 100_000 + ","), "02_backup.json"),
    ("a record with a number beyond all numbers", inside('"x": 1e999,'), "02_backup.json"),
    ("a record with a number of 100,000 digits", inside('"x": ' + "9" * 100_000 + ","), "02_backup.json"),
    ("a record with NaN", inside('"x": NaN,'), "02_backup.json"),
    ("a record with a key of four megabytes", inside('"' + "k" * (1 << 22) + '": 0,'), "02_backup.json"),
    ("a link to a file outside of the run", linked("{outside}/secret.json"), "03_baseline_migration.json"),
    ("a link to a folder outside of the run", linked("{outside}", "more"), "more"),
    ("a link by .. to a file outside of the run", linked("../../../outside/secret.json"), "03_baseline_migration.json"),
    ("a link to a device that never ends", linked("/dev/zero"), "03_baseline_migration.json"),
    ("a link to itself", linked("03_baseline_migration.json"), "03_baseline_migration.json"),
    ("a pipe that nobody writes to", pipe, "04_prisma_resolve.json"),
    ("a file as long as a disk, of holes alone", sparse, "06_api_routes.json"),
    ("a packed file that grows to gigabytes", bomb, "rows.dat.gz"),
    ("folders nested 200 deep", deep, "more files or folders"),
    ("a manifest that lists ../../../etc/passwd", listed("../../../etc/passwd"), "etc/passwd"),
    ("a manifest that lists /etc/passwd", listed("/etc/passwd"), "/etc/passwd"),
    ("a manifest that lists a name with NUL", listed("a\0b"), "a\\x00b: "),
    ("a file whose name has a line break", file_named(b"a\nPASS: trusted"), "PASS: trusted"),
    ("a file whose name steers the terminal", file_named(b"a\x1b[2J\x1b]0;x\x07"), "the manifest does not list it"),
    ("a file whose name runs from right to left", file_named("a\u202egpj.exe".encode()), "the manifest does not"),
    ("a file whose name is no UTF-8", file_named(b"a\xff\xfe"), "the manifest does not list it"),
    ("a file whose name is HTML", file_named(b"<img src=x onerror=alert(1)>"), "onerror"),
)  # fmt: skip


@fault(
    kind="input",
    fault="{hostile}",
    injected="put into the folder of a real sealed run, which every command reads that reads archives",
    seen="not trusted; nothing outside of the folder is read, no hang, no exploding memory",
    told="the file's name, with what would steer a terminal spelled out, and what is the matter with it",
    goes_on="delete what was put there, or take the run from where it was kept",
    fast=True,
)
@pytest.mark.parametrize(("hostile", "make", "named"), HOSTILE, ids=[each[0] for each in HOSTILE])
def test_what_is_made_to_hurt_is_named(
    run: Path, hostile: str, make: Callable[[Path], None], named: str
) -> None:
    make(run)
    peak_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    told = read_by_everything(run)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - peak_kib < MORE_KIB
    assert problems(verify(run))
    require_told(told, cause=re.escape(named), next_step=NEXT_STEP)
    assert not set(told) & {"\x1b", "\x07", "\u202e", "\0"}
    assert "\nPASS: trusted" not in told
    assert not (run.parent.parent / "sent.zip").exists(), "what is not trusted was exported"


@fault(
    kind="input",
    fault="an exported run is unpacked somewhere",
    injected="a real sealed run, exported",
    seen="each entry of the zip file is a plain file below the run's own folder",
    told="nothing",
    goes_on="sha256sum --check, as README.txt in it says",
    fast=True,
)
def test_an_export_unpacks_where_it_is_told_to(run: Path, lab: Lab, tmp_path: Path) -> None:
    before = dumps(lab)
    done = CliRunner().invoke(commands, ("export", str(run), "--out", str(tmp_path / "sent.zip")))
    assert done.exit_code == 0, done.output
    with zipfile.ZipFile(tmp_path / "sent.zip") as packed:
        for entry in packed.infolist():
            assert not Path(entry.filename).is_absolute()
            assert ".." not in Path(entry.filename).parts
            assert entry.external_attr >> 16 == 0o100644
            assert entry.file_size == len(packed.read(entry))
    require_unchanged(before, dumps(lab))
