"""What a notebook shows: in HTML for a front end, in text for everything else."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import runbooks_lib
from runbooks_lib.errors import GateClosed
from runbooks_lib.findings import Answer, Finding, Verdict
from runbooks_lib.notebook import tables as widgets
from runbooks_lib.notebook.explorer import MAX_SHOWN, SQL_OF, findings_html, sql_of
from runbooks_lib.notebook.plan_view import highlighted, sentence
from runbooks_lib.report.verdicts import SYMBOLS

HOSTILE = "<script>alert('x')</script> & \"q\""


def finding(verdict: Verdict, **changes: Any) -> Finding:
    fields = {
        "check": "has_table",
        "target": "leader",
        "object": "public.a",
        "have": "there",
        "want": "there",
    }
    return Finding(**{**fields, "verdict": verdict, **changes})


@pytest.fixture
def shown(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Collect what is displayed: what `display` does with it is IPython's."""
    everything: list[Any] = []
    monkeypatch.setattr(
        widgets, "display", lambda what, raw: everything.append(what.get("text/markdown", what))
    )
    return everything


def only_table(shown: list[Any]) -> Mapping[str, str]:
    (bundle,) = (each for each in shown if isinstance(each, dict))
    return bundle


def test_a_table_is_html_and_text(shown: list[Any]) -> None:
    widgets.table([{"object": "public.a", "rows": 2}, {"object": "public.b", "verdict": "FAIL"}])
    bundle = only_table(shown)
    assert set(bundle) == {"text/html", "text/plain"}
    lines = [line.split() for line in bundle["text/plain"].splitlines()]
    assert lines == [["object", "rows", "verdict"], ["public.a", "2"], ["public.b", "FAIL"]]
    assert re.findall(r"<td[^>]*>([^<]*)</td>", bundle["text/html"]) == [
        "public.a",
        "2",
        "",
        "public.b",
        "",
        "FAIL",
    ]


@pytest.mark.parametrize("rows", [[{"a": HOSTILE}], [{HOSTILE: "a"}], [{"verdict": HOSTILE}]])
def test_markup_in_a_cell_or_a_head_is_text(shown: list[Any], rows: list[dict[str, str]]) -> None:
    widgets.table(rows)
    bundle = only_table(shown)
    assert "<script" not in bundle["text/html"]
    assert "&lt;script&gt;" in bundle["text/html"]
    assert "<script>" in bundle["text/plain"]


def test_markup_in_a_finding_is_text(shown: list[Any]) -> None:
    widgets.show(Answer(findings=(finding(Verdict.FAIL, have=HOSTILE, hint=HOSTILE, object=HOSTILE),)))
    assert "<script" not in shown[0]
    assert "<script" not in only_table(shown)["text/html"]


@pytest.mark.parametrize("verdict", Verdict)
def test_each_verdict_has_its_colour_symbol_and_word(shown: list[Any], verdict: Verdict) -> None:
    widgets.show(Answer(findings=(finding(verdict),)))
    summary, bundle = shown
    assert summary == f"{SYMBOLS[verdict]} 1 {verdict}"
    assert f"{SYMBOLS[verdict]} {verdict}" in bundle["text/plain"]
    assert re.findall(r'<td class="verdict (\w+)">. \w+</td>', bundle["text/html"]) == [verdict]


def test_a_light_has_the_colour_of_its_verdict(shown: list[Any]) -> None:
    widgets.table([{"light": SYMBOLS[v], "target": SYMBOLS[v]} for v in Verdict])
    assert re.findall(r'<td class="verdict (\w+)">', only_table(shown)["text/html"]) == list(Verdict)


