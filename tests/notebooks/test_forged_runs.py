"""Runs that were forged with care: the manifest agrees again, and still they are named."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from runbooks_lib.archive.manifest import ATTESTATION, MANIFEST, canonical, digests, read
from runbooks_lib.archive.run import Run
from runbooks_lib.archive.seal.keys import load_private, load_public
from runbooks_lib.archive.seal.seal import seal
from runbooks_lib.archive.seal.verify import Verification, verify
from runbooks_lib.archive.store.remote import upload
from runbooks_lib.errors import EvidenceError
from runbooks_lib.execution.finish import finish, finish_by_hand

RUNBOOKS = Path(sys.executable).with_name("runbooks")
Edit = Callable[[Path], None]


@pytest.fixture
def phase(odd_runs: Any, tmp_path: Path) -> Path:
    """A copy of the phase's folder: a plan and its apply, sealed and signed."""
    folder = tmp_path / odd_runs.plan.parent.name
    shutil.copytree(odd_runs.plan.parent, folder)
    return folder


@pytest.fixture
def plan(phase: Path, odd_runs: Any) -> Path:
    return phase / odd_runs.plan.name


@pytest.fixture
def apply(phase: Path, odd_runs: Any) -> Path:
    return phase / odd_runs.apply.name


def mend(folder: Path) -> None:
    """Make the manifest agree with the files again, as one would who can write but not sign."""
    content = {**json.loads((folder / MANIFEST).read_text("utf-8")), "files": digests(folder)}
    header = json.loads((folder / "run.json").read_text("utf-8"))
    content |= {"verdict": header["verdict"], "complete": header["finished_at"] is not None}
    (folder / MANIFEST).write_bytes(canonical(content))


def problems(found: Verification) -> list[tuple[str, str]]:
    assert not found.trusted
    return [(problem.kind.value, problem.where) for problem in found.problems]


def notebook(name: str, edit: Callable[[list[Any]], None]) -> Edit:
    def apply_to(folder: Path) -> None:
        path = folder / name
        content = json.loads(path.read_text("utf-8"))
        edit([cell for cell in content["cells"] if cell["cell_type"] == "code"])
        path.write_text(json.dumps(content), "utf-8")

    return apply_to


def record(name: str, edit: Callable[[dict[str, Any]], None]) -> Edit:
    def apply_to(folder: Path) -> None:
        path = folder / name
        content = json.loads(path.read_text("utf-8"))
        edit(content)
        path.write_text(json.dumps(content), "utf-8")

    return apply_to


def shows_less(cells: list[Any]) -> None:
    for output in cells[3]["outputs"]:
        if "text/markdown" in output["data"]:
            output["data"]["text/markdown"] = "✔ 1 PASS"


def swap_two(cells: list[Any]) -> None:
    cells[3]["execution_count"], cells[5]["execution_count"] = 6, 4


def move_code(cells: list[Any]) -> None:
    cells[3]["source"], cells[5]["source"] = cells[5]["source"], cells[3]["source"]


def inject_code(cells: list[Any]) -> None:
    cells[1]["source"] = "phase = 'x'\nimport os"


def skip_one(cells: list[Any]) -> None:
    cells[4]["execution_count"] = None


def stop_early(cells: list[Any]) -> None:
    cells[4]["outputs"] = [{"output_type": "error", "ename": "GateClosed", "evalue": "", "traceback": []}]


def own_code(cells: list[Any]) -> None:
    cells[4]["source"] = "print('Gate passed')"


def close_verdict(cells: list[Any]) -> None:
    for output in cells[-1]["outputs"]:
        for kind in ("text/html", "text/plain"):
            if kind in output["data"]:
                output["data"][kind] = "".join(output["data"][kind]).replace("PASS", "OPEN")


def better(content: dict[str, Any]) -> None:
    content["verdict"] = "PASS"


def drop_finding(content: dict[str, Any]) -> None:
    del next(iter(content["answers"].values()))["findings"][0]


def fail_one(content: dict[str, Any]) -> None:
    next(iter(content["answers"].values()))["findings"][0]["verdict"] = "FAIL"


def extra_answer(content: dict[str, Any]) -> None:
    content["answers"]["invented"] = next(iter(content["answers"].values()))


def append(path: Path) -> None:
    path.write_text(path.read_text("utf-8") + "-- All is well.\n", "utf-8")


def of_another_run(content: dict[str, Any]) -> None:
    content["run"] = "20200101T000000Z-000000"


