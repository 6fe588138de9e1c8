"""junit.xml: valid, complete, and with nothing in it that XML cannot hold."""

from __future__ import annotations

import re
from typing import Any
from xml.etree.ElementTree import Element, fromstring

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runbooks_lib.archive.run import Run
from runbooks_lib.execution.finish import write_exports
from runbooks_lib.report.junit import legal

STEPS = {
    "preflight": {
        "targets": [("target_role_is", "keybuzz_leader", "primary", "PASS")],
        "schema": [
            ("has_table", "public.OAuthState", "absent", "FAIL"),
            ("has_index", 'public."x" <&>', "could not be read", "ERROR"),
        ],
    },
    "api_routes": {
        "routes": [
            ("route_is_served", "GET /x", "HTTP 404", "OPEN"),
            ("source_has_route", "GET /x", "no tree", "SKIP"),
        ]
    },
}


def report(run: Run) -> Element:
    write_exports(run)
    return fromstring((run.path / "junit.xml").read_bytes())


def problems(root: Element) -> list[str]:
    """What the schemas of Ant's and Jenkins' reports would say, in our words."""
    found = []
    token = re.compile(r"\S(?:.*\S)?|")
    required = {"name", "package", "id", "timestamp", "hostname", "tests", "failures", "errors", "time"}
    children = {"properties": 0, "testcase": 1, "system-out": 2, "system-err": 3}
    if root.tag != "testsuites" or root.attrib:
        found.append("root")
    for number, suite in enumerate(root):
        order = [children.get(child.tag, -1) for child in suite]
        if suite.tag != "testsuite" or order != sorted(order) or -1 in order or {0, 2, 3} - set(order):
            found.append(f"suite {number}: {order}")
        if set(suite.attrib) != required | {"skipped"} or not suite.get("hostname") or not suite.get("name"):
            found.append(f"suite {number}: {suite.attrib}")
        if suite.get("id") != str(number) or not re.fullmatch(
            r"[\d-]{10}T[\d:]{8}", suite.get("timestamp", "")
        ):
            found.append(f"suite {number}: id or timestamp")
        for case in suite.iter("testcase"):
            if set(case.attrib) != {"name", "classname", "time"} or len(case) > 1:
                found.append(f"case {case.attrib}")
            if not all(token.fullmatch(case.get(name, "")) for name in ("name", "classname")):
                found.append(f"case {case.attrib}: token")
            if not re.fullmatch(r"\d+(\.\d+)?", case.get("time", "")):
                found.append(f"case {case.attrib}: time")
            for child in case:
                allowed = {"message"} if child.tag == "skipped" else {"type", "message"}
                if child.tag not in ("skipped", "error", "failure") or set(child.attrib) != allowed:
                    found.append(f"{child.tag} {child.attrib}")
        for name, tag in (
            ("failures", "failure"),
            ("errors", "error"),
            ("skipped", "skipped"),
            ("tests", "testcase"),
        ):
            if suite.get(name) != str(len(list(suite.iter(tag)))):
                found.append(f"suite {number}: {name}")
    return found


def test_each_finding_is_a_case_with_its_verdict(make_run: Any) -> None:
    root = report(make_run(STEPS))
    assert problems(root) == []
    cases = {
        c.get("name"): [(k.tag, k.get("type"), k.get("message")) for k in c] for c in root.iter("testcase")
    }
    assert cases == {
        "target_role_is leader keybuzz_leader": [],
        "has_table leader public.OAuthState": [("failure", "has_table", "absent")],
        'has_index leader public."x" <&>': [("error", "has_index", "could not be read")],
        "route_is_served leader GET /x": [("skipped", None, "OPEN: HTTP 404")],
        "source_has_route leader GET /x": [("skipped", None, "SKIP: no tree")],
    }
    first = next(root.iter("testcase"))
    assert first.get("classname") == "PH15-AMAZON-DB-FOUNDATION-01.preflight.targets"
    failure = next(root.iter("failure"))
    assert failure.text == "FAIL: have absent, want as declared. see to public.OAuthState"


def test_the_suites_are_the_steps_with_counts_and_times(make_run: Any) -> None:
    root = report(make_run(STEPS))
    told = [[s.get(n) for n in ("name", "tests", "failures", "errors", "skipped", "time")] for s in root]
    assert told == [
        ["preflight", "3", "1", "1", "0", "1.000"],
        ["api_routes", "2", "0", "0", "2", "0.500"],
    ]
    assert [float(c.get("time", "")) for c in root.iter("testcase")] == [0.5, 0.25, 0.25, 0.25, 0.25]
    assert {p.get("name"): p.get("value") for p in root[0].iter("property")} == {
        "run": "20260107T174759Z-3f9c2a", "mode": "plan", "verdict": "ERROR"
    }  # fmt: skip


def test_a_step_that_died_is_an_error(make_run: Any) -> None:
    """The kernel of step 2 died before it wrote a record, that of step 1 in the middle of its questions."""
    run = make_run({"preflight": {"targets": [("target_role_is", "x", "primary", "PASS")]}})
    steps = [{"step": s, "verdict": "ERROR", "duration_s": 1.0} for s in ("preflight", "backup")]
    run.update(steps=steps, verdict="ERROR", finished_at=None)
    root = report(run)
    assert problems(root) == []
    errors = [c for c in root.iter("testcase") if c.find("error") is not None]
    assert [(c.get("classname"), c.get("name")) for c in errors] == [
        ("PH15-AMAZON-DB-FOUNDATION-01.preflight", "comes to a verdict"),
        ("PH15-AMAZON-DB-FOUNDATION-01.backup", "comes to a verdict"),
    ]


def test_a_run_of_which_nothing_is_known_yet(make_run: Any) -> None:
    root = report(make_run({}, header={"finished_at": None, "verdict": None}))
    assert (root.tag, len(root)) == ("testsuites", 0)


@pytest.mark.parametrize(
    ("text", "written"),
    [
        ("\x1b[31mred\x00", "\\x1b[31mred\\x00"),
        ("tab\tline\nend\r", "tab\tline\nend\\r"),
        ("\ud800 \ufffe \uffff", "\\ud800 \\ufffe \\uffff"),
        ("é 🟡 &<>\"'", "é 🟡 &<>\"'"),
    ],
)
def test_what_xml_cannot_hold_is_shown_as_an_escape(text: str, written: str) -> None:
    assert legal(text) == written


@given(st.text())
def test_any_text_survives_the_parser(text: str) -> None:
    element = Element("x", have=legal(text))
    from xml.etree.ElementTree import tostring

    assert fromstring(tostring(element, encoding="unicode")).get("have") == legal(text)


def test_terminal_colours_in_a_finding_do_not_spoil_the_file(make_run: Any) -> None:
    row = ("prisma_answers", "\x1b[1mstatus\x00", "\x1b[31mP1001\ud800", "FAIL")
    root = report(make_run({"prisma_resolve": {"status": [row]}}))
    assert next(root.iter("failure")).get("message") == "\\x1b[31mP1001\\ud800"
    assert problems(root) == []
