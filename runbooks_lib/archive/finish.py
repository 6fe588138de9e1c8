"""The end of a run, complete or stopped: its pages, its exports, the last look for secrets, the seal."""

from __future__ import annotations

from pathlib import Path

from runbooks_lib.archive.exports import write_exports
from runbooks_lib.archive.keys import signing_key
from runbooks_lib.archive.pages import write_pages
from runbooks_lib.archive.run import Run, now
from runbooks_lib.archive.scan import scan
from runbooks_lib.archive.seal import seal
from runbooks_lib.errors import EvidenceError
from runbooks_lib.findings import CLOSING, Verdict, worst_of
from runbooks_lib.phase import STEPS


def finish(run: Run, *, key: Path | None = None) -> None:
    """Write what is made from a run's evidence, look for secrets, and seal the run.

    Signs with `key`, else with the key that RUNBOOKS_SIGNING_KEY names, else not at all.
    Raises EvidenceError when a secret stands in the folder, and notes in run.json that the run failed; and when
    something cannot be written. The run is not sealed then.
    """
    run.reopen()
    write_pages(run)
    write_exports(run)
    try:
        scan(run)
    except EvidenceError as error:
        run.update(verdict=Verdict.ERROR, finished_at=None, exit_code=error.exit_code, not_sealed=str(error))
        raise
    seal(run, key=signing_key(key))


def finish_by_hand(run: Run) -> None:
    """Finish a run whose notebooks were run one by one, without the runner: note how it ended, then as `finish`."""
    evidence = run.evidence()
    verdicts = [Verdict(record["verdict"] or Verdict.ERROR) for record in evidence.values()]
    worst = worst_of(verdicts)
    whole = set(evidence) == set(STEPS) and worst not in CLOSING
    ended = now()
    run.update(stopped_at=ended, finished_at=ended if whole else None, verdict=worst)
    finish(run)