FORGERIES: list[tuple[str, Edit, tuple[str, str]]] = [
    (
        "fewer findings shown",
        notebook("01_preflight.ipynb", shows_less),
        ("contradicts", "01_preflight.ipynb"),
    ),
    ("two counts swapped", notebook("01_preflight.ipynb", swap_two), ("reordered", "01_preflight.ipynb")),
    ("two cells swapped", notebook("01_preflight.ipynb", move_code), ("reordered", "01_preflight.ipynb")),
    ("code injected", notebook("01_preflight.ipynb", inject_code), ("other code", "01_preflight.ipynb")),
    ("a cell not executed", notebook("01_preflight.ipynb", skip_one), ("not executed", "01_preflight.ipynb")),
    (
        "a stop in the middle",
        notebook("01_preflight.ipynb", stop_early),
        ("not executed", "01_preflight.ipynb"),
    ),
    ("a gate of one's own", notebook("01_preflight.ipynb", own_code), ("other code", "01_preflight.ipynb")),
    ("a verdict shown", notebook("01_preflight.ipynb", close_verdict), ("contradicts", "01_preflight.ipynb")),
    ("a record's verdict", record("06_api_routes.json", better), ("contradicts", "06_api_routes.json")),
    ("a finding dropped", record("02_backup.json", drop_finding), ("contradicts", "02_backup.ipynb")),
    ("a finding worse", record("02_backup.json", fail_one), ("contradicts", "02_backup.json")),
    ("an answer invented", record("02_backup.json", extra_answer), ("contradicts", "02_backup.json")),
    ("another run's record", record("02_backup.json", of_another_run), ("replaced", "02_backup.json")),
    ("a run's verdict", record("run.json", better), ("contradicts", "run.json")),
    ("a record removed", lambda f: (f / "02_backup.json").unlink(), ("removed", "02_backup.json")),
    ("a notebook removed", lambda f: (f / "02_backup.ipynb").unlink(), ("removed", "02_backup.ipynb")),
    ("a report", lambda f: append(f / "report.fr.md"), ("contradicts", "report.fr.md")),
    ("a report removed", lambda f: (f / "report.en.md").unlink(), ("removed", "report.en.md")),
    (
        "a dump",
        lambda f: append(next((f / "backup").glob("*_keybuzz.sql"))),
        ("contradicts", "backup/*_keybuzz.sql"),
    ),
    ("half a record", lambda f: (f / "02_backup.json").write_text('{"answers": {'), ("contradicts", "-")),
    ("a record of nothing", lambda f: (f / "02_backup.json").write_text("{}"), ("contradicts", "-")),
]


@pytest.mark.parametrize(("edit", "named"), [f[1:] for f in FORGERIES], ids=[f[0] for f in FORGERIES])
def test_a_forgery_whose_hashes_agree_is_named_even_without_a_key(
    apply: Path, edit: Edit, named: tuple[str, str], odd_runs: Any
) -> None:
    edit(apply)
    mend(apply)
    (apply / ATTESTATION).unlink()
    kind, where = named
    assert any(found == kind and fnmatchcase(name, where) for found, name in problems(verify(apply)))


def test_with_the_signature_left_the_edited_file_and_the_manifest_are_named(
    apply: Path, odd_runs: Any
) -> None:
    path = apply / "report.en.md"
    path.write_text(path.read_text("utf-8").replace("a", "b", 1), "utf-8")
    mend(apply)
    found = problems(verify(apply, key=odd_runs.public))
    assert ("changed", "report.en.md") in found
    assert ("changed", MANIFEST) in found


@pytest.mark.parametrize("name", [MANIFEST, ATTESTATION])
@pytest.mark.parametrize("share", [0, 0.3, 0.99])
def test_a_seal_cut_short_is_named(apply: Path, odd_runs: Any, name: str, share: float) -> None:
    content = (apply / name).read_bytes()
    (apply / name).write_bytes(content[: int(len(content) * share)])
    assert name in {where for _, where in problems(verify(apply, key=odd_runs.public))}


@pytest.mark.parametrize("name", [MANIFEST, ATTESTATION])
def test_a_seal_that_says_the_same_otherwise_written_is_named(apply: Path, odd_runs: Any, name: str) -> None:
    content = json.loads((apply / name).read_bytes())
    (apply / name).write_text(json.dumps(content, indent=3), "utf-8")
    assert name in {where for _, where in problems(verify(apply, key=odd_runs.public))}


def test_links_are_named_and_not_followed(apply: Path, odd_runs: Any, tmp_path: Path) -> None:
    report = apply / "report.en.md"
    (tmp_path / "same").write_bytes(report.read_bytes())
    report.unlink()
    report.symlink_to(tmp_path / "same")
    (apply / "more").symlink_to(tmp_path)
    found = problems(verify(apply, key=odd_runs.public))
    assert ("changed", "report.en.md") in found
    assert ("added", "more") in found


