"""One file to send: a sealed run without its dumps, with what verifies it by sha256sum and openssl alone."""

from __future__ import annotations

import hashlib
import io
import os
import re
import zipfile
from pathlib import Path

from runbooks_lib.archive import reader
from runbooks_lib.archive.files import write_bytes
from runbooks_lib.archive.manifest import ATTESTATION, MANIFEST, README, SUMS, Manifest
from runbooks_lib.archive.seal.attestation import key_id, read_envelope
from runbooks_lib.archive.seal.verify import verify
from runbooks_lib.errors import EvidenceError
from runbooks_lib.visible import visible

STATEMENT, SIGNATURE = "signed/statement", "signed/signature"
LEFT_OUT = "backup/"  # dumps are pg_dump's own words: what is secret in a database is not masked in them
PERMISSIONS = 0o100644 << 16
EPOCH = (1980, 1, 1, 0, 0, 0)  # of every entry, so that the same run gives the same bytes
_PLAIN = re.compile(
    r"[\w.@+-]+(?:/[\w.@+-]+)*", re.ASCII
)  # a name that reads alike in JSON, in awk and in sha256sum

_HOW = """\
{phase}, run {run}, verdict {verdict}, {state}
sealed {sealed_at}

Open report.html. Verify what is here in this folder, with tools that every system has:

  sha256sum --check --strict --quiet {sums}

prints nothing when every file is as it was when this file was made.
"""
_SIGNED = """
The run was signed (ed25519, key {key}). With the public key of whoever ran it, which has to come to you another way:

  openssl pkeyutl -verify -pubin -inkey PUBLIC_KEY -rawin -in {statement} -sigfile {signature}

says "Signature Verified Successfully" (OpenSSL 3). What was signed names every file of the run and its SHA-256; that
the files here are those:

  awk -F'"' '/^      "name": /{{n=$4}} /^        "sha256": /{{print $4"  "n}}' {statement} \
| sha256sum --check --strict --quiet --ignore-missing
"""
_UNSIGNED = """
The run was not signed: the checksums show that nothing was damaged on the way, not who made it.
"""
_NOT_HERE = """
Left out, since dumps hold what the databases hold; {manifest} has their SHA-256:
{names}
"""


def export(folder: Path, out: Path) -> None:
    """Write a sealed run to `out`, a zip file: all but its dumps, checksums, and how to verify it without our code.

    The same run gives the same bytes. Reads the run's folder; a file that is no regular one of it is refused.
    Raises EvidenceError when the run is not sealed and whole, when `out` is there already or in the run's folder, and
    when it cannot be written.
    """
    if os.path.lexists(out):
        raise EvidenceError(
            f"{out} is there already; nothing was overwritten.", "Name another file: --out FILE."
        )
    if out.absolute().resolve().is_relative_to(folder.resolve()):
        raise EvidenceError(f"{out} is in the run's own folder.", "Name another file: --out FILE.")
    if not out.absolute().parent.is_dir():
        raise EvidenceError(f"There is no folder {out.absolute().parent}.", "Name another file: --out FILE.")
    found = verify(folder)
    if found.manifest is None or not found.trusted:
        first = f"{visible(found.problems[0].where)}: {found.problems[0].what}"
        raise EvidenceError(
            f"{folder} is not sealed and whole, so there is nothing to prove with it: {first}.",
            f"See what is the matter: runbooks verify {folder}. A stopped run is sealed by runbooks run --resume.",
        )
    write_bytes(out, _zipped(folder, found.manifest))


def _zipped(folder: Path, manifest: Manifest) -> bytes:
    names = [name for name in manifest.files if not name.startswith(LEFT_OUT)]
    content = {name: _read(folder, name, manifest.files[name].sha256) for name in names}
    content[MANIFEST] = reader.read(folder, MANIFEST)
    key = None
    if (folder / ATTESTATION).exists():
        content[ATTESTATION] = reader.read(folder, ATTESTATION)
        envelope, _ = read_envelope(folder)
        key = key_id(envelope)
        content[STATEMENT] = envelope.pae()
        content[SIGNATURE] = bytes.fromhex(envelope.signatures[key].signature)
    content[README] = _how(manifest, key).encode()
    content[SUMS] = "".join(
        f"{hashlib.sha256(octets).hexdigest()}  {name}\n" for name, octets in sorted(content.items())
    ).encode()
    return _packed(manifest.run, content)


def _read(folder: Path, name: str, sha256: str) -> bytes:
    """Return a file as it was sealed; since it was verified, somebody may have changed it. Raises EvidenceError."""
    if not _PLAIN.fullmatch(name):
        raise EvidenceError(
            f"{folder / name} has a name that tools read in different ways.", "It can't be sent."
        )
    octets = reader.read(folder, name)
    if hashlib.sha256(octets).hexdigest() != sha256:
        raise EvidenceError(f"{folder / name} is not as it was sealed.", f"runbooks verify {folder}")
    return octets


def _how(manifest: Manifest, key: str | None) -> str:
    dumps = "\n".join(f"  {name}" for name in manifest.files if name.startswith(LEFT_OUT))
    state = "complete" if manifest.complete else "stopped before its end"
    said = _HOW.format(
        phase=manifest.phase,
        run=manifest.run,
        verdict=manifest.verdict,
        state=state,
        sealed_at=manifest.sealed_at,
        sums=SUMS,
    )
    said += _SIGNED.format(key=key, statement=STATEMENT, signature=SIGNATURE) if key else _UNSIGNED
    return said + (_NOT_HERE.format(manifest=MANIFEST, names=dumps) if dumps else "")


def _packed(top: str, content: dict[str, bytes]) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, octets in sorted(content.items()):
            entry = zipfile.ZipInfo(f"{top}/{name}", EPOCH)
            entry.compress_type, entry.create_system, entry.external_attr = (
                zipfile.ZIP_DEFLATED,
                3,
                PERMISSIONS,
            )
            archive.writestr(entry, octets)
    return stream.getvalue()
