"""The end of a fleet run: its report, its exports, its seal over the seals of its runs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from runbooks_lib.archive.files import write_text
from runbooks_lib.archive.manifest import Manifest, alone
from runbooks_lib.archive.seal.keys import signing_key
from runbooks_lib.archive.seal.seal import chained, write_seal
from runbooks_lib.execution.fleet.exports import junit, metrics
from runbooks_lib.execution.fleet.folder import FleetFolder
from runbooks_lib.execution.fleet.record import Fleet
from runbooks_lib.execution.fleet.report import page, report
from runbooks_lib.report.language import languages
from runbooks_lib.typed import plain

STATEMENT_TYPE = "https://in-toto.io/Statement/v1"
PREDICATE_TYPE = "https://runbooks.invalid/fleet/v1"  # a name, not an address: nothing is fetched from there


def finish(folder: FleetFolder, fleet: Fleet, *, key: Path | None = None) -> None:
    """Write record, report and exports of a fleet run, and seal it; signed with `key`, else as a run is.

    fleet.json names the SHA-256 of each run's manifest, and the fleet's manifest that of fleet.json.
    Raises EvidenceError when something cannot be written.
    """
    folder.write(fleet)
    write_report(folder, fleet, folder.path)
    write_text(folder.path / "junit.xml", junit(fleet))
    write_text(folder.path / "metrics.prom", metrics(fleet))
    with alone(folder.path.parent):
        content = chained(
            folder.path, phase=fleet.phase.id, verdict=fleet.verdict, complete=fleet.finished_at is not None
        )
        write_seal(folder.path, content, lambda sha256: statement(fleet, content, sha256), signing_key(key))


def write_report(folder: FleetFolder, fleet: Fleet, to: Path) -> None:
    """Write the report of a fleet run as a page and as Markdown in each language. Raises EvidenceError."""
    write_text(to / "report.html", page(folder, fleet, to))
    for lang in languages():
        write_text(to / f"report.{lang}.md", report(folder, fleet, to, lang))


def statement(fleet: Fleet, manifest: Manifest, manifest_sha256: str) -> dict[str, Any]:
    """Return the in-toto Statement of a fleet run: its files and the runs' manifests as subjects."""
    files = {name: file.sha256 for name, file in manifest.files.items()}
    subjects = {**files, "manifest.json": manifest_sha256}
    return {
        "_type": STATEMENT_TYPE,
        "subject": [{"name": name, "digest": {"sha256": digest}} for name, digest in subjects.items()],
        "predicateType": PREDICATE_TYPE,
        "predicate": plain(
            {
                "fleet": fleet.id,
                "phase": fleet.phase,
                "mode": fleet.mode,
                "hash": fleet.hash or None,
                "planned": fleet.planned or None,
                "verdict": manifest.verdict,
                "complete": manifest.complete,
                "sealed_at": manifest.sealed_at,
                "previous": manifest.previous,
                "runs": {
                    each.name: {
                        "run": each.run,
                        "manifest": each.ended.manifest,
                        "verdict": each.ended.verdict,
                    }
                    for each in fleet.members
                },
            }
        ),
    }
