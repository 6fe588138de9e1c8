"""The pages of a run: complete, self-contained, linked to the evidence, and never made of what a database holds."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import structs

from runbooks_lib.archive.run import Run, step_name
from runbooks_lib.errors import EvidenceError, SpecError
from runbooks_lib.evidence import Evidence
from runbooks_lib.findings import Verdict
from runbooks_lib.phase import STEPS, load_phase
from runbooks_lib.report import document
from runbooks_lib.report.html import notebook
from runbooks_lib.report.html.article import article
from runbooks_lib.report.html.cleaner import cleaned
from runbooks_lib.report.html.pages import as_reported, changes, write_pages
from runbooks_lib.report.templates import source, with_code

MakeRun = Callable[..., Run]
STORED = Path(__file__).parent / "evidence" / "applied"
Json = dict[str, Any]
MAX_BYTES = 600_000
HOSTILE = """</td><script>alert(1)</script><img src=x onerror=alert(2)><svg onload=alert(3)>"'&{{ 7*7 }}"""
LOADING = {"script": "src", "link": "href", "img": "src", "iframe": "src", "object": "data", "use": "href"}


class Page(HTMLParser):
    """What a page is made of: its elements with their attributes, its text, and the contents of its scripts."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.scripts: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag == "script":
            self.scripts.append("")

    def handle_data(self, data: str) -> None:
        if self.lasttag == "script" and self.scripts and not self.scripts[-1]:
            self.scripts[-1] = data
        self.text += data

    def all(self, tag: str, attribute: str) -> list[str]:
        return [a[attribute] or "" for t, a in self.elements if t == tag and attribute in a]

    @property
    def ids(self) -> list[str]:
        return [a["id"] or "" for _, a in self.elements if "id" in a]


def pages_of(run: Run) -> dict[str, Page]:
    return {path.name: Page(path.read_text("utf-8")) for path in sorted(run.path.glob("*.html"))}


@pytest.fixture(scope="module")
def run(make_run: MakeRun, tmp_path_factory: pytest.TempPathFactory) -> Run:
    made = make_run(tmp_path_factory.mktemp("runs"))
    write_pages(made)
    return made


@pytest.fixture(scope="module")
def pages(run: Run) -> dict[str, Page]:
    return pages_of(run)


# Complete and self-contained


def test_every_notebook_and_the_report_have_a_page(run: Run) -> None:
    written = {path.name for path in write_pages(run)}
    notebooks = {path.with_suffix(".html").name for path in run.path.glob("*.ipynb")}
    assert len(notebooks) == len(STEPS)
    assert written == notebooks | {"report.html", "report.en.md", "report.fr.md", changes.FILE}
    assert written <= {path.name for path in run.path.iterdir()}


def test_pages_are_small(run: Run) -> None:
    assert all(path.stat().st_size < MAX_BYTES for path in run.path.glob("*.html"))


def test_nothing_is_loaded_and_no_script_is_foreign(pages: dict[str, Page]) -> None:
    for name, page in pages.items():
        loaded = [a for tag, key in LOADING.items() for a in page.all(tag, key)]
        assert loaded == [], name
        handlers = [key for _, attributes in page.elements for key in attributes if key.startswith("on")]
        assert handlers == [], name
        assert page.scripts == [
            source("page.js") + ("" if name == "report.html" else "\n" + source("step.js"))
        ]
        (policy,) = [a["content"] for t, a in page.elements if t == "meta" and "http-equiv" in a]
        assert policy is not None
        assert policy.startswith("default-src 'none'")
        assert "script-src 'sha256-" in policy


def test_links_lead_somewhere(pages: dict[str, Page], run: Run) -> None:
    anchors = {name: set(page.ids) for name, page in pages.items()}
    for name, page in pages.items():
        for href in page.all("a", "href"):
            file, _, anchor = unquote(href).partition("#")
            assert file == "" or (run.path / file).is_file(), f"{name}: {href}"
            if anchor:
                assert anchor in anchors[file or name], f"{name}: {href}"


def test_no_id_stands_twice(pages: dict[str, Page]) -> None:
    for name, page in pages.items():
        assert len(page.ids) == len(set(page.ids)), name


# The report


def test_every_reference_leads_to_the_findings_of_its_check(run: Run, pages: dict[str, Page]) -> None:
    text = (run.path / "report.html").read_text("utf-8")
    references = re.findall(r'<span class="ref">\(([^·]+) · (.*?)\)</span>', text)
    assert len(references) > 60
    linked = 0
    for steps, checks in references:
        for address, check in re.findall(r'<a href="([^"]+)">(\w+)</a>', checks):
            file, _, anchor = address.partition("#")
            assert file.removesuffix(".html")[3:] in steps.split(", ")
            assert anchor == f"check-{check}"
            assert anchor in pages[file].ids
            linked += 1
    assert linked > 60


def test_the_report_says_what_its_markdown_says(run: Run, pages: dict[str, Page]) -> None:
    phase, evidence = load_phase("PH15-AMAZON-DB-FOUNDATION-01"), run.evidence()
    last = evidence.records["report"]
    answers = {**last.answers, "write": last.answers["last_look"]}
    with_writing = replace(
        evidence, records={**evidence.records, "report": structs.replace(last, answers=answers)}
    )
    assert as_reported(with_writing) == evidence
    text = re.sub(r"\s+", "", pages["report.html"].text)
    for lang in document.languages():
        markdown = document.render(phase, evidence, lang).text
        for code in re.findall(r"`([^`\n]+)`", markdown):
            assert re.sub(r"\s+", "", code) in text, code


def test_both_languages_are_there_and_one_is_chosen(pages: dict[str, Page]) -> None:
    page = pages["report.html"]
    mains = [a["lang"] for t, a in page.elements if t == "main"]
    assert mains == list(document.languages())
    radios = [a for t, a in page.elements if t == "input"]
    assert [a["value"] for a in radios] == list(document.languages())
    assert [a["value"] for a in radios if "checked" in a] == ["fr"]
    assert "Fondation de la base de données Amazon" in page.text
    assert "Amazon database foundation" in page.text


def test_task_lists_say_what_is_ticked(pages: dict[str, Page]) -> None:
    ticks = [a["aria-label"] for t, a in pages["report.html"].elements if "tick" in (a.get("class") or "")]
    assert set(ticks) == {"ticked", "not ticked", "cochée", "non cochée"}


def rendered(text: str, evidence: Callable[[str, str], str | None] = lambda step, check: None) -> str:
    words: Callable[..., str] = lambda message, **variables: message % variables if variables else message  # noqa: E731
    return str(article(text, "en", words=words, files=["a b.json"], evidence=evidence, pictures={}).html)


def test_a_long_table_is_folded_unless_something_in_it_did_not_pass() -> None:
    head = "| a | b |\n|---|---|\n"
    assert "<details" not in rendered(head + "| ✅ | 1 |\n" * 30)
    assert '<details class="rows"><summary>' in rendered(head + "| ✅ | 1 |\n" * 31)
    unfolded = rendered(head + "| ✅ | 1 |\n" * 31 + "| ❌ | 2 |\n")
    assert '<details class="rows" open><summary>' in unfolded
    assert unfolded.count("</div></details>") == 1


@pytest.mark.parametrize(
    ("text", "html"),
    [
        ("<script>x</script>", "&lt;script&gt;"),
        ("![x](https://example.com/x.png)", "!<a href="),
        ("[x](javascript:alert(1))", "[x](javascript:alert(1))"),
        ("`a b.json`", '<a href="a%20b.json"><code>a b.json</code></a>'),
        ("`<b>.json`", "<code>&lt;b&gt;.json</code>"),
        ("*(s · c)*", '<span class="ref">(s · c)</span>'),
        ("*(s · c) and more*", "<em>(s · c) and more</em>"),
        ("✅ yes", '<span class="icon v-pass">✔</span> yes'),
        ("## 📋 TITLE", '<h2 id="en-1">TITLE</h2>'),
        ("## `code` x", '<h2 id="en-1"><code>code</code> x</h2>'),
    ],
)
def test_markdown_becomes_html_of_our_own(text: str, html: str) -> None:
    assert html in rendered(text)


def test_a_reference_to_several_steps_leads_to_the_first_that_made_the_check() -> None:
    html = rendered(
        "*(a, b · c, d)*", lambda step, check: "b.html#check-c" if (step, check) == ("b", "c") else None
    )
    assert html == '<p><span class="ref">(a, b · <a href="b.html#check-c">c</a>, d)</span></p>\n'


# The notebooks


def test_a_step_s_page_shows_its_verdict_its_cells_and_every_finding(
    run: Run, pages: dict[str, Page]
) -> None:
    record = run.record_json("api_routes")
    assert record is not None
    page = pages["06_api_routes.html"]
    assert page.text.index("OPEN") < page.text.index("step.ask(") < page.text.index("Every finding")
    for answer in record["answers"].values():
        for finding in answer["findings"]:
            assert finding["have"] in page.text
            assert finding["object"] in page.text


def test_the_cell_that_asks_is_found_by_its_question(run: Run, pages: dict[str, Page]) -> None:
    for step, record in run.evidence().records.items():
        page = pages[f"{run.notebook(step).stem}.html"]
        assert record.answers.keys() <= set(page.ids)


def test_notebooks_lead_to_each_other_and_to_the_report(pages: dict[str, Page]) -> None:
    links = pages["03_baseline_migration.html"].all("a", "href")
    assert {"02_backup.html", "04_prisma_resolve.html", "report.html"} <= set(links)
    assert not [href for page in pages.values() for href in page.all("a", "href") if href.endswith(".ipynb")]
    assert "../../index.html" not in links  # there is none


def test_the_index_is_linked_where_there_is_one(make_run: MakeRun, tmp_path: Path) -> None:
    run = make_run(tmp_path, notebooks="02*")
    (tmp_path / "index.html").write_text("", "utf-8")
    write_pages(run)
    assert all("../../index.html" in page.all("a", "href") for page in pages_of(run).values())


def test_what_needs_scripts_is_left_out_of_a_notebook(make_run: MakeRun, tmp_path: Path) -> None:
    run = make_run(tmp_path, notebooks="02*")
    path = run.notebook("backup")
    content = json.loads(path.read_text("utf-8"))
    content["metadata"]["widgets"] = {"application/vnd.jupyter.widget-state+json": {"state": {"m": {}}}}
    widget = {"application/vnd.jupyter.widget-view+json": {"model_id": "m"}, "text/plain": "HTML(value='')"}
    script = {"application/javascript": "alert(1)"}
    cell = content["cells"][-1]
    cell["outputs"] = [
        {"output_type": "display_data", "metadata": {}, "data": data} for data in (widget, script)
    ]
    cell["outputs"] += [
        {"output_type": "stream", "name": "stderr", "text": "<b>careful</b>"},
        {
            "output_type": "error",
            "ename": "GateClosed",
            "evalue": HOSTILE,
            "traceback": [f"\x1b[31m{HOSTILE}\x1b[0m"],
        },
    ]
    path.write_text(json.dumps(content), "utf-8")
    write_pages(run)
    page = pages_of(run)["02_backup.html"]
    assert page.scripts == [f"{source('page.js')}\n{source('step.js')}"]
    assert "HTML(value" not in page.text
    assert "alert(2)" in page.text
    assert "<b>careful</b>" in page.text
    assert {"img", "svg"}.isdisjoint(tag for tag, _ in page.elements)


# Runs that stopped, and what cannot be read


def stopped(files: Json) -> None:
    files["run.json"] |= {"finished_at": None, "verdict": "FAIL"}
    for step in STEPS[3:]:
        del files[f"{STEPS.index(step) + 1:02d}_{step}.json"]
    record = files["03_baseline_migration.json"]
    record |= {"finished_at": None, "duration_s": None, "verdict": None}
    record["answers"] = {"parse": record["answers"]["parse"]}


def test_what_did_not_pass_comes_first_with_what_to_do(make_run: MakeRun, tmp_path: Path) -> None:
    def fail(files: Json) -> None:
        for finding in files["05_seed_verification.json"]["answers"]["rows"]["findings"][:1]:
            finding |= {"verdict": "FAIL", "have": HOSTILE, "hint": "Put public.a_row_back."}

    run = make_run(tmp_path, change=fail)
    write_pages(run)
    pages = pages_of(run)
    said = pages["05_seed_verification.html"].text
    assert said.index("What did not pass") < said.index("Put public.a_row_back.") < said.index("5. Seed")
    assert HOSTILE in said
    assert "What did not pass" not in pages["06_api_routes.html"].text


def test_what_papermill_puts_into_a_stopped_notebook_is_in_the_style_of_the_page(
    make_run: MakeRun, tmp_path: Path
) -> None:
    run = make_run(tmp_path)
    path = run.notebook("preflight")
    content = json.loads(path.read_text("utf-8"))
    for number, words in enumerate((
        "An Exception was encountered at '<a href=\"#papermill-error-cell\">In [9]</a>'.",
        "Execution using papermill encountered an exception here and stopped:",
    )):  # fmt: skip
        source = f'<span style="color:red; font-size:2em;">{words}</span>'
        tags = {"tags": ["papermill-error-cell-tag"]}
        cell = {"cell_type": "markdown", "id": f"stopped-{number}", "metadata": tags, "source": source}
        content["cells"].insert(number * 5, cell)
    path.write_text(json.dumps(content), "utf-8")
    write_pages(run)
    page = pages_of(run)["01_preflight.html"]
    assert "Stopped at In [9]" in page.text
    assert "The notebook was stopped here:" in page.text
    assert "papermill encountered" not in page.text
    assert "#stopped" in page.all("a", "href")
    assert "stopped" in page.ids
    assert not [style for style in page.all("span", "style") if "color:red" in style]


def test_long_names_in_tables_may_be_broken() -> None:
    html = "<table><tr><td>public.a_long_name</td><td><b>a_b</b></td></tr></table><p>a_b</p>"
    assert cleaned(html) == html.replace("public.a_long_name", "public.<wbr>a_<wbr>long_<wbr>name")


@pytest.mark.parametrize(
    ("text", "html"),
    [
        ("Ask `prisma migrate status`.", "Ask <code>prisma migrate status</code>."),
        ("one ` alone <b>", "one ` alone &lt;b&gt;"),
        ("`<i>` and `b`", "<code>&lt;i&gt;</code> and <code>b</code>"),
    ],
)
def test_what_stands_between_backticks_is_code(text: str, html: str) -> None:
    assert with_code(text) == html


def test_a_run_that_stopped_has_pages_of_what_there_is(make_run: MakeRun, tmp_path: Path) -> None:
    run = make_run(tmp_path, change=stopped)
    names = [path.name for path in write_pages(run)]
    assert names == [
        changes.FILE,
        "01_preflight.html",
        "02_backup.html",
        "03_baseline_migration.html",
        "report.en.md",
        "report.fr.md",
        "report.html",
    ]
    pages = pages_of(run)
    assert "unfinished" in pages["report.html"].text
    assert "stopped before its end" in pages["03_baseline_migration.html"].text
    assert "ERROR" in pages["03_baseline_migration.html"].text  # as the runner judges it
    test_links_lead_somewhere(pages, run)


def test_a_run_of_which_nothing_is_recorded_has_a_report(make_run: MakeRun, tmp_path: Path) -> None:
    run = make_run(tmp_path, change=lambda files: [files.pop(n) for n in list(files) if n != "run.json"])
    write_pages(run)
    assert "not run in this run" in pages_of(run)["report.html"].text


def test_a_record_without_notebook_is_linked_itself(make_run: MakeRun, tmp_path: Path) -> None:
    run = make_run(tmp_path)
    run.notebook("backup").unlink()
    write_pages(run)
    pages = pages_of(run)
    assert "02_backup.html" not in pages
    assert "02_backup.json" in pages["report.html"].all("a", "href")
    test_links_lead_somewhere(pages, run)


@pytest.mark.parametrize("content", ["", "{", '{"cells": 3}', "[]"])
def test_a_notebook_that_is_none_is_an_evidence_error(
    make_run: MakeRun, tmp_path: Path, content: str
) -> None:
    run = make_run(tmp_path, notebooks="02*")
    run.notebook("backup").write_text(content, "utf-8")
    with pytest.raises(EvidenceError, match=r"02_backup\.ipynb (cannot be read|holds no JSON object)"):
        write_pages(run)


def test_a_phase_that_cannot_be_read_is_said(make_run: MakeRun, tmp_path: Path) -> None:
    run = make_run(tmp_path, notebooks="02*")
    (run.path / "plan" / "phase.toml").write_text("nonsense", "utf-8")
    with pytest.raises(SpecError):
        write_pages(run)


# Values of a database


def hostile(files: Json) -> None:
    for name, record in files.items():
        if name != "run.json":
            for answer in record["answers"].values():
                for finding in answer["findings"]:
                    finding["have"] += HOSTILE
                    finding["hint"] += HOSTILE
    files["run.json"]["operator"] = {"user": HOSTILE, "host": HOSTILE}
    who = files["01_preflight.json"]["answers"]["targets"]["facts"]["targets"]
    who["leader"]["server"] = who["legacy"]["server"] = HOSTILE
    who["replica"]["server_version"] = HOSTILE
    files["01_preflight.json"]["answers"]["replication"]["facts"]["lag"]["replica"]["receiver"] = HOSTILE
    for table in files["07_report.json"]["answers"]["last_look"]["facts"]["targets"]["leader"][
        "tables"
    ].values():
        table["owner"] = HOSTILE


def test_what_a_database_says_is_never_markup(make_run: MakeRun, tmp_path: Path, run: Run) -> None:
    bad = make_run(tmp_path, change=hostile, shown=HOSTILE)
    write_pages(bad)
    harmless = pages_of(run)
    for name, page in pages_of(bad).items():
        tags = {tag for tag, _ in page.elements}
        assert tags <= {tag for tag, _ in harmless[name].elements} | {"a"}, name
        assert "img" not in tags
        assert not [key for _, attributes in page.elements for key in attributes if key.startswith("on")]
        assert len(page.scripts) == 1
        assert "alert(1)" not in "".join(page.scripts)
        assert "{{ 7*7 }}" in page.text
        assert "alert(2)" in page.text or name != "report.html"
        assert ">49<" not in (bad.path / name).read_text("utf-8")


@pytest.mark.parametrize(
    ("html", "left"),
    [
        ("<table id='x' onclick='y()'><td style='a'>1 &lt; 2</td></table>", "<table><td>1 &lt; 2</td></table>"),
        ("<style>td {color: red}</style>a", "a"),
        ("<script>alert(1)</script>a", "a"),
        ("<scr<script>ipt>alert(1)</script>", "ipt&gt;alert(1)"),
        ("<img src=x onerror=alert(1)>a<br/>b<br>c", "a<br>b<br>c"),
        ("<a href='javascript:x'>a</a>", "a"),
        ("&lt;script&gt;&amp;", "&lt;script&gt;&amp;"),
        ("<!-- <b> --><?php x ?><![CDATA[x]]>a", "a"),
        ("plain > text & more", "plain &gt; text &amp; more"),
    ],
)  # fmt: skip
def test_html_of_an_output_is_reduced_to_a_plain_table(html: str, left: str) -> None:
    assert cleaned(html) == left


@settings(max_examples=200, deadline=None)
@given(
    st.lists(
        st.sampled_from(["<", ">", "</", "script", "table", "td", " on=", '"', "'", "&", "#x3c;", "!--", "a"])
    )
)
def test_whatever_an_output_holds_only_our_elements_remain(parts: list[str]) -> None:
    page = Page(cleaned("".join(parts)))
    assert {tag for tag, _ in page.elements} <= {"table", "td"}
    assert [attributes for _, attributes in page.elements if attributes] == []


# What changed


def test_the_summary_has_every_verdict(run: Run) -> None:
    found = changes.verdicts(run.evidence())
    assert changes.verdicts_of(run) == found
    assert set(found.values()) == {Verdict.PASS, Verdict.OPEN}
    (run.path / changes.FILE).unlink()
    assert changes.verdicts_of(run) == found
    write_pages(run)


def test_a_finding_that_was_made_twice_counts_by_its_worst() -> None:
    rows = [
        {
            "check": "c",
            "target": "t",
            "object": f"backup_2026112{day}_090631.sql",
            "have": "-",
            "want": "-",
            "verdict": verdict,
            "hint": "",
        }
        for day, verdict in ((4, "PASS"), (5, "FAIL"), (6, "OPEN"))
    ]
    header, record = (
        json.loads((STORED / name).read_text("utf-8")) for name in ("run.json", "02_backup.json")
    )
    answers = {"dump": {**record["answers"]["dump"], "findings": rows}}
    evidence = Evidence.from_json(header, {"backup": {**record, "answers": answers}}, STORED)
    assert changes.verdicts(evidence) == {("backup", "dump", "c", "t", "backup_….sql"): Verdict.FAIL}


def test_what_changed_is_named() -> None:
    one, two, three, four = ((("s", "q", "c", "t", name)) for name in "1234")
    found = changes.compare(
        {one: Verdict.PASS, two: Verdict.FAIL, three: Verdict.PASS},
        {one: Verdict.PASS, two: Verdict.PASS, four: Verdict.OPEN},
    )
    assert [(c.key, c.before, c.after) for c in found.changed] == [(two, Verdict.FAIL, Verdict.PASS)]
    assert [(c.key, c.after) for c in found.new] == [(four, Verdict.OPEN)]
    assert [(c.key, c.before) for c in found.gone] == [(three, Verdict.PASS)]
    assert found
    assert not changes.compare({one: Verdict.PASS}, {one: Verdict.PASS})


# Pages are drawn ahead, and only what is still so is used


def test_a_page_that_was_drawn_ahead_is_the_page(make_run: MakeRun, tmp_path: Path) -> None:
    run = make_run(tmp_path / "one")
    step = STEPS[0]
    names = [step_name(each) for each in STEPS]
    notebook.draw(run.notebook(step), run.record(step), expected=names)
    before = notebook._drawn.cache_info()
    write_pages(run)
    ahead = run.notebook(step).with_suffix(".html").read_text(encoding="utf-8")
    assert notebook._drawn.cache_info().hits == before.hits + 1
    notebook._drawn.cache_clear()
    write_pages(run)
    assert run.notebook(step).with_suffix(".html").read_text(encoding="utf-8") == ahead


def test_what_changed_since_it_was_drawn_is_drawn_anew(make_run: MakeRun, tmp_path: Path) -> None:
    run = make_run(tmp_path / "two")
    path = run.notebook(STEPS[0])
    notebook.draw(path, run.record(STEPS[0]), expected=[step_name(each) for each in STEPS])
    content = json.loads(path.read_text(encoding="utf-8"))
    content["cells"][0]["source"] = "# Changed meanwhile"
    path.write_text(json.dumps(content), encoding="utf-8")
    write_pages(run)
    assert "Changed meanwhile" in path.with_suffix(".html").read_text(encoding="utf-8")


def test_images_are_described(make_run: MakeRun, tmp_path: Path) -> None:
    run = make_run(tmp_path / "three")
    path = run.notebook(STEPS[0])
    content = json.loads(path.read_text(encoding="utf-8"))
    cell = next(cell for cell in content["cells"] if cell["cell_type"] == "code")
    cell["outputs"] = [{"output_type": "display_data", "metadata": {}, "data": {"image/png": "iVBORw0KGgo="}}]
    path.write_text(json.dumps(content), encoding="utf-8")
    write_pages(run)
    page = path.with_suffix(".html").read_text(encoding="utf-8")
    assert '<img alt="' in page
