"""An archived notebook as a page: what was asked, what was shown, and below it every finding that was recorded."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from functools import cache, lru_cache, partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

from jinja2 import pass_context
from jinja2.runtime import Context
from markdown_it import MarkdownIt
from markupsafe import Markup, escape

from runbooks_lib.archive.notebooks import ASKS
from runbooks_lib.archive.reader import read_json, sha256_of
from runbooks_lib.archive.seal.execution_order import WIDGET
from runbooks_lib.errors import EvidenceError
from runbooks_lib.evidence import Answered, Header, Record
from runbooks_lib.findings import CLOSING, Verdict
from runbooks_lib.report.html.cleaner import cleaned
from runbooks_lib.report.template_cache import compiled
from runbooks_lib.report.templates import in_all_languages, render, source

_LINK = re.compile(r"\[([^\]]*)\]\((\d\d_\w+)\.ipynb\)")
_PAPERMILL = "papermill-error-cell-tag"
_STOPPED_AT = re.compile(r"In \[\d+\]")
_SCROLLING = Markup('<div class="scroll" tabindex="0" role="group" aria-label="Table">{}</div>')
LONGEST_CELL = 4096  # characters of HTML
_SHOWN = ("text/html", "text/markdown", "image/png", "text/plain")


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """A page of the run's folder to link to: its file, and what it is."""

    file: str
    name: str


def notebook_page(
    path: Path,
    record: Record | None,
    header: Header,
    *,
    verdict: Verdict | None,
    previous: Page | None,
    following: Page | None,
    index: str | None,
) -> str:
    """Return an archived notebook as one HTML file.

    `record` is what its step recorded, None when nothing; `verdict` is how the step ended.
    Raises EvidenceError when the file is no notebook.
    """
    answers = record.answers if record else {}
    return render(
        "notebook.html.j2",
        in_all_languages(),
        name=path.stem,
        record=record,
        verdict=verdict,
        header=header,
        body=_body(path, answers),
        answers=answers,
        failures=[f for answer in answers.values() for f in answer.findings if f.verdict in CLOSING],
        anchored=_first_of_each_check(answers),
        verdicts=list(Verdict),
        script=source("page.js") + "\n" + source("step.js"),
        previous=previous,
        following=following,
        index=index,
    )


def anchor(check: str) -> str:
    """Return the anchor of a check's first findings on the page of its step."""
    return f"check-{check}"


def _first_of_each_check(answers: Mapping[str, Answered]) -> dict[str, dict[str, str]]:
    """Return the anchors of the page by question and check: a check has one, at the question that made it first."""
    found: dict[str, dict[str, str]] = {question: {} for question in answers}
    seen: set[str] = set()
    for question, answer in answers.items():
        new = {finding.check for finding in answer.findings} - seen
        found[question] = {check: anchor(check) for check in new}
        seen |= new
    return found


def draw(path: Path, record: Record | None, *, expected: Collection[str]) -> None:
    """Draw an archived notebook ahead, for a folder in which the `expected` ones are still to come.

    What is drawn is remembered, and used if all that it was made from is still the same then.
    """
    _drawn(path, _digest(path), tuple(record.answers if record else ()), _archived(path) | set(expected))


def _body(path: Path, answers: Mapping[str, Answered]) -> Markup:
    """Return the cells as HTML; the cell that asks a question has the question's name as its anchor."""
    return _drawn(path, _digest(path), tuple(answers), _archived(path))


def _archived(path: Path) -> frozenset[str]:
    return frozenset(other.stem for other in path.parent.glob("[0-9][0-9]_*.ipynb"))


def _digest(path: Path) -> str:
    try:
        return sha256_of(path)
    except OSError:
        return ""  # reading it says why


@lru_cache(maxsize=16)
def _drawn(path: Path, digest: str, answers: tuple[str, ...], archived: frozenset[str]) -> Markup:
    del digest  # only tells this content from another one of the same file
    notebook = _read(path)
    notebook.metadata.pop("widgets", None)
    questions: dict[str, str] = {}
    for cell in notebook.cells:
        if _PAPERMILL in cell.metadata.get("tags", ()):
            cell.source = _banner(cell.source)
        elif cell.cell_type == "markdown":
            cell.source = _LINK.sub(_to_page(archived), cell.source)
        elif cell.cell_type == "code":
            cell.outputs = [output for output in map(_quiet, cell.outputs) if output is not None]
            asked = ASKS.search(cell.source)
            if asked and asked[1] in answers and asked[1] not in questions.values():
                questions[cell.get("id", "")] = asked[1]
    body = _converted(notebook)
    for cell_id, question in questions.items():
        body = body.replace(f'id="cell-id={escape(cell_id)}"', f'id="{escape(question)}"', 1)
    return Markup(body)


