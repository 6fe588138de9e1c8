"""A run as metrics: for node_exporter's textfile collector, and valid OpenMetrics.

Gauges only, without time stamps of their own: the collector refuses those, and knows no `info`. The run's id is on
one series alone, so that a new run does not make every series new.
Source: https://github.com/prometheus/node_exporter#textfile-collector, https://prometheus.io/docs/specs/om/open_metrics_spec/
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping

from runbooks_lib.evidence import Evidence
from runbooks_lib.findings import Verdict

Sample = tuple[dict[str, str], float]
HELP = {
    "runbooks_run_info": "The run that the other series tell of; always 1.",
    "runbooks_run_verdict": "The verdict of the run: 1 for the one that it has, 0 for the others.",
    "runbooks_run_complete": "Whether the run came to its end: 1, else 0.",
    "runbooks_run_start_timestamp_seconds": "When the run began, in seconds since 1970.",
    "runbooks_run_end_timestamp_seconds": "When the run ended or was stopped, in seconds since 1970.",
    "runbooks_step_verdict": "The verdict of each step: 1 for the one that it has, 0 for the others.",
    "runbooks_step_duration_seconds": "How long each step took.",
    "runbooks_findings": "Findings of each step by verdict.",
    "runbooks_standby_lag_bytes": "Bytes of WAL that a standby was behind, as the step measured it.",
}


def metrics(evidence: Evidence) -> str:
    """Return the run's metrics."""
    common = {"phase": evidence.header.phase.id, "mode": evidence.header.mode}
    return written(_families(evidence), HELP, common)


def written(families: Mapping[str, list[Sample]], told: Mapping[str, str], common: Mapping[str, str]) -> str:
    """Return families of gauges as they are exposed: what each is `told` to be, and labels that all have in common."""
    lines = []
    for name, samples in families.items():
        if samples:
            lines += [f"# HELP {name} {_escaped(told[name], quotes=False)}", f"# TYPE {name} gauge"]
            lines += [f"{name}{_labels({**common, **labels})} {_number(value)}" for labels, value in samples]
    return "\n".join([*lines, "# EOF\n"])


def _families(evidence: Evidence) -> dict[str, list[Sample]]:
    header, records = evidence.header, evidence.records
    counted = Counter((each.step, each.finding.verdict) for each in evidence.judged())
    ended = header.ended_at
    info = {
        "run": header.id,
        "phase_digest": header.phase.digest,
        "user": header.operator.user,
        "host": header.operator.host,
        "version": header.versions.get("runbooks", ""),
    }
    lag = ((step, *each) for step, record in records.items() for each in record.lag_bytes.items())
    return {
        "runbooks_run_info": [(info, 1)],
        "runbooks_run_verdict": list(_states({}, evidence.verdict)),
        "runbooks_run_complete": [({}, float(bool(header.finished_at)))],
        "runbooks_run_start_timestamp_seconds": [({}, header.started_at.seconds)],
        "runbooks_run_end_timestamp_seconds": [({}, ended.seconds)] if ended else [],
        "runbooks_step_verdict": [
            s for step, had in evidence.verdicts.items() for s in _states({"step": step}, had)
        ],
        "runbooks_step_duration_seconds": [({"step": s}, t) for s, t in evidence.durations_s.items()],
        "runbooks_findings": [
            ({"step": step, "verdict": each.value}, counted[step, each])
            for step in records
            for each in Verdict
        ],
        "runbooks_standby_lag_bytes": [({"standby": s, "step": step}, size) for step, s, size in lag],
    }


def _states(labels: dict[str, str], had: Verdict) -> Iterator[Sample]:
    for verdict in Verdict:
        yield labels | {"verdict": verdict.value}, float(verdict is had)


def _labels(labels: Mapping[str, str]) -> str:
    return "{" + ",".join(f'{name}="{_escaped(value)}"' for name, value in labels.items()) + "}"


def _escaped(text: str, *, quotes: bool = True) -> str:
    escaped = text.replace("\\", "\\\\").replace("\n", "\\n")
    return escaped.replace('"', '\\"') if quotes else escaped


def _number(value: float) -> str:
    return str(int(value)) if float(value).is_integer() else repr(float(value))
