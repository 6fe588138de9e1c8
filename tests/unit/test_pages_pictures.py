"""The pictures of the report: what they say, in both languages, also of runs in which things are missing."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ET
from collections.abc import Callable
from functools import cache
from itertools import combinations, pairwise
from pathlib import Path
from typing import Any

import pytest

from runbooks_lib.evidence import Evidence
from runbooks_lib.phase import STEPS, load_phase
from runbooks_lib.report.pictures.lag import lag_curve
from runbooks_lib.report.pictures.matrix import matrix
from runbooks_lib.report.pictures.timeline import LEFT, PAUSE_WIDTH, WIDTH, layout, timeline
from runbooks_lib.report.pictures.topology import topology

EVIDENCE = Path(__file__).parent / "evidence"
PHASE = load_phase("PH15-AMAZON-DB-FOUNDATION-01")
SVG = "{http://www.w3.org/2000/svg}"
Json = dict[str, Any]


@cache
def stored(run: str) -> str:
    return json.dumps(
        {
            step: json.loads((EVIDENCE / run / f"{n:02d}_{step}.json").read_text("utf-8"))
            for n, step in enumerate(STEPS, start=1)
        }
    )


def evidence_of(run: str = "applied") -> Json:
    records: Json = json.loads(stored(run))
    return records


def recorded(evidence: Json) -> Evidence:
    header = json.loads((EVIDENCE / "applied" / "run.json").read_text("utf-8"))
    return Evidence.from_json(header, evidence, EVIDENCE)


def facts(evidence: Json, step: str, question: str) -> Json:
    found: Json = evidence[step]["answers"][question]["facts"]
    return found


def texts(svg: str) -> list[str]:
    """Return the texts of a picture without its title and description; it must be well-formed."""
    return ["".join(e.itertext()).strip() for e in ET.fromstring(svg).iter(f"{SVG}text")]


def with_two_samples(evidence: Json) -> Json:
    samples = [("2026-11-24T09:00:00.000+00:00", 4096), ("2026-11-24T09:00:00.500+00:00", 0)]
    seen = [{"at": at, "lag_bytes": size} for at, size in samples]
    lag = {"replica": {"lag_bytes": 4096, "receiver": "streaming", "samples": seen}}
    evidence["report"]["answers"]["last_look"]["facts"]["lag"] = lag
    return evidence


PICTURES: dict[str, Callable[[Json, str], str]] = {
    "topology": lambda evidence, lang: topology(PHASE, recorded(evidence), lang),
    "matrix": lambda evidence, lang: matrix(PHASE, recorded(evidence), lang),
    "timeline": lambda evidence, lang: timeline(recorded(evidence), lang),
    "lag": lambda evidence, lang: lag_curve(recorded(with_two_samples(evidence)), lang) or "",
}


@pytest.mark.parametrize("name", PICTURES)
@pytest.mark.parametrize("lang", ["en", "fr"])
@pytest.mark.parametrize("run", ["applied", "planned"])
def test_a_picture_is_well_formed_and_has_a_text_alternative(name: str, lang: str, run: str) -> None:
    root = ET.fromstring(PICTURES[name](evidence_of(run), lang))
    assert root.tag == f"{SVG}svg"
    assert root.get("role") == "img"
    title, description = root.find(f"{SVG}title"), root.find(f"{SVG}desc")
    assert title is not None
    assert description is not None
    assert root.get("aria-labelledby") == f"{title.get('id')} {description.get('id')}"
    assert title.text
    assert len(description.text or "") > 40


@pytest.mark.parametrize("name", PICTURES)
def test_a_picture_is_described_in_each_language(name: str) -> None:
    english, french = (ET.fromstring(PICTURES[name](evidence_of(), lang)) for lang in ("en", "fr"))
    for part in ("title", "desc"):
        assert english.findtext(f"{SVG}{part}") != french.findtext(f"{SVG}{part}")


@pytest.mark.parametrize("name", sorted(PICTURES.keys() - {"timeline"}))  # its words are names and verdicts
def test_a_picture_speaks_each_language(name: str) -> None:
    assert texts(PICTURES[name](evidence_of(), "en")) != texts(PICTURES[name](evidence_of(), "fr"))


@pytest.mark.parametrize("name", ["topology", "matrix", "timeline"])
def test_a_run_of_which_nothing_is_known_has_a_picture(name: str) -> None:
    ET.fromstring(PICTURES[name]({}, "en"))


# Topology


def test_the_topology_has_servers_roles_tables_and_the_lag() -> None:
    said = texts(PICTURES["topology"](evidence_of(), "en"))
    assert sum("LEADER, read and write" in text for text in said) == 1
    assert sum("REPLICA, read only" in text for text in said) == 1
    assert said.count("tables: 5 of 5") == 2
    assert "tables: 5 of 5 (0 when the run began)" in said
    assert "streaming" in said
    assert "0 bytes behind" in said


def test_a_server_that_did_not_answer_is_drawn_as_such() -> None:
    evidence = evidence_of()
    del facts(evidence, "preflight", "targets")["targets"]["replica"]
    del facts(evidence, "preflight", "replication")["lag"]["replica"]
    for step, question in (("preflight", "schema"), ("report", "last_look")):
        del facts(evidence, step, question)["targets"]["replica"]
    said = texts(PICTURES["topology"](evidence, "en"))
    assert "no answer" in said
    assert "tables not seen" in said
    assert "not seen" in said  # the arrow


# Matrix


def cells(evidence: Json, name: str) -> list[str]:
    """Return what the matrix says of one object: one text for each target, and for the databases elsewhere."""
    said = texts(PICTURES["matrix"](evidence, "en"))
    at = next(i for i, text in enumerate(said) if text.startswith(name.removeprefix("public.")))
    return said[at + 1 : at + 1 + len(PHASE.targets)]


def test_the_matrix_says_what_was_there_and_what_the_run_created() -> None:
    assert cells(evidence_of(), "public.OAuthState") == ["✔ 5 rows", "✔ 5 rows", "+ created"]
    assert cells(evidence_of(), "public.MarketplaceSyncState") == ["✔ empty", "✔ empty", "+ created"]
    assert cells(evidence_of(), "public.MarketplaceType") == ["✔ there", "✔ there", "+ created"]
    assert cells(evidence_of("planned"), "public.OAuthState")[2] == "○ planned"


def test_the_matrix_names_every_declared_object() -> None:
    said = texts(PICTURES["matrix"](evidence_of(), "en"))
    declared = [o.name for o in (*PHASE.tables, *PHASE.enums, *PHASE.indexes)]
    assert all(any(t.startswith(name.removeprefix("public.")[:40]) for t in said) for name in declared)


def test_the_matrix_tells_absent_different_and_unseen_apart() -> None:
    evidence = evidence_of()
    last = evidence["report"]["answers"]["last_look"]
    del last["facts"]["targets"]["leader"]["tables"]["public.OAuthState"]
    row = {"object": "public.OAuthState", "have": "x", "want": "y", "verdict": "FAIL", "hint": ""}
    last["findings"].append({**row, "check": "has_table", "target": "leader"})
    last["findings"].append({**row, "check": "columns_are", "target": "legacy"})
    for step, question in (("preflight", "schema"), ("report", "last_look")):
        del facts(evidence, step, question)["targets"]["replica"]
    assert cells(evidence, "public.OAuthState") == ["✕ not there", "not seen", "≠ different"]


# Timeline


def test_the_timeline_has_every_step_and_question_with_verdict_and_duration() -> None:
    evidence = evidence_of()
    said = texts(timeline(recorded(evidence), "en"))
    for step, record in evidence.items():
        assert step in said
        assert f"{record['duration_s']:.2f} s" in said
        for question, answer in record["answers"].items():
            assert question in said
            assert f"{answer['duration_s']:.2f} s" in said
    assert "◌ OPEN" in said


def test_bars_are_in_order_and_in_the_picture() -> None:
    bars, pauses = layout(recorded(evidence_of()))
    steps = [bar for bar in bars if bar.question is None]
    assert [bar.step for bar in steps] == list(STEPS)
    assert all(bar.x >= LEFT and bar.x + bar.width <= WIDTH for bar in bars)
    assert all(one.x + one.width <= two.x + 2 for one, two in pairwise(steps))
    assert pauses == ()


def test_a_pause_of_days_does_not_press_the_work_together() -> None:
    evidence = evidence_of()
    for step in STEPS[3:]:
        record = evidence[step]
        for part in (record, *record["answers"].values()):
            part["started_at"] = part["started_at"].replace("2026-11-24", "2026-11-27")
    bars, (pause,) = layout(recorded(evidence))
    assert pause.duration_s == pytest.approx(3 * 86_400, rel=0.01)
    assert max(bar.x + bar.width for bar in bars) - LEFT > 300
    assert sum(bar.width for bar in bars if bar.question is None) > 150


def test_what_is_said_of_pauses_that_are_close_does_not_overlap() -> None:
    evidence = evidence_of()
    for number, step in enumerate(STEPS):
        record = evidence[step]
        for part in (record, *record["answers"].values()):
            part["started_at"] = part["started_at"].replace("2026-11-24", f"2026-11-{24 + number // 2 * 2}")
    _, pauses = layout(recorded(evidence))
    assert len(pauses) == 3
    for one, two in combinations(pauses, 2):
        assert one.line != two.line or abs(one.x - two.x) >= PAUSE_WIDTH
    assert max(pause.line for pause in pauses) > 0
    assert all(
        f"pause of {pause.duration_s} s" in texts(timeline(recorded(evidence), "en")) for pause in pauses
    )


def test_a_step_that_was_stopped_ends_with_its_last_answer() -> None:
    evidence = evidence_of()
    evidence["backup"] |= {"duration_s": None, "verdict": None}
    (bar,) = [bar for bar in layout(recorded(evidence))[0] if bar.step == "backup" and bar.question is None]
    assert bar.width > 2
    assert "… not closed" in texts(timeline(recorded(evidence), "en"))


# Lag


def test_one_sample_of_lag_is_no_curve() -> None:
    assert lag_curve(recorded(evidence_of()), "en") is None
    assert lag_curve(recorded({}), "en") is None


def test_two_samples_of_lag_are_a_curve() -> None:
    said = texts(PICTURES["lag"](evidence_of(), "en"))
    assert {"replica", "4.0 KiB", "0"} <= set(said)


def test_a_standby_that_was_never_behind_has_nothing_to_show() -> None:
    evidence = with_two_samples(evidence_of())
    for sample in facts(evidence, "report", "last_look")["lag"]["replica"]["samples"]:
        sample["lag_bytes"] = 0
    assert lag_curve(recorded(evidence), "en") is None