@pytest.mark.parametrize(
    "name", ["a\nb", "ü 'x\" .md", os.fsdecode(b"caf\xe9"), "-rf", "\x1b[31m", ".hidden"]
)
def test_names_of_any_kind_are_sealed_and_named(plan: Path, apply: Path, odd_runs: Any, name: str) -> None:
    """Sealed with them, the run is whole; without them, each is named."""
    run = Run.open(apply)
    run.reopen()
    (apply / "backup" / name).write_text("x")
    seal(run, key=odd_runs.private)
    assert verify(apply, key=odd_runs.public, chain=True).problems == ()
    (apply / "backup" / name).unlink()
    assert ("removed", f"backup/{name}") in problems(verify(apply, key=odd_runs.public))
    done = subprocess.run([str(RUNBOOKS), "verify", str(apply)], capture_output=True, check=False)
    assert done.returncode == 1
    assert b"\x1b" not in done.stdout


def test_swapped_runs_are_named(plan: Path, apply: Path, odd_runs: Any) -> None:
    aside = plan.with_name("aside")
    plan.rename(aside)
    apply.rename(plan)
    aside.rename(apply)
    for folder in (plan, apply):
        assert ("replaced", MANIFEST) in problems(verify(folder, key=odd_runs.public))
    assert ("chain", plan.name) in problems(verify(plan, chain=True))


def test_a_run_removed_from_the_chain_is_named(plan: Path, apply: Path) -> None:
    shutil.rmtree(plan)
    assert verify(apply).trusted
    found = verify(apply, chain=True)
    assert problems(found) == [("chain", apply.name)]
    assert "missing" in found.problems[0].what


def test_the_files_of_every_run_in_the_chain_are_verified(plan: Path, apply: Path, odd_runs: Any) -> None:
    """One that forges an older run, and leaves the seal as it is, is named by run and file."""
    better_report = plan / "report.en.md"
    better_report.write_text(better_report.read_text("utf-8") + "All is well.\n", "utf-8")
    (plan / "run.json").unlink()
    assert verify(apply, key=odd_runs.public).trusted
    found = problems(verify(apply, key=odd_runs.public, chain=True))
    assert {("changed", f"{plan.name}/report.en.md"), ("removed", f"{plan.name}/run.json")} <= set(found)
    assert all(where.startswith(f"{plan.name}/") for _, where in found)
    (plan / ATTESTATION).unlink()
    assert ("unsigned", f"{plan.name}/{ATTESTATION}") in problems(
        verify(apply, key=odd_runs.public, chain=True)
    )


def test_a_run_from_before_there_was_a_key_is_told_from_one_that_lost_its_signature(
    plan: Path, apply: Path, odd_runs: Any
) -> None:
    for path in (plan, apply):
        (path / MANIFEST).unlink()
        (path / ATTESTATION).unlink()
    seal(Run.open(plan))
    seal(Run.open(apply), key=odd_runs.private)
    found = verify(apply, key=odd_runs.public, chain=True)
    assert found.problems == ()
    assert any(plan.name in note and "before there was a key" in note for note in found.notes)
    assert ("unsigned", ATTESTATION) in problems(verify(plan, key=odd_runs.public, chain=True))
    (plan / "report.en.md").write_text("All is well.\n", "utf-8")
    assert ("changed", f"{plan.name}/report.en.md") in problems(
        verify(apply, key=odd_runs.public, chain=True)
    )


def test_the_newest_run_removed_is_named_by_the_digest_that_was_kept(plan: Path, apply: Path) -> None:
    def command(run: Path, *options: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [str(RUNBOOKS), "verify", str(run), *options], capture_output=True, text=True, check=False
        )

    kept = json.loads(command(plan, "--chain", "--json").stdout)["chain"]
    assert kept == {"runs": [plan.name, apply.name], "head": read(apply).sha256}
    assert f"the newest {apply.name}, its manifest {kept['head']}" in command(plan, "--chain").stdout
    for head in (kept["head"], kept["head"].upper(), read(plan).sha256):  # there may be newer ones by then
        assert command(plan, "--head", head).returncode == 0
    shutil.rmtree(apply)
    assert command(plan, "--chain").returncode == 0
    done = command(plan, "--head", kept["head"])
    assert done.returncode == 1
    assert f"no run has the manifest {kept['head']}" in done.stdout


def test_a_chain_is_verified_where_it_was_uploaded_to(
    plan: Path, apply: Path, odd_runs: Any, tmp_path: Path
) -> None:
    url = f"file://{tmp_path}/store/runs"
    for folder in (plan, apply):
        upload(Run.open(folder), url)

    def command() -> subprocess.CompletedProcess[str]:
        where, key = f"{url}/{apply.parent.name}/{apply.name}", str(odd_runs.public)
        options = ("--key", key, "--head", read(apply).sha256)
        return subprocess.run(
            [str(RUNBOOKS), "verify", where, *options], capture_output=True, text=True, check=False
        )

    assert command().returncode == 0, command().stdout
    append(tmp_path / "store" / "runs" / plan.parent.name / plan.name / "report.fr.md")
    done = command()
    assert done.returncode == 1
    assert f"{plan.name}/report.fr.md" in done.stdout