def test_long_names_break_where_a_reader_would_and_only_for_one(
    shown: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [{"a": "public.inbound_addresses_tenantId_marketplace", "b": "public.a_b"}]
    assert "<wbr>" not in widgets.bundle_of(rows)["text/html"], "an archive is searched for secrets"
    monkeypatch.setattr(widgets, "front_end", lambda: True)
    html = widgets.bundle_of(rows)["text/html"]
    assert "public.<wbr>inbound_<wbr>addresses_" in html
    assert "public.a_b" in html
    assert f"{'a' * 16}<wbr>{'a' * 16}<wbr>aa&lt;" in widgets.bundle_of([{"a": f"{'a' * 34}<"}])["text/html"]


def test_an_answer_with_rows_shows_them_and_what_did_not_pass(shown: list[Any]) -> None:
    good, bad = finding(Verdict.PASS), finding(Verdict.OPEN, object="public.b")
    widgets.show(Answer(findings=(good, bad), rows=({"table": "public.a"},)))
    summary, rows, others = shown
    assert summary == "◌ 1 OPEN · ✔ 1 PASS"
    assert "table" in rows["text/plain"]
    assert "public.b" in others["text/plain"]
    assert "public.a" not in others["text/plain"]
    shown.clear()
    widgets.show(Answer(findings=(good,), rows=({"table": "public.a"},)))
    assert len(shown) == 2


def test_an_answer_without_findings_says_so(shown: list[Any]) -> None:
    widgets.show(Answer(findings=()))
    assert shown == ["no findings"]


def test_no_rows_are_an_empty_table(shown: list[Any]) -> None:
    widgets.table([])
    assert only_table(shown)["text/plain"] == ""


def test_missing_values_are_empty_and_booleans_are_words(shown: list[Any]) -> None:
    widgets.table([{"a": None, "b": 5}, {"b": None, "c": 1.5}, {"a": True, "b": "nan"}])
    cells = re.findall(r"<td[^>]*>([^<]*)</td>", only_table(shown)["text/html"])
    assert cells == ["", "5", "", "", "", "1.5", "yes", "nan", ""]


def test_long_values_are_shown_whole(shown: list[Any]) -> None:
    widgets.table([{"a": "x" * 500, "b": "two\nlines"}])
    bundle = only_table(shown)
    assert "x" * 500 in bundle["text/plain"]
    assert "x" * 500 in bundle["text/html"]
    assert "two lines" in bundle["text/plain"], "a line a row"


def test_a_passed_gate_says_so(shown: list[Any]) -> None:
    widgets.gate(finding(v) for v in (Verdict.PASS, Verdict.OPEN, Verdict.SKIP))
    assert shown == ["**Gate passed** — ◌ 1 OPEN · ✔ 1 PASS · – 1 SKIP"]


@pytest.mark.parametrize("verdicts", [(), (Verdict.FAIL,), (Verdict.PASS, Verdict.ERROR)])
def test_a_closed_gate_stops_and_shows_nothing(shown: list[Any], verdicts: tuple[Verdict, ...]) -> None:
    with pytest.raises(GateClosed):
        widgets.gate([finding(v) for v in verdicts])
    assert shown == []


@pytest.mark.parametrize("verdict", [Verdict.FAIL, Verdict.ERROR])
def test_a_gate_that_goes_on_says_that_the_step_stops(verdict: Verdict, shown: list[Any]) -> None:
    widgets.gate([finding(verdict)], at_end=True)
    (said,) = shown
    assert said.startswith("**This stops the step at its end")
    with pytest.raises(GateClosed):
        widgets.gate([], at_end=True)


def test_the_query_of_a_check_is_one_that_there_is() -> None:
    pages = {page.stem for page in (Path(runbooks_lib.__file__).parent / "checks").glob("*.md")}
    mapped = [check for checks in SQL_OF.values() for check in checks]
    assert sorted(mapped) == sorted(set(mapped) & pages)
    assert {check for check in mapped if not sql_of(check)} == set()
    assert sql_of("route_is_served") is None


def test_a_finding_opens_to_its_hint_and_query_and_its_markup_is_text() -> None:
    page = findings_html([finding(Verdict.FAIL, have=HOSTILE, object=HOSTILE, hint="Mend it.")])
    assert "<script" not in page
    assert "Mend it." in page
    assert "pg_class" in page


def test_what_is_not_shown_of_many_findings_is_counted() -> None:
    page = findings_html([finding(Verdict.PASS)] * (MAX_SHOWN + 3))
    assert page.count("<details>") == MAX_SHOWN
    assert "and 3 more" in page


def test_what_only_a_person_needs_is_not_loaded_without_one() -> None:
    program = "import sys, runbooks_lib.notebook; print(sorted({'ipywidgets', 'comm'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_sql_is_highlighted_and_its_markup_is_text() -> None:
    html = highlighted("CREATE TABLE \"A B\" (v text DEFAULT '<b>'); -- <i> DROP")
    assert html == (
        '<span class="keyword">CREATE</span> <span class="keyword">TABLE</span> '
        '<span class="name">&quot;A B&quot;</span>'
        ' (v text <span class="keyword">DEFAULT</span> <span class="string">&#x27;&lt;b&gt;&#x27;</span>); '
        '<span class="comment">-- &lt;i&gt; DROP</span>'
    )


@pytest.mark.parametrize(
    ("would", "said"),
    [
        ([("would create", "table")], "Creates 1 table in kb on here; changes and removes nothing."),
        (
            [("would create", "table"), ("would run", "statement")],
            "Creates 1 table; runs 1 statement in kb on here.",
        ),
    ],
    ids=["only makes", "also runs what may change rows"],
)
def test_a_plan_that_runs_statements_is_not_said_to_change_nothing(
    would: list[tuple[str, str]], said: str
) -> None:
    statements = [SimpleNamespace(would=state, kind=kind) for state, kind in would]
    where = SimpleNamespace(database="kb", server="here")
    step = SimpleNamespace(
        sessions=SimpleNamespace(identity=lambda _: where), phase=SimpleNamespace(written="leader")
    )
    assert sentence(step, SimpleNamespace(statements=statements, settlement=())) == said  # type: ignore[arg-type]
