"""What changed between two runs: findings that differ, are new or are gone, and the facts behind them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

from runbooks_lib.archive.judged import Evidence, durations_s, judged, plan_of, without_time
from runbooks_lib.archive.run import Run
from runbooks_lib.archive.shapes import understood
from runbooks_lib.findings import Finding

Key = tuple[str, str, str, str, str, int]
COMPARED = ("verdict", "have", "want")


def diff(a: Run, b: Run) -> dict[str, Any]:
    """Compare run `b` with the earlier run `a`. Reads both run folders; writes nothing.

    Returns plain JSON: `a` and `b` (id, phase, mode, verdict, started_at, folder), `same`, `findings` with
    `changed` (each with what `a` and `b` have), `new` and `vanished`, `facts` that differ (fact, a, b), and
    `durations_s` of the steps, which are no difference.
    Raises EvidenceError when a run cannot be read.
    """
    evidence = a.evidence(), b.evidence()
    headers = a.header(), b.header()
    findings = _findings(*evidence)
    with understood(b.path):
        facts = _differing(*(_facts(h, e) for h, e in zip(headers, evidence, strict=True)))
    return {
        "a": _short(a, headers[0]),
        "b": _short(b, headers[1]),
        "same": not facts and not any(findings.values()),
        "findings": findings,
        "facts": facts,
        "durations_s": _durations(*(durations_s(h, e) for h, e in zip(headers, evidence, strict=True))),
    }


def _short(run: Run, header: Mapping[str, Any]) -> dict[str, Any]:
    told = {name: header[name] for name in ("mode", "verdict", "started_at")}
    return {"id": run.id, "phase": header["phase"]["id"], **told, "folder": str(run.path)}


def _findings(a: Evidence, b: Evidence) -> dict[str, list[dict[str, Any]]]:
    before, after = _keyed(a), _keyed(b)
    changed = []
    for key, finding in after.items():
        had = before.get(key)
        if had is not None and _compared(had) != _compared(finding):
            changed.append(_where(key, finding) | {"a": _seen(had), "b": _seen(finding)})
    return {
        "changed": changed,
        "new": [_where(key, f) | _seen(f) for key, f in after.items() if key not in before],
        "vanished": [_where(key, f) | _seen(f) for key, f in before.items() if key not in after],
    }


def _keyed(evidence: Evidence) -> dict[Key, Finding]:
    """Return the findings by what they are about; of several about the same, the first is that of the other's first."""
    seen: Counter[tuple[str, ...]] = Counter()
    found: dict[Key, Finding] = {}
    for each in judged(evidence):
        about = (
            each.step,
            each.question,
            each.finding.check,
            each.finding.target,
            without_time(each.finding.object),
        )
        found[(*about, seen[about])] = each.finding
        seen[about] += 1
    return found


def _where(key: Key, finding: Finding) -> dict[str, str]:
    return {"step": key[0], "question": key[1], "check": key[2], "target": key[3], "object": finding.object}


def _seen(finding: Finding) -> dict[str, str]:
    return {name: str(getattr(finding, name)) for name in COMPARED}


def _compared(finding: Finding) -> tuple[str, ...]:
    return tuple(without_time(text) for text in _seen(finding).values())


def _facts(header: Mapping[str, Any], evidence: Evidence) -> dict[str, Any]:
    """Return the facts that matter, each by the name under which a reader finds it."""
    plan = plan_of(evidence)
    parts = dict(plan.get("parts", {}))
    backups = parts.pop("backup", {})
    parts.pop("services", None)  # those of the header, which every run has
    facts = {"phase": header["phase"]["id"], "phase's digest": header["phase"]["digest"]}
    facts |= {"mode": header["mode"], "verdict": header["verdict"], "plan's hash": plan.get("hash")}
    facts |= {f"service of {target['name']}": target["service"] for target in header.get("targets", ())}
    facts |= {f"plan: {part}": value for part, value in parts.items()}
    facts |= {f"plan: backup of {target}": value for target, value in backups.items()}
    facts |= {f"version of {name}": value for name, value in header["versions"].items()}
    facts |= _servers(evidence)
    facts |= _rows(evidence)
    return facts


def _servers(evidence: Evidence) -> dict[str, Any]:
    targets = _answer(evidence, "preflight", "targets").get("targets", {})
    return {
        f"{name} of {target}": seen.get(fact)
        for target, seen in targets.items()
        for name, fact in (("server's version", "server_version"), ("system_identifier", "system_identifier"))
    }


def _rows(evidence: Evidence) -> dict[str, Any]:
    """Return the row counts, as the last step counted them that did."""
    counted = dict(_answer(evidence, "seed_verification", "row_counts").get("rows", {}))
    for step in ("preflight", "report") if not counted else ():
        question = "schema" if step == "preflight" else "last_look"
        for target, seen in _answer(evidence, step, question).get("targets", {}).items():
            tables = seen.get("tables", {}) if isinstance(seen, Mapping) else {}
            counted[target] = {name: table.get("rows") for name, table in tables.items()}
    return {f"rows of {t} {name}": rows for t, tables in counted.items() for name, rows in tables.items()}


def _answer(evidence: Evidence, step: str, question: str) -> Mapping[str, Any]:
    facts: Mapping[str, Any] = evidence.get(step, {}).get("answers", {}).get(question, {}).get("facts", {})
    return facts


def _differing(a: Mapping[str, Any], b: Mapping[str, Any]) -> list[dict[str, Any]]:
    names = [*a, *(name for name in b if name not in a)]
    return [{"fact": n, "a": a.get(n), "b": b.get(n)} for n in names if a.get(n) != b.get(n)]


def _durations(a: Mapping[str, float], b: Mapping[str, float]) -> list[dict[str, Any]]:
    steps = [*a, *(step for step in b if step not in a)]
    return [{"step": step, "a": a.get(step), "b": b.get(step)} for step in steps]