def test_a_run_replaced_by_itself_sealed_anew_is_named(plan: Path, apply: Path) -> None:
    (plan / MANIFEST).unlink()
    (plan / ATTESTATION).unlink()
    (plan / "report.html").write_text("another", "utf-8")
    seal(Run.open(plan))
    assert ("chain", apply.name) in problems(verify(apply, chain=True)) or ("chain", plan.name) in problems(
        verify(apply, chain=True)
    )


def test_a_run_that_another_follows_is_not_opened_again(plan: Path, apply: Path) -> None:
    with pytest.raises(EvidenceError, match="has chained onto it"):
        Run.open(plan).reopen()
    assert (plan / MANIFEST).exists()
    Run.open(apply).reopen()
    assert not (apply / MANIFEST).exists()
    assert not (apply / ATTESTATION).exists()
    Run.open(plan).reopen()  # nothing follows it now


def test_a_key_of_another_kind_is_refused(apply: Path, tmp_path: Path) -> None:
    other = ec.generate_private_key(ec.SECP256R1())
    private, public = tmp_path / "private", tmp_path / "public"
    private.write_bytes(other.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    public.write_bytes(other.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    with pytest.raises(EvidenceError, match="no ed25519"):
        verify(apply, key=public)
    with pytest.raises(EvidenceError, match="no ed25519"):
        load_private(private)
    with pytest.raises(EvidenceError, match="no ed25519"):
        load_public(private)
    with pytest.raises(EvidenceError, match="cannot be read"):
        load_public(tmp_path / "none")


def test_an_older_version_of_the_notebooks_is_told_apart(
    apply: Path, monkeypatch: pytest.MonkeyPatch, odd_runs: Any
) -> None:
    """Its own digest proves its code; with another code, it is not the version that it names."""
    monkeypatch.setattr("runbooks_lib.archive.seal.consistency.code_digest", lambda: "0" * 64)
    found = verify(apply, key=odd_runs.public)
    assert found.problems == ()
    assert sum("another version of the notebooks" in note for note in found.notes) == 7
    notebook("01_preflight.ipynb", own_code)(apply)
    mend(apply)
    (apply / ATTESTATION).unlink()
    assert ("other code", "01_preflight.ipynb") in problems(verify(apply))


def cpu_s(*command: str) -> float:
    """Return the CPU time of a command: the least of three, for a busy machine."""
    used = []
    for _ in range(3):
        before = os.times()
        subprocess.run(command, capture_output=True, check=True)
        after = os.times()
        used.append(
            after.children_user + after.children_system - before.children_user - before.children_system
        )
    return min(used)


def test_verifying_is_quick(apply: Path, odd_runs: Any) -> None:
    """A few times the CPU of a Python that imports what it is built on; absolute times differ by machine."""
    floor = cpu_s(sys.executable, "-c", "import click, cryptography.hazmat.primitives.serialization, msgspec")
    assert cpu_s(str(RUNBOOKS), "verify", str(apply), "--key", str(odd_runs.public)) < 6 * floor


def test_a_run_by_hand_is_sealed_and_says_that_it_has_no_notebooks(apply: Path) -> None:
    """As JupyterLab leaves it: records, and a header that no runner has closed."""
    run = Run.open(apply)
    run.reopen()
    for path in [*apply.glob("*.ipynb"), *apply.glob("*.html")]:
        path.unlink()
    header = run.header_json()
    (apply / "run.json").write_text(
        json.dumps({k: v for k, v in header.items() if k not in ("steps", "digests")} | {"verdict": None})
    )
    finish_by_hand(run)
    found = verify(apply, chain=True)
    assert found.problems == ()
    assert found.manifest is not None
    assert found.manifest.complete
    assert sum("run by hand" in note for note in found.notes) == 7


def test_a_run_that_holds_a_secret_fails_and_is_not_sealed(
    apply: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SOME_SECRET", "a-secret-that-somebody-typed")
    run = Run.open(apply)
    run.reopen()
    (apply / "backup" / "notes.txt").write_text("it is a-secret-that-somebody-typed", "utf-8")
    with pytest.raises(
        EvidenceError, match=r"backup/notes\.txt holds that of environment variable SOME_SECRET"
    ):
        finish(run)
    assert not run.sealed
    assert run.header().verdict == "ERROR"
    assert run.header().finished_at is None
    assert problems(verify(apply)) == [("incomplete", MANIFEST)]
