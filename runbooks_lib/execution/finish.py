"""The end of a run, complete or stopped: its pages, its exports, the last look for secrets, the seal."""

from __future__ import annotations

from pathlib import Path

from runbooks_lib.archive.files import write_text
from runbooks_lib.archive.run import Run, now
from runbooks_lib.archive.seal.keys import signing_key
from runbooks_lib.archive.seal.seal import seal
from runbooks_lib.archive.seal.secret_scan import scan
from runbooks_lib.errors import EvidenceError, ExecutionError, RunbookError
from runbooks_lib.findings import CLOSING, Verdict, worst_of
from runbooks_lib.report.html.pages import write_pages
from runbooks_lib.report.junit import junit
from runbooks_lib.report.metrics import metrics

JUNIT = "junit.xml"
METRICS = "metrics.prom"


def finish(run: Run, *, key: Path | None = None) -> None:
    """Write what is made from a run's evidence, look for secrets, and seal the run.

    Signs with `key`, else with the key that RUNBOOKS_SIGNING_KEY names, else not at all.
    Raises EvidenceError when a secret stands in the folder, or a file is not as it was recorded, and notes in run.json
    that the run failed; and when something cannot be written. The run is not sealed then. Raises ExecutionError when
    the pages cannot be drawn: the run is sealed without them, and run.json says that it failed.
    """
    run.reopen()
    try:
        undrawn = _draw(run)
        scan(run)
        seal(run, key=signing_key(key))
    except EvidenceError as error:
        _note(run, error, "not_sealed")
        raise
    if undrawn is not None:
        raise undrawn


def write_exports(run: Run) -> None:
    """Write junit.xml and metrics.prom from the run's header and evidence, complete or stopped; writing again replaces.

    Raises EvidenceError when they cannot be written, or the evidence cannot be read.
    """
    evidence = run.evidence()
    write_text(run.path / JUNIT, junit(evidence))
    write_text(run.path / METRICS, metrics(evidence))


def _draw(run: Run) -> ExecutionError | None:
    """Write the pages and exports; note and return why a defect kept them from being drawn."""
    try:
        write_pages(run)
        write_exports(run)
    except RunbookError:
        raise
    except Exception as error:  # noqa: BLE001 -- what is no report must not cost the evidence
        undrawn = ExecutionError(
            f"The pages of the run could not be drawn: {type(error).__name__}: {error}.",
            "The evidence is kept. This is a defect of the runbooks: report it.",
        )
        _note(run, undrawn, "not_drawn")
        return undrawn
    return None


def _note(run: Run, error: RunbookError, key: str) -> None:
    run.update(verdict=Verdict.ERROR, finished_at=None, exit_code=error.exit_code, **{key: str(error)})


def finish_by_hand(run: Run) -> None:
    """Finish a run whose notebooks were run one by one, without the runner: note how it ended, then as `finish`."""
    evidence = run.evidence()
    worst = worst_of(record.verdict or Verdict.ERROR for record in evidence.records.values())
    whole = not evidence.missing_steps and worst not in CLOSING
    ended = now()
    run.update(stopped_at=ended, finished_at=ended if whole else None, verdict=worst)
    finish(run)
