"""What people did in a run, as the report tells it: who confirmed the plan, who signed off what no program can see."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from runbooks_lib.archive.run import Run
from runbooks_lib.evidence import Evidence
from runbooks_lib.phase import STEPS, Phase, Text, load_phase
from runbooks_lib.report import document, markdown
from runbooks_lib.report.html.pages import write_pages

EVIDENCE = Path(__file__).parent / "evidence"
PHASE = load_phase("PH15-AMAZON-DB-FOUNDATION-01")
MANUAL = next(number for number, item in enumerate(PHASE.checklist) if item.manual)
AT = "2026-11-24T09:15:42.000Z"
NOTE = "12 messages seen, the oldest of | 7 January <b>"
Json = dict[str, Any]


@cache
def stored(run: str) -> Json:
    return {
        name: json.loads((EVIDENCE / run / f"{name}.json").read_text("utf-8"))
        for name in ("run", *(f"{number:02d}_{step}" for number, step in enumerate(STEPS, start=1)))
    }


def evidence_of(run: str = "applied") -> Json:
    files = copy.deepcopy(stored(run))
    return {step: files[f"{number:02d}_{step}"] for number, step in enumerate(STEPS, start=1)}


def recorded(header: Json, evidence: Json) -> Evidence:
    return Evidence.from_json(header, evidence, EVIDENCE)


def composed(evidence: Json, lang: str, run: str = "applied", phase: Phase = PHASE) -> str:
    return document.render(phase, recorded(stored(run)["run"], evidence), lang).text


def signed(evidence: Json, *, ticked: bool = True, **fields: Any) -> Json:
    """Add what the steps record when somebody signs the manual item off."""
    answers = evidence["report"]["answers"]
    text = dict(PHASE.checklist[MANUAL].text.by_language)
    signature = {"item": MANUAL, "text": text, "by": "Anne Martin", "note": NOTE, "at": AT} | fields
    answers["sign_off"] = {**answers["checklist"], "findings": [], "facts": {"signed": [signature]}}
    answers["checklist"]["facts"]["items"][MANUAL]["ticked"] = ticked
    return evidence


def confirmed(evidence: Json, **fields: Any) -> Json:
    """Add what the steps record when somebody confirms the plan."""
    answers = evidence["baseline_migration"]["answers"]
    given = {"confirmation": "keybuzz:83b9895f", "by": "Anne Martin", "at": AT} | fields
    found = [answers["apply"]["findings"][0]]
    answers["confirmation"] = {**answers["apply"], "findings": found, "facts": {"confirmed": given}}
    return evidence


@pytest.mark.parametrize(
    ("lang", "said"),
    [
        (
            "en",
            "- [x] The Admin UI reads real data — signed off by Anne Martin, November 24, 2026, 09:15:42 UTC: ",
        ),
        (
            "fr",
            "- [x] Admin UI lit données réelles — validé par Anne Martin, 24 novembre 2026, 09:15:42 UTC : ",
        ),
    ],
)
def test_an_item_that_was_signed_off_is_ticked_with_name_time_and_note(lang: str, said: str) -> None:
    text = composed(signed(evidence_of()), lang)
    (line,) = [line for line in text.splitlines() if line.startswith(said)]
    assert r"12 messages seen, the oldest of \| 7 January &lt;b&gt;" in line
    assert line.endswith("*(report · item_is_signed_off)*")
    assert {"en": "depends on the routes", "fr": "dépend des routes"}[lang] not in line
    assert {"en": "or signed off by a person", "fr": "ou validée par une personne"}[lang] in text


@pytest.mark.parametrize("lang", ["en", "fr"])
def test_a_signature_ticks_no_box_that_the_checklist_left_open(lang: str) -> None:
    for evidence in (signed(evidence_of(), ticked=False), signed(evidence_of(), item=99)):
        assert "Anne Martin" not in composed(evidence, lang)


def test_a_box_that_is_ticked_by_nobody_says_so() -> None:
    evidence = signed(evidence_of())
    evidence["report"]["answers"]["sign_off"]["facts"]["signed"] = []
    assert "- [x] The Admin UI reads real data — no finding to judge it by" in composed(evidence, "en")


@pytest.mark.parametrize(
    ("lang", "said"),
    [
        ("en", "- ✅ Confirmed with `keybuzz:83b9895f` by Anne Martin, November 24, 2026, 09:15:42 UTC"),
        ("fr", "- ✅ Confirmé avec `keybuzz:83b9895f` par Anne Martin, 24 novembre 2026, 09:15:42 UTC"),
    ],
)
def test_who_confirmed_the_plan_is_told(lang: str, said: str) -> None:
    assert f"{said} *(baseline_migration · plan_is_confirmed)*\n" in composed(confirmed(evidence_of()), lang)


@pytest.mark.parametrize("lang", ["en", "fr"])
def test_without_a_person_the_report_is_as_ever(lang: str) -> None:
    plain = composed(evidence_of(), lang)
    nobody = confirmed(evidence_of())
    for given in (None, {"confirmation": "keybuzz:83b9895f", "by": "", "at": AT}):
        nobody["baseline_migration"]["answers"]["confirmation"]["facts"]["confirmed"] = given
        nobody["baseline_migration"]["answers"]["confirmation"]["findings"] = []
        assert composed(nobody, lang) == plain
    assert "signed off" not in plain
    assert "validé par" not in plain


def test_both_languages_say_the_same_figures() -> None:
    evidence = confirmed(signed(evidence_of()))
    header = stored("applied")["run"]
    en, fr = (document.render(PHASE, recorded(header, evidence), lang) for lang in ("en", "fr"))
    assert markdown.figures(en.text, en.worded) == markdown.figures(fr.text, fr.worded)


@pytest.mark.parametrize(
    ("why", "pourquoi"),
    [
        ("health", "santé"),  # it stands in the code of the route, too
        ("1", "un"),  # and in longer numbers
        ("GET", "lire"),
        ("v1 `code` of it", "`code` de v1"),
        ("`/api/v1/health` says so", "selon `/api/v1/health`"),
    ],
)
def test_a_text_that_also_stands_in_code_fools_no_comparison(why: str, pourquoi: str) -> None:
    said = Text(by_language={"en": why, "fr": pourquoi})
    routes = tuple(
        replace(route, path=f"/api/v1/health/{n}", why=said) for n, route in enumerate(PHASE.routes)
    )
    phase = replace(PHASE, routes=routes)
    header = stored("applied")["run"]
    en, fr = (document.render(phase, recorded(header, evidence_of()), lang) for lang in ("en", "fr"))
    assert why in en.worded
    assert pourquoi in fr.worded
    assert markdown.figures(en.text, en.worded) == markdown.figures(fr.text, fr.worded)
    longer = fr.text.replace("/api/v1/health/0", "/api/v1/other/0")
    assert markdown.figures(en.text, en.worded) != markdown.figures(longer, fr.worded)


# A run that did not come to a good end says so at its head, and claims no more than it did.


def stopped(run: str) -> Json:
    evidence = evidence_of(run)
    for step in STEPS[1:]:
        del evidence[step]
    row = {"check": "has_table", "target": "leader", "object": "public.a", "have": "absent", "want": "there"}
    evidence["preflight"]["answers"]["schema"]["findings"] = [row | {"verdict": "FAIL", "hint": "Look."}]
    return evidence


@pytest.mark.parametrize("lang", ["en", "fr"])
def test_a_plan_that_was_stopped_did_not_look_at_everything(lang: str) -> None:
    head = composed(stopped("planned"), lang, "planned").split("## ")[0]
    everything = {"en": "looked at everything", "fr": "tout contrôlé"}[lang]
    assert everything not in head
    assert {"en": "did not come to a good end", "fr": "pas allé à son terme"}[lang] in head
    assert everything in composed(evidence_of("planned"), lang, "planned").split("## ")[0]


@pytest.mark.parametrize("lang", ["en", "fr"])
def test_a_run_that_was_stopped_after_it_had_applied_says_both(lang: str) -> None:
    evidence = evidence_of()
    for step in ("prisma_resolve", "seed_verification", "api_routes", "report"):
        del evidence[step]
    head = composed(evidence, lang).split("## ")[0]
    assert {"en": "**NOT COMPLETE**", "fr": "**INCOMPLET**"}[lang] in head
    assert {"en": "applied the baseline, and did not", "fr": "a appliqué la baseline et n'est pas"}[
        lang
    ] in head
    assert "🛑" not in composed(evidence_of(), lang).split("## ")[0]


@pytest.mark.parametrize("run", ["applied", "planned"])
def test_whatever_question_is_the_last_one_there_is_a_report_that_says_so(run: str) -> None:
    """A run may stop after any answer, and any answer may be that nothing could be found out."""
    whole, so_far = evidence_of(run), {}
    lost = {
        "check": "x",
        "target": "-",
        "object": "x",
        "have": "gone away",
        "want": "x",
        "verdict": "ERROR",
        "hint": "",
    }
    for step, record in whole.items():
        so_far[step] = {**record, "answers": {}, "finished_at": None}
        for question, answer in record["answers"].items():
            without = {**answer, "facts": {}, "verdict": "ERROR", "findings": [lost]}
            for lang, last in (("en", without), ("fr", answer)):
                so_far[step]["answers"][question] = last
                head = composed(so_far, lang, run).split("## ")[0]
                whole_now = last is answer and step == STEPS[-1]
                assert ("🛑" in head) is not (whole_now and run == "applied"), (step, question)
        so_far[step]["finished_at"] = record["started_at"]


def test_a_step_that_died_without_a_finding_is_no_good_end() -> None:
    evidence = evidence_of()
    evidence["api_routes"] |= {"finished_at": None, "verdict": None}
    text = composed(evidence, "en")
    assert "**NOT COMPLETE**" in text
    assert "🟠 **unfinished**" in text
    assert "Steps that did not come to their end: `api_routes`." in text
    assert "Étapes qui ne sont pas allées à leur terme : `api_routes`." in composed(evidence, "fr")
    assert "did not come to their end" not in composed(evidence_of(), "en")


def test_a_run_that_ended_as_an_error_is_not_done_whatever_its_findings_say() -> None:
    header = stored("applied")["run"] | {"verdict": "ERROR", "finished_at": None}
    assert "**NOT COMPLETE**" in document.render(PHASE, recorded(header, evidence_of()), "en").text


def test_the_page_tells_it_in_both_languages(make_run: Callable[..., Run], tmp_path: Path) -> None:
    def by_people(files: Json) -> None:
        answers = signed(confirmed(evidence_of()))
        for step, name in (
            ("report", "07_report.json"),
            ("baseline_migration", "03_baseline_migration.json"),
        ):
            files[name]["answers"] = answers[step]["answers"]

    run = make_run(tmp_path, change=by_people)
    write_pages(run)
    page = (run.path / "report.html").read_text("utf-8")
    for said in ("signed off by Anne Martin", "validé par Anne Martin", "by Anne Martin", "par Anne Martin"):
        assert said in page
    assert page.count("the oldest of | 7 January &lt;b&gt;") == 2
    assert "07_report.html#check-checklist_item_holds" in page
