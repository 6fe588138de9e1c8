"""Is the way back still there? The dumps of step 2 are read again where a later step stands on them."""

from __future__ import annotations

from pathlib import Path

from runbooks_lib.checks import Check
from runbooks_lib.errors import BackupError, RunbookError
from runbooks_lib.evidence import Evidence
from runbooks_lib.facts.databases import Dump, Dumps
from runbooks_lib.findings import Finding, could_not_run, judge
from runbooks_lib.phase import Phase
from runbooks_lib.postgres.dump.dump import DumpFile, read_dump
from runbooks_lib.steps.backup_data import verify_data


def way_back(phase: Phase, folder: Path | None, evidence: Evidence | None) -> tuple[Finding, ...]:
    """Read the dumps once more, before something is done that they are to undo: still there, whole, as recorded.

    `evidence` is what the steps of this run recorded, and `folder` is where the dumps lie. Reads files alone.
    No finding in a run that has made no backup, or without a folder.
    """
    if folder is None or evidence is None or not evidence.asked("backup", "dump"):
        return ()
    dumps = evidence.facts(Dumps).dumps
    findings: list[Finding] = []
    for name in phase.backup.targets:
        try:
            if name not in dumps:
                raise BackupError(f"There is no dump of target {name!r}.", "Run the step backup again.")
            file = folder / dumps[name].path
            found = read_dump(file)
            findings += [judge_unchanged(name, found, dumps[name]), judge_file(name, found)]
            if data := dumps[name].data:
                findings.extend(verify_data(name, folder, data))
        except RunbookError as error:
            findings.append(could_not_run(Check.DUMP_HASH_IS, name, "dump", error))
    return tuple(findings)


def judge_file(name: str, made: DumpFile) -> Finding:
    """Judge dump_is_whole for a schema's dump."""
    return judge(
        Check.DUMP_IS_WHOLE,
        name,
        made.path.name,
        have="whole" if made.complete and made.size_bytes else f"cut short after {made.size_bytes} bytes",
        want="whole",
        hint="pg_dump did not write its last line: do not trust this file, run the step again.",
    )


def judge_unchanged(name: str, found: DumpFile, noted: Dump) -> Finding:
    """Judge dump_hash_is for a schema's dump."""
    return judge(
        Check.DUMP_HASH_IS,
        name,
        found.path.name,
        have=found.sha256,
        want=noted.sha256,
        hint="The file changed since it was written: find out who did it, and dump again.",
    )
