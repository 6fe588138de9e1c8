"""A run of the demo is sealed and signed; whatever is done to it afterwards, verify names it."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from runbooks_lib.archive.reader import sha256_of
from runbooks_lib.archive.seal.keys import generate
from runbooks_lib.archive.seal.problem import Kind
from runbooks_lib.archive.seal.verify import verify

PAGE = Path(__file__).resolve().parents[2] / "docs" / "evidence.md"
RUNBOOKS = Path(sys.executable).with_name("runbooks")


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    private, public = generate(tmp_path_factory.mktemp("keys"))
    return private, public


@pytest.fixture(scope="module")
def sealed(tmp_path_factory: pytest.TempPathFactory, keys: tuple[Path, Path]) -> Path:
    """The folder of a demo, signed."""
    runs = tmp_path_factory.mktemp("sealed")
    done = subprocess.run(
        [str(RUNBOOKS), "demo", "--runs", str(runs), "--key", str(keys[0])],
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    (folder,) = runs.glob("*/*/manifest.json")
    return folder.parent


@pytest.fixture
def copied(sealed: Path, tmp_path: Path) -> Path:
    folder = tmp_path / sealed.parent.name / sealed.name
    shutil.copytree(sealed, folder)
    return folder


def named(folder: Path, keys: tuple[Path, Path]) -> str:
    found = verify(folder, key=keys[1], chain=True)
    assert not found.trusted
    return " ".join(str(problem) for problem in found.problems)


def test_an_untouched_run_is_trusted(sealed: Path, keys: tuple[Path, Path]) -> None:
    found = verify(sealed, key=keys[1], chain=True)
    assert found.problems == ()
    assert found.trusted
    assert found.signed_by
    done = subprocess.run(
        [str(RUNBOOKS), "verify", str(sealed), "--key", str(keys[1])], capture_output=True, check=False
    )
    assert done.returncode == 0


def files_of(folder: Path) -> list[str]:
    return sorted(str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file())


@settings(deadline=None, max_examples=40, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_any_flipped_byte_is_named(sealed: Path, keys: tuple[Path, Path], data: st.DataObject) -> None:
    name = data.draw(st.sampled_from(files_of(sealed)))
    path = sealed / name
    content = path.read_bytes()
    position = data.draw(st.integers(0, len(content) - 1))
    flipped = bytes([content[position] ^ data.draw(st.integers(1, 255))])
    path.write_bytes(content[:position] + flipped + content[position + 1 :])
    try:
        assert Path(name).name in named(sealed, keys)
    finally:
        path.write_bytes(content)


@pytest.mark.parametrize(
    "name", ["01_preflight.json", "report.fr.md", "07_report.ipynb", "run.json", "plan/plan.json"]
)
def test_a_removed_file_is_named(copied: Path, keys: tuple[Path, Path], name: str) -> None:
    (copied / name).unlink()
    assert name in named(copied, keys)


def test_an_added_file_is_named(copied: Path, keys: tuple[Path, Path]) -> None:
    (copied / "backup" / "another.sql").write_text("SELECT 1;", encoding="utf-8")
    assert "backup/another.sql" in named(copied, keys)


def test_an_edited_output_with_its_hash_mended_is_named(copied: Path, keys: tuple[Path, Path]) -> None:
    """The manifest agrees again; the signature does not."""
    notebook = copied / "05_seed_verification.ipynb"
    notebook.write_text(notebook.read_text("utf-8").replace("VALIDATED", "FALSIFIED"), encoding="utf-8")
    manifest = copied / "manifest.json"
    content: dict[str, Any] = json.loads(manifest.read_text("utf-8"))
    content["files"][notebook.name] = {"sha256": sha256_of(notebook), "size_bytes": notebook.stat().st_size}
    manifest.write_text(json.dumps(content), encoding="utf-8")
    found = verify(copied, key=keys[1])
    assert not found.trusted
    assert found.problems


def test_a_run_under_another_ones_name_is_named(copied: Path, keys: tuple[Path, Path]) -> None:
    other = copied.with_name("20260101T000000Z-abcdef")
    copied.rename(other)
    assert "manifest.json" in named(other, keys)


def test_the_wrong_key_and_no_signature_are_named(
    copied: Path, keys: tuple[Path, Path], tmp_path: Path
) -> None:
    _, wrong = generate(tmp_path / "other")
    assert not verify(copied, key=wrong).trusted
    (copied / "attestation.dsse.json").unlink()
    assert [problem.kind for problem in verify(copied, key=keys[1]).problems] == [Kind.UNSIGNED]


def test_without_a_manifest_a_run_is_incomplete(copied: Path) -> None:
    (copied / "manifest.json").unlink()
    found = verify(copied)
    assert not found.trusted
    assert "not sealed" in str(found.problems)
    done = subprocess.run([str(RUNBOOKS), "verify", str(copied)], capture_output=True, check=False)
    assert done.returncode == 1


def public_tools(folder: Path, public: Path, tmp_path: Path) -> subprocess.CompletedProcess[str]:
    """Do as the page on evidence says: python3 without our code, openssl, sha256sum."""
    if shutil.which("openssl") is None:
        pytest.skip("openssl is not installed")
    (block,) = re.findall(r"```sh\n(python3 -c .*?)```", PAGE.read_text("utf-8"), re.DOTALL)
    commands = block.replace("/tmp/", f"{tmp_path}/").replace(" PUB ", f" {public} ")
    return subprocess.run(
        ["bash", "-e", "-c", commands], cwd=folder, capture_output=True, text=True, check=False
    )


def test_public_tools_verify_it_as_the_page_says(
    sealed: Path, keys: tuple[Path, Path], tmp_path: Path
) -> None:
    done = public_tools(sealed, keys[1], tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout == "Signature Verified Successfully\n"


def test_public_tools_name_a_changed_file_and_another_key(
    copied: Path, keys: tuple[Path, Path], tmp_path: Path
) -> None:
    (copied / "report.fr.md").write_text("all is well")
    done = public_tools(copied, keys[1], tmp_path)
    assert done.returncode != 0
    assert "report.fr.md: FAILED" in done.stdout
    done = public_tools(copied, generate(tmp_path)[1], tmp_path)
    assert done.returncode != 0
    assert "Signature Verification Failure" in done.stdout
