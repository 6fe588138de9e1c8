"""One file to send: verified without our code by the tools that its README names; whatever is done to it fails."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from runbooks_lib.archive.seal.export import export
from runbooks_lib.archive.seal.keys import generate
from runbooks_lib.archive.seal.verify import verify
from runbooks_lib.errors import EvidenceError

RUNBOOKS = Path(sys.executable).with_name("runbooks")


@pytest.fixture(scope="module")
def sent(odd_runs: object, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The applied and signed run, as the command line exports it."""
    file = tmp_path_factory.mktemp("sent") / "run.zip"
    done = subprocess.run(
        [str(RUNBOOKS), "export", str(odd_runs.apply), "--out", str(file)],  # type: ignore[attr-defined]
        capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (0, f"{file}\n"), done.stderr
    return file


@pytest.fixture
def unpacked(sent: Path, tmp_path: Path) -> Path:
    with zipfile.ZipFile(sent) as archive:
        archive.extractall(tmp_path)
    (folder,) = tmp_path.iterdir()
    return folder


def commands(folder: Path) -> list[str]:
    return re.findall(
        r"^  ((?:sha256sum|openssl|awk) .*)$", (folder / "README.txt").read_text("utf-8"), re.MULTILINE
    )


def verified(folder: Path, public: Path) -> subprocess.CompletedProcess[str]:
    """Do what the README of the file says, in a shell, with the real tools."""
    if shutil.which("openssl") is None:
        pytest.skip("openssl is not installed")
    script = "\n".join(commands(folder)).replace("PUBLIC_KEY", str(public))
    return subprocess.run(
        ["bash", "-e", "-o", "pipefail", "-c", script],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )


def test_verify_says_of_an_export_where_the_commands_are(unpacked: Path) -> None:
    found = verify(unpacked)
    assert not found.trusted  # it has no dumps
    assert "README.txt has the commands" in str(found.notes)


def test_what_was_sent_is_verified_by_real_tools(unpacked: Path, odd_runs: object) -> None:
    assert [line.split()[0] for line in commands(unpacked)] == ["sha256sum", "openssl", "awk"]
    done = verified(unpacked, odd_runs.public)  # type: ignore[attr-defined]
    assert (done.returncode, done.stdout) == (0, "Signature Verified Successfully\n"), done.stderr
    there = {p.name for p in unpacked.iterdir()}
    assert there >= {
        "report.html",
        "07_report.html",
        "01_preflight.json",
        "run.json",
        "manifest.json",
        "signed",
    }
    assert "backup" not in there
    assert "backup/schema_backup_" in (unpacked / "README.txt").read_text("utf-8")


def test_a_flipped_byte_in_any_file_fails(unpacked: Path, odd_runs: object) -> None:
    public = odd_runs.public  # type: ignore[attr-defined]
    for file in sorted(p for p in unpacked.rglob("*") if p.is_file()):
        octets = file.read_bytes()
        for at in (0, len(octets) // 2, len(octets) - 1):
            file.write_bytes(octets[:at] + bytes([octets[at] ^ 1]) + octets[at + 1 :])
            assert file.name == "README.txt" or verified(unpacked, public).returncode != 0, (file, at)
        file.write_bytes(octets)
    assert verified(unpacked, public).returncode == 0


def test_new_checksums_do_not_help_whoever_has_no_key(
    unpacked: Path, odd_runs: object, tmp_path: Path
) -> None:
    report = unpacked / "report.html"
    report.write_bytes(report.read_bytes().replace(b"OPEN", b"PASS"))
    sums = subprocess.run(
        "find . -type f ! -name SHA256SUMS -printf '%P\\0' | xargs -0 sha256sum > SHA256SUMS",
        shell=True, cwd=unpacked, check=False,
    )  # fmt: skip
    assert sums.returncode == 0
    done = verified(unpacked, odd_runs.public)  # type: ignore[attr-defined]
    assert done.returncode != 0
    assert "report.html: FAILED" in done.stdout
    another = generate(tmp_path / "another")[1]
    assert "Verification Failure" in verified(unpacked, another).stdout


def test_a_removed_file_is_named(unpacked: Path, odd_runs: object) -> None:
    (unpacked / "05_seed_verification.json").unlink()
    done = verified(unpacked, odd_runs.public)  # type: ignore[attr-defined]
    assert done.returncode != 0
    assert "05_seed_verification.json" in done.stdout + done.stderr


def test_the_same_run_gives_the_same_bytes_and_holds_no_secret(
    sent: Path, odd_runs: object, tmp_path: Path
) -> None:
    again = tmp_path / "again.zip"
    export(odd_runs.apply, again)  # type: ignore[attr-defined]
    assert again.read_bytes() == sent.read_bytes()
    with zipfile.ZipFile(sent) as archive:
        content = b"".join(archive.read(name) for name in archive.namelist())
    assert b"kb_backend" in content
    assert [s for s in odd_runs.secrets if s.encode() in content] == []  # type: ignore[attr-defined]


def _linked(folder: Path) -> None:
    (folder / "report.html").rename(folder.parent / "elsewhere.html")
    (folder / "report.html").symlink_to(folder.parent / "elsewhere.html")


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (_linked, "report.html"),
        (lambda folder: (folder / "manifest.json").unlink(), "not sealed"),
        (lambda folder: (folder / "new.txt").write_text("x"), "does not list it"),
        (lambda folder: (folder / "run.json").write_text("{}"), "run.json"),
        (lambda folder: (folder / "attestation.dsse.json").unlink(), "signed the run"),
    ],
    ids=["a link", "not sealed", "added", "changed", "its signature taken away"],
)
def test_what_is_not_whole_is_not_exported(
    odd_runs: object, tmp_path: Path, spoil: object, said: str
) -> None:
    source: Path = odd_runs.apply  # type: ignore[attr-defined]
    folder = tmp_path / source.parent.name / source.name
    shutil.copytree(source, folder)
    spoil(folder)  # type: ignore[operator]
    with pytest.raises(EvidenceError, match=re.escape(said)):
        export(folder, tmp_path / "run.zip")
    assert not (tmp_path / "run.zip").exists()


def test_nothing_is_overwritten_nor_put_into_the_run(odd_runs: object, tmp_path: Path) -> None:
    folder: Path = odd_runs.apply  # type: ignore[attr-defined]
    taken = tmp_path / "run.zip"
    taken.write_text("mine")
    with pytest.raises(EvidenceError, match="already"):
        export(folder, taken)
    assert taken.read_text() == "mine"
    with pytest.raises(EvidenceError, match="own folder"):
        export(folder, folder / "run.zip")


def test_git_picks_up_no_key(tmp_path: Path) -> None:
    subprocess.run(["git", "init", "-q", str(tmp_path)], check=True)
    generate(tmp_path / "keys")
    generate(tmp_path)
    seen = subprocess.run(
        ["git", "status", "--porcelain", "-uall"], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert seen.stdout == ""
