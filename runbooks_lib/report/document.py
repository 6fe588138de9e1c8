"""The report as a document: one template, the views of the evidence that fill it, and the languages.

Every figure in it comes from what a step of this run recorded; every claim is a text of the phase file and is
labelled so. What the run did not do or find is said.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache, partial
from itertools import groupby
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from runbooks_lib.evidence import Evidence, step_name
from runbooks_lib.findings import CLOSING, Finding, Verdict, in_short, judged, passed, same_fault, worst
from runbooks_lib.phase import Phase, Text
from runbooks_lib.report import actions, databases, markdown, seeds_and_routes
from runbooks_lib.report.language import dated, in_language, languages, sized, texts, translations
from runbooks_lib.report.recorded import is_name, recorded
from runbooks_lib.report.template_cache import compiled

__all__ = ["SECTIONS", "Document", "languages", "render"]

TEMPLATE = "report.md.j2"
FAILURES = "failures"  # only in the report of a run in which something did not pass
SECTIONS = (
    "summary",
    FAILURES,
    "actions",
    "discovery",
    "tables",
    "seeds",
    "routes",
    "files",
    "checklist",
    "next",
    "conclusion",
)
_ICONS = {Verdict.PASS: "✅", Verdict.OPEN: "⚠️", Verdict.FAIL: "❌", Verdict.ERROR: "❌", Verdict.SKIP: "⏸️"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Document:
    """A report in one language.

    `sections` are the titles that it must have, by section. `worded` are the passages that each language words
    for itself (dates, texts of the phase file): all other figures are the same in every language.
    """

    lang: str
    text: str
    sections: Mapping[str, str]
    worded: tuple[str, ...]


def render(phase: Phase, evidence: Evidence, lang: str) -> Document:
    """Write the report of a run in a language, `fr` or `en`, and say what must be in it.

    Reads the template and the catalogue of the package.
    Raises PreconditionFailed for a language without a catalogue, EvidenceError when the evidence contradicts itself.
    """
    messages = translations(lang)
    sections: dict[str, str] = {}
    worded: list[str] = []

    def section(key: str, title: str) -> markdown.Markdown:
        sections[key] = title
        return markdown.Markdown(f"## {title}")

    def claimed(text: Text | dict[str, str]) -> markdown.Markdown:
        worded.append(markdown.authored(in_language(text, lang)))
        return markdown.Markdown(worded[-1])

    def date(moment: str) -> markdown.Markdown:
        worded.append(dated(moment, lang))
        return markdown.Markdown(worded[-1])

    def told(words: str, quote: Callable[[str], markdown.Markdown] = markdown.sentence) -> markdown.Markdown:
        """Return recorded words of a finding; as they are, `quote` marks them."""
        said = recorded(words, lang)
        shown = quote(words) if said == words else markdown.sentence(said)
        if any(recorded(words, each) != words for each in languages()):
            worded.append(shown)
        return shown

    def _(message: str, **variables: object) -> markdown.Markdown:
        return markdown.formatted(messages.gettext(message), variables)

    def ngettext(one: str, many: str, num: int, **variables: object) -> markdown.Markdown:
        return markdown.formatted(messages.ngettext(one, many, num), {"num": num, **variables})

    tools = {
        "section": section, "claimed": claimed, "date": date, "told": told, "sized": partial(sized, lang=lang), "_": _,
        "ngettext": ngettext,
    }  # fmt: skip
    text = _environment().get_template(TEMPLATE).render(_view(phase, evidence) | tools)
    tidy = re.sub(r"\n{3,}", "\n\n", text).strip() + "\n"
    return Document(lang=lang, text=tidy, sections=sections, worded=tuple(worded))


def expected_sections(phase: Phase, evidence: Evidence) -> tuple[str, ...]:
    """Return the sections that have something to tell, in their order."""
    told = {
        FAILURES: evidence.failures,
        "tables": phase.tables or phase.enums or phase.indexes,
        "seeds": phase.seeds,
        "routes": phase.services or phase.routes,
    }
    return tuple(section for section in SECTIONS if told.get(section, True))


@cache
def _environment() -> Environment:
    """Return Jinja2 with our escaping: whatever the template prints is escaped unless it is Markdown already."""
    environment = Environment(
        loader=FileSystemLoader(texts()),
        bytecode_cache=compiled(Path(__file__), Path(markdown.__file__)),
        undefined=StrictUndefined,
        finalize=markdown.escaped,
        trim_blocks=True,
        lstrip_blocks=True,
        autoescape=True,  # so that macros return what is not escaped again; finalize leaves nothing to do for HTML
    )
    environment.filters["short"] = markdown.short
    environment.globals.update(
        dash=markdown.Markdown(markdown.NOTHING),
        code=markdown.code,
        codes=markdown.codes,
        short=markdown.short,
        to=lambda title, text: markdown.Markdown(f"[{text}](#{markdown.slug(title)})"),
        line=lambda value: markdown.Markdown(markdown.one_line(value).strip()),
        sep=lambda loop, text=", ": markdown.Markdown("" if loop.first else text),
        icon=lambda verdict: markdown.Markdown(_ICONS.get(verdict, "➖")),
        by=lambda step, check: markdown.Markdown(f" *({step} · {check})*"),
        passed=passed,
        judged=judged,
        is_name=is_name,
        evidence_file=lambda step: f"{step_name(step)}.json",
    )
    return environment


def _view(phase: Phase, seen: Evidence) -> dict[str, Any]:
    migration, prisma = actions.migration(phase, seen), actions.prisma(seen)
    found = databases.databases(phase, seen)
    every = [finding for _, finding in seen.all_findings()]
    return {
        "phase": phase,
        "header": seen.header,
        "seen": seen,
        "stand": _stand(phase, seen, migration, prisma),
        "whole": _whole(seen),
        "overall": worst(every),
        "verdicts": Counter(finding.verdict for finding in every),
        "places": databases.places(phase, seen),
        "databases": found,
        "searched": databases.searched(seen),
        "alike": lambda kind: databases.alike(phase, seen, kind),
        "kinds": databases.KINDS,
        "state": lambda target: databases.state(seen, target),
        "steps_that_saw": lambda targets: databases.steps_that_saw(seen, targets),
        "held_before": lambda how: [d.name for d in found if d.held("before", len(phase.tables)) == how],
        "dumps": actions.dumps(phase, seen),
        "migration": migration,
        "prisma": prisma,
        "seeds": seeds_and_routes.seeds(phase, seen),
        "seed_sets": seeds_and_routes.seed_sets(phase, seen),
        "rows_as_declared": seeds_and_routes.rows_as_declared(seen),
        "services": seeds_and_routes.services(phase, seen),
        "routes": seeds_and_routes.routes(phase, seen),
        "boxes": seeds_and_routes.boxes(seen),
        "told_failures": _failures(seen),
        "languages": languages(),
    }


def _failures(seen: Evidence) -> tuple[tuple[str, Finding], ...]:
    """Return what did not pass, each with its step: one line for the same at several targets, or many of a table."""
    by_step = groupby(seen.failures, key=lambda pair: pair[0])
    return tuple((step, f) for step, pairs in by_step for f in same_fault(in_short(f for _, f in pairs)))


def _whole(seen: Evidence) -> bool:
    """Tell whether the run came to a good end; as far as is known while its last step writes the report."""
    return (
        seen.header.verdict not in CLOSING
        and not (seen.failures or seen.missing_steps or seen.unfinished_steps)
        and seen.asked("report", "last_look")
    )


def _stand(phase: Phase, seen: Evidence, migration: actions.Migration, prisma: actions.PrismaView) -> str:
    """Say how far the run went: applied, unknown, plan (it could write nothing), withheld (it could, and did not)."""
    if phase.written is None:
        return "plan"
    if migration.applied is None:
        return "unknown"
    if migration.applied:
        return "applied"
    return "plan" if seen.header.mode == "plan" and not prisma.resolved.recorded else "withheld"
