"""A run as a JUnit report, which every CI system shows: one test case for each finding.

FAIL is a failure, ERROR an error, OPEN and SKIP are skipped with the reason. Valid against the schema of Apache Ant's
reports and against that of Jenkins: properties, test cases, system-out, system-err, in that order, and no attributes
at the root.
Source: https://github.com/windyroad/JUnit-Schema
"""

from __future__ import annotations

from xml.etree.ElementTree import Element, SubElement, indent, tostring

from runbooks_lib.evidence import Evidence, Judged
from runbooks_lib.findings import Finding, Verdict
from runbooks_lib.phase import STEPS
from runbooks_lib.visible import visible_lines

_CHILD = {Verdict.FAIL: "failure", Verdict.ERROR: "error", Verdict.OPEN: "skipped", Verdict.SKIP: "skipped"}


def junit(evidence: Evidence) -> str:
    """Return the run's JUnit report."""
    root = Element("testsuites")
    cases = list(evidence.judged())
    steps, dead, phase = evidence.verdicts, evidence.unexplained, evidence.header.phase.id
    for number, step in enumerate(step for step in STEPS if step in steps):
        of_step = [case for case in cases if case.step == step]
        suite = _suite(root, evidence, step, number)
        _count(suite, of_step, dead=step in dead)
        for case in of_step:
            _case(suite, phase, case)
        if step in dead:
            _no_verdict(suite, phase, step)
        SubElement(suite, "system-out")
        SubElement(suite, "system-err")
    indent(root)
    return f'<?xml version="1.0" encoding="UTF-8"?>\n{tostring(root, encoding="unicode")}\n'


def legal(text: str) -> str:
    """Return the text with what XML cannot hold written as an escape that a reader sees: \\x1b."""
    return visible_lines(text)


def _suite(root: Element, evidence: Evidence, step: str, number: int) -> Element:
    header = evidence.header
    began = evidence.records[step].started_at if evidence.ran(step) else header.started_at
    attributes = {
        "name": step,
        "package": header.phase.id,
        "id": str(number),
        "timestamp": began[:19],  # UTC; the schema wants no zone and no fraction
        "hostname": header.operator.host or "localhost",
    }
    suite = SubElement(root, "testsuite", {name: legal(value) for name, value in attributes.items()})
    told = {"run": header.id, "mode": header.mode, "verdict": header.verdict or "none yet"}
    properties = SubElement(suite, "properties")
    for name, value in told.items():
        SubElement(properties, "property", name=name, value=legal(value))
    return suite


def _count(suite: Element, cases: list[Judged], *, dead: bool) -> None:
    children = [_CHILD.get(case.finding.verdict, "") for case in cases] + ["error"] * dead
    suite.set("tests", str(len(children)))
    for attribute, child in (("failures", "failure"), ("errors", "error"), ("skipped", "skipped")):
        suite.set(attribute, str(children.count(child)))
    suite.set("time", f"{sum(case.duration_s for case in cases):.3f}")  # Jenkins takes three digits


def _case(suite: Element, phase: str, case: Judged) -> None:
    finding = case.finding
    element = SubElement(
        suite,
        "testcase",
        classname=legal(f"{phase}.{case.step}.{case.question}"),
        name=legal(f"{finding.check} {finding.target} {finding.object}"),
        time=f"{case.duration_s:.6f}",
    )
    child = _CHILD.get(finding.verdict)
    if child is None:
        return
    told = SubElement(element, child, message=legal(_message(finding)))
    if child != "skipped":  # whose schema has no type
        told.set("type", finding.check)
    # Of those skipped there may be thousands; the record has the rest of each.
    if finding.verdict is not Verdict.SKIP:
        told.text = legal(
            f"{finding.verdict}: have {finding.have}, want {finding.want}. {finding.hint}".strip()
        )


def _message(finding: Finding) -> str:
    return f"{finding.verdict}: {finding.have}" if _CHILD[finding.verdict] == "skipped" else finding.have


def _no_verdict(suite: Element, phase: str, step: str) -> None:
    element = SubElement(suite, "testcase", classname=f"{phase}.{step}", name="comes to a verdict", time="0")
    told = SubElement(element, "error", type="no_verdict", message="the step ended without a verdict")
    told.text = "Its kernel died, a cell timed out, or it was interrupted: read the archived notebook."
