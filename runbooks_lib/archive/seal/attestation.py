"""attestation.dsse.json: an in-toto Statement about a run, in a DSSE envelope, signed with ed25519.

Sources: https://github.com/in-toto/attestation/blob/main/spec/v1/statement.md,
https://github.com/secure-systems-lab/dsse/blob/master/envelope.md
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from runbooks_lib.archive import reader
from runbooks_lib.archive.manifest import ATTESTATION, MANIFEST, Manifest, canonical
from runbooks_lib.archive.reader import NOT_UNDERSTOOD
from runbooks_lib.archive.run import Run
from runbooks_lib.archive.seal.keys import load_private
from runbooks_lib.errors import EvidenceError
from runbooks_lib.evidence import Evidence
from runbooks_lib.facts.databases import Targets
from runbooks_lib.facts.writing import Plan
from runbooks_lib.typed import plain

if TYPE_CHECKING:
    from securesystemslib.dsse import Envelope
    from securesystemslib.signer import SSlibKey

PAYLOAD_TYPE = "application/vnd.in-toto+json"
STATEMENT_TYPE = "https://in-toto.io/Statement/v1"
PREDICATE_TYPE = "https://runbooks.invalid/run/v1"  # a name, not an address: nothing is fetched from there


def statement(run: Run, manifest: Manifest, manifest_sha256: str) -> dict[str, Any]:
    """Return the Statement: every file and the manifest as subjects; what the run was and found as predicate."""
    evidence = run.evidence()
    header, records = evidence.header, evidence.records
    digests = {name: file.sha256 for name, file in manifest.files.items()}
    subjects = {**digests, MANIFEST: manifest_sha256}
    return {
        "_type": STATEMENT_TYPE,
        "subject": [{"name": name, "digest": {"sha256": digest}} for name, digest in subjects.items()],
        "predicateType": PREDICATE_TYPE,
        "predicate": plain(
            {
                "run": manifest.run,
                "phase": run.header_json()["phase"],
                "mode": header.mode,
                "plan_hash": evidence.facts(Plan).hash or None,
                "targets": [{**plain(target), **_system(evidence, target.name)} for target in header.targets],
                "verdict": manifest.verdict,
                "complete": manifest.complete,
                "verdicts": {step: record.verdict for step, record in records.items()},
                "code": {step: record.code for step, record in records.items()},
                "versions": header.versions,
                "started_at": header.started_at,
                "finished_at": header.finished_at,
                "sealed_at": manifest.sealed_at,
                "previous": manifest.previous,
            }
        ),
    }


def sign(content: Mapping[str, Any], key: Path) -> bytes:
    """Return the envelope of a Statement, signed, as the file's bytes. Raises EvidenceError when the key is none."""
    from securesystemslib.dsse import Envelope

    signer = load_private(key)
    envelope = Envelope(canonical(content), PAYLOAD_TYPE, {})
    envelope.sign(signer)
    return canonical(envelope.to_dict())


def read_envelope(folder: Path) -> tuple[Envelope, dict[str, Any]]:
    """Read the envelope of a run, and the Statement in it; the signature is not judged.

    Raises FileNotFoundError when the run is unsigned, EvidenceError when the file is not as `sign` writes it.
    """
    from securesystemslib.dsse import Envelope
    from securesystemslib.exceptions import FormatError

    path = folder / ATTESTATION
    octets = reader.read(folder, ATTESTATION)
    try:
        envelope = Envelope.from_dict(reader.parsed(octets))
        content = reader.parsed(envelope.payload, halves=True)
        same = canonical(envelope.to_dict()) == octets and canonical(content) == envelope.payload
        if not same or len(envelope.signatures) != 1 or envelope.payload_type != PAYLOAD_TYPE:
            raise ValueError("it is not as it was written")
    except (*NOT_UNDERSTOOD, FormatError) as error:
        raise EvidenceError(f"{path} is no attestation: {error}.", "It was changed or cut short.") from error
    return envelope, content


def key_id(envelope: Envelope) -> str:
    """Return the id of the key that an envelope says it was signed with."""
    return next(iter(envelope.signatures))


def is_signed_by(envelope: Envelope, key: SSlibKey) -> bool:
    """Tell whether the envelope's signature is that of a key."""
    from securesystemslib.exceptions import VerificationError

    try:
        envelope.verify([key], threshold=1)
    except VerificationError:
        return False
    return True


def _system(evidence: Evidence, target: str) -> dict[str, str | None]:
    who = evidence.facts(Targets).targets.get(target)
    return {
        "system_identifier": who.system_identifier if who else None,
        "server_version": who.server_version if who else None,
    }