def _banner(source: str) -> Markup:
    """Return what papermill puts in where a notebook was stopped, in the style of the page."""
    if place := _STOPPED_AT.search(source):
        return Markup('<p class="stopped">Stopped at <a href="#stopped">{}</a></p>').format(place[0])
    return Markup('<p class="stopped" id="stopped">The notebook was stopped here:</p>')


def _to_page(archived: Collection[str]) -> Callable[[re.Match[str]], str]:
    """Return what a link to another notebook becomes: one to its page; its text where it is not archived."""
    return lambda link: f"[{link[1]}]({link[2]}.html)" if link[2] in archived else str(link[1])


def _quiet(output: Any) -> Any:
    """Return an output without what would need scripts or could be markup of data; None when nothing is left.

    What a widget shows stands beside it as a table: without its script it would be blank.
    """
    data = output.get("data")
    if data is None:
        return output
    if WIDGET in data:
        return None
    kept = {kind: data[kind] for kind in _SHOWN if kind in data}
    if "text/html" in kept:
        kept["text/html"] = _SCROLLING.format(Markup(cleaned(kept["text/html"])))
    if "text/markdown" in kept:
        kept["text/markdown"] = cleaned(kept["text/markdown"])
    output.data = type(data)(kept)
    return output if kept else None


def _read(path: Path) -> Any:
    _without_slow_import()
    import nbformat

    content = read_json(path)
    try:
        nbformat.validate(content, version=4)
    except nbformat.ValidationError as error:
        raise EvidenceError(
            f"{path} cannot be read as a notebook: {error.message}.",
            "Was it changed or cut short? Run its step again.",
        ) from error
    return nbformat.v4.nbjson.JSONReader().to_notebook(content)


def _without_slow_import() -> None:
    """Keep jsonschema from compiling grammars (a second) for a format check that notebooks have no use for."""
    sys.modules.setdefault("rfc3987_syntax", None)  # type: ignore[arg-type]


def _converted(notebook: Any) -> str:
    """Have nbconvert make HTML of a notebook.

    It then parses that HTML once more, to describe images and for classes that this template has not: that takes as
    long as all the rest, and is left out where there is no image.
    """
    if any(
        "image/png" in output.get("data", {}) for cell in notebook.cells for output in cell.get("outputs", ())
    ):
        return str(exporter().from_notebook_node(notebook)[0])
    from nbconvert.exporters.templateexporter import TemplateExporter

    language = notebook.metadata.get("language_info", {})
    lexer = language.get("pygments_lexer", language.get("name"))
    exporter().register_filter("highlight_code", partial(_highlighted, lexer))
    return str(TemplateExporter.from_notebook_node(exporter(), notebook)[0])


def _highlighted(lexer: str | None, source: str, metadata: Mapping[str, Any]) -> str:
    return _code(lexer, source, metadata.get("magics_language"))


@lru_cache(maxsize=256)  # the cells of the notebooks are the same in each run
def _code(lexer: str | None, source: str, magics_language: str | None) -> str:
    from nbconvert.filters.highlight import Highlight2HTML

    # Where the key is there, it counts, even if it is None.
    metadata = {"magics_language": magics_language} if magics_language else {}
    return str(Highlight2HTML(lexer)(source, metadata=metadata))


def _clean(text: str) -> str:
    """Return HTML as nbconvert cleans it; what is as short as a cell is kept, since it comes again in each run."""
    return _clean_cell(text) if len(text) < LONGEST_CELL else _clean_html(text)


def _clean_html(text: str) -> str:
    from nbconvert.filters.strings import clean_html

    return str(clean_html(text))


_clean_cell = lru_cache(maxsize=512)(_clean_html)


@pass_context  # as nbconvert's own, for which its templates are compiled
def _from_markdown(context: Context, text: str) -> str:
    """Return Markdown as HTML; markup in it is text, and nothing in it is loaded, unless it is ours already.

    Whoever wrote the archived notebook may mean us ill, and nbconvert's own filter lets any HTML through.
    """
    return text if isinstance(text, Markup) else _prose(text)


@lru_cache(maxsize=256)
def _prose(text: str) -> str:
    return str(_markdown().render(text))


@cache
def _markdown() -> MarkdownIt:
    return MarkdownIt("commonmark", {"html": False}).enable("table").disable("image")


@cache
def exporter() -> Any:
    """Return nbconvert's HTML exporter, with the plain template: no style sheet of 300 KB, no script."""
    _without_slow_import()
    from nbconvert.exporters.html import HTMLExporter

    made = HTMLExporter(
        template_name="basic",
        exclude_anchor_links=True,
        anchor_link_text="",
        optimistic_validation=True,  # once, not after each of its twelve preprocessors
    )
    made.environment.bytecode_cache = compiled("nbconvert", version("nbconvert"))
    made.register_filter("markdown2html", _from_markdown)
    made.register_filter("clean_html", _clean)
    return made
