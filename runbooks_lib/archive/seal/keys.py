"""Keys for signing runs: ed25519, in PEM files that other tools read too."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from runbooks_lib.errors import EvidenceError, PreconditionFailed

if TYPE_CHECKING:
    from securesystemslib.signer import CryptoSigner, SSlibKey

KEY_VARIABLE = "RUNBOOKS_SIGNING_KEY"
PRIVATE = "runbooks_ed25519"
PUBLIC = f"{PRIVATE}.pub"
ALGORITHM = "ed25519"


def signing_key(explicit: Path | None = None) -> Path | None:
    """Return the file of the private key to sign with: `explicit`, else RUNBOOKS_SIGNING_KEY; None without one."""
    given = explicit or os.environ.get(KEY_VARIABLE)
    return Path(given).expanduser().absolute() if given else None


def generate(folder: Path) -> tuple[Path, Path]:
    """Make a pair of keys in `folder`; return the files of the private one (mode 0600) and of the public one.

    A folder without a `.gitignore` gets one, so that git picks up neither the keys nor itself.
    Raises PreconditionFailed when one of the files is there already: a key is never overwritten.
    """
    from securesystemslib.signer import CryptoSigner

    signer = CryptoSigner.generate_ed25519()
    private, public = folder / PRIVATE, folder / PUBLIC
    made: list[Path] = []
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for path, content, mode in (
            (private, signer.private_bytes, 0o600),
            (public, _pem(signer.public_key), 0o644),
        ):
            handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
            made.append(path)
            with os.fdopen(handle, "wb") as stream:
                stream.write(content)
    except OSError as error:
        for path in made:
            path.unlink(missing_ok=True)
        if isinstance(error, FileExistsError):
            raise PreconditionFailed(
                f"{error.filename} exists already, and a key is never overwritten.",
                "Name another folder with --out DIR.",
            ) from error
        raise PreconditionFailed(
            f"The keys could not be written to {folder}: {error.strerror or error}.",
            "Name a folder that you may write to with --out DIR.",
        ) from error
    with suppress(FileExistsError), open(folder / ".gitignore", "x", encoding="utf-8") as stream:
        stream.write(f"{PRIVATE}\n{PUBLIC}\n.gitignore\n")
    return private, public


def load_private(path: Path) -> CryptoSigner:
    """Load an unencrypted ed25519 key in PEM.

    Raises EvidenceError when the file cannot be read or holds something else; nothing of it is in the message.
    """
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.serialization import load_pem_private_key
    from securesystemslib.signer import CryptoSigner

    try:
        signer = CryptoSigner(load_pem_private_key(_read(path), password=None))
    except (ValueError, TypeError, UnsupportedAlgorithm):
        signer = None
    if signer is None or signer.public_key.keytype != ALGORITHM:
        raise EvidenceError(
            f"{path} is no ed25519 private key in PEM, unencrypted.", "Make one: runbooks keygen."
        )
    return signer


def load_public(path: Path) -> SSlibKey:
    """Load an ed25519 public key in PEM. Raises EvidenceError when the file is missing or holds something else."""
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.serialization import load_pem_public_key
    from securesystemslib.signer import SSlibKey

    try:
        key = SSlibKey.from_crypto(load_pem_public_key(_read(path)))
    except (ValueError, TypeError, UnsupportedAlgorithm):
        key = None
    if key is None or key.keytype != ALGORITHM:
        raise EvidenceError(
            f"{path} is no ed25519 public key in PEM.",
            f"Give the public half of the pair that `runbooks keygen` made: {PUBLIC}.",
        )
    return key


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise EvidenceError(
            f"The key {path} cannot be read: {error.strerror or error}.", "Name the file of a key in PEM."
        ) from error


def _pem(key: SSlibKey) -> bytes:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    public = Ed25519PublicKey.from_public_bytes(bytes.fromhex(key.keyval["public"]))
    return public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
