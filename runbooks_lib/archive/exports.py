"""What other machines read of a run: junit.xml and metrics.prom, in its folder."""

from __future__ import annotations

from runbooks_lib.archive.files import write_text
from runbooks_lib.archive.junit import junit
from runbooks_lib.archive.metrics import metrics
from runbooks_lib.archive.run import Run

JUNIT = "junit.xml"
METRICS = "metrics.prom"


def write_exports(run: Run) -> None:
    """Write junit.xml and metrics.prom from the run's header and evidence, complete or stopped; writing again replaces.

    Raises EvidenceError when they cannot be written, or the evidence cannot be read.
    """
    header, evidence = run.header(), run.evidence()
    write_text(run.path / JUNIT, junit(header, evidence))
    write_text(run.path / METRICS, metrics(header, evidence))
