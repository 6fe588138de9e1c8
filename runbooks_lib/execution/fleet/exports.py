"""A fleet run for machines: JUnit, a suite for each database and a case for each step; and metrics."""

from __future__ import annotations

from collections import Counter
from xml.etree.ElementTree import Element, SubElement, indent, tostring

from runbooks_lib.execution.fleet.record import Fleet, Member
from runbooks_lib.findings import CLOSING, Verdict
from runbooks_lib.report.junit import legal
from runbooks_lib.report.metrics import Sample, written

_CHILD = {Verdict.FAIL: "failure", Verdict.ERROR: "error", Verdict.OPEN: "skipped", Verdict.SKIP: "skipped"}
HELP = {
    "runbooks_fleet_verdict": "The verdict of the fleet run: 1 for the one that it has, 0 for the others.",
    "runbooks_fleet_complete": "Whether every database of the fleet came to its end: 1, else 0.",
    "runbooks_fleet_databases": "How many databases of the fleet are in each state.",
    "runbooks_fleet_end_timestamp_seconds": "When the fleet run ended or was stopped, in seconds since 1970.",
    "runbooks_fleet_database_verdict": "The verdict at each database: 1 for the one that it has.",
    "runbooks_fleet_database_duration_seconds": "How long the run at each database took.",
}


def junit(fleet: Fleet) -> str:
    """Return the JUnit report of a fleet run: OPEN and SKIP are skipped, what did not begin is an error."""
    root = Element("testsuites")
    for number, member in enumerate(fleet.members):
        _suite(root, fleet, member, number)
    indent(root)
    return f'<?xml version="1.0" encoding="UTF-8"?>\n{tostring(root, encoding="unicode")}\n'


def _suite(root: Element, fleet: Fleet, member: Member, number: int) -> None:
    ended = member.ended
    cases = list(ended.steps.items())
    if ended.state != "done" and not any(verdict in (Verdict.FAIL, Verdict.ERROR) for _, verdict in cases):
        cases.append(("comes to its end", ended.verdict if ended.verdict in CLOSING else Verdict.ERROR))
    children = [_CHILD.get(verdict, "") for _, verdict in cases]
    attributes = {
        "name": legal(member.name),
        "package": legal(fleet.phase.id),
        "id": str(number),
        "timestamp": fleet.started_at[:19],
        "hostname": legal(fleet.operator.host or "localhost"),
        "tests": str(len(cases)),
        "failures": str(children.count("failure")),
        "errors": str(children.count("error")),
        "skipped": str(children.count("skipped")),
        "time": f"{ended.duration_s:.3f}",
    }
    suite = SubElement(root, "testsuite", attributes)
    SubElement(suite, "properties")
    for (step, verdict), child in zip(cases, children, strict=True):
        name = legal(f"{fleet.phase.id}.{member.name}")
        case = SubElement(suite, "testcase", classname=name, name=step, time="0")
        if child:
            why = _why(member, step) if child in ("failure", "error") else ""
            told = SubElement(case, child, message=legal(f"{verdict}: {why}" if why else str(verdict)))
            if child != "skipped":
                told.set("type", "step")
    SubElement(suite, "system-out")
    SubElement(suite, "system-err")


def _why(member: Member, step: str) -> str:
    of_step = [f"{stop.check} {stop.object}: {stop.have}" for stop in member.ended.stops if stop.step == step]
    return "; ".join(of_step) or member.ended.reason or "it has not begun"


def metrics(fleet: Fleet) -> str:
    """Return the metrics of a fleet run, for node_exporter's textfile collector."""
    states = Counter(each.ended.state for each in fleet.members)
    ended = fleet.finished_at or fleet.stopped_at
    families: dict[str, list[Sample]] = {
        "runbooks_fleet_verdict": [({"verdict": v.value}, float(v is fleet.verdict)) for v in Verdict],
        "runbooks_fleet_complete": [({}, float(fleet.finished_at is not None))],
        "runbooks_fleet_databases": [
            ({"state": state}, states[state]) for state in ("done", "stopped", "lost", "waiting")
        ],
        "runbooks_fleet_end_timestamp_seconds": [({}, ended.seconds)] if ended else [],
        "runbooks_fleet_database_verdict": [
            ({"database": each.name, "verdict": each.ended.verdict.value}, 1.0)
            for each in fleet.members
            if each.ended.verdict
        ],
        "runbooks_fleet_database_duration_seconds": [
            ({"database": each.name}, each.ended.duration_s)
            for each in fleet.members
            if each.ended.state != "waiting"
        ],
    }
    return written(families, HELP, {"phase": fleet.phase.id, "mode": fleet.mode})
