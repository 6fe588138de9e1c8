"""Pages for people: the report in every language with pictures, every archived notebook, the archive's index."""

from __future__ import annotations

import tempfile
from pathlib import Path

from markupsafe import Markup

from runbooks_lib.archive import changes
from runbooks_lib.archive.files import write_json, write_text
from runbooks_lib.archive.manifest import SEAL
from runbooks_lib.archive.run import Run
from runbooks_lib.errors import EvidenceError
from runbooks_lib.evidence import Evidence, step_name
from runbooks_lib.phase import STEPS, Phase, load_phase
from runbooks_lib.report.document import languages
from runbooks_lib.report.document import render as report
from runbooks_lib.report.html.article import Article, article
from runbooks_lib.report.html.notebook import Page, anchor, exporter, notebook_page
from runbooks_lib.report.pictures.lag import lag_curve
from runbooks_lib.report.pictures.matrix import matrix
from runbooks_lib.report.pictures.timeline import timeline
from runbooks_lib.report.pictures.topology import topology
from runbooks_lib.report.templates import compile_templates, in_all_languages, in_language, render, source
from runbooks_lib.typed import plain

REPORT = "report.html"
INDEX = "index.html"


def write_pages(run: Run) -> tuple[Path, ...]:
    """Write the run's pages: NN_step.html for each archived notebook, report.html, and verdicts.json for the index.

    Also report.LANG.md, where the step that writes and judges them has not: a run that was stopped has its report.
    Reads run.json, the steps' records, the archived notebooks and the copy of the phase; returns what was written.
    Raises EvidenceError when one of them cannot be read or the folder not be written, SpecError when this version
    cannot read the run's phase.
    """
    evidence = run.evidence()
    written = [run.path / changes.FILE]
    write_json(written[0], plain(changes.summary(evidence)))
    for step in STEPS:
        page = run.notebook(step).with_suffix(".html")
        if run.notebook(step).exists():
            written.append(page)
            write_text(page, _notebook(run, step, evidence))
        else:
            page.unlink(missing_ok=True)  # of an earlier attempt
    for lang in languages():
        path = run.path / f"report.{lang}.md"
        if not path.exists() or not evidence.asked(STEPS[-1], "write"):
            written.append(path)
            write_text(path, markdown(run, evidence, lang))
    written.append(run.path / REPORT)
    write_text(written[-1], _report(run, evidence))
    return tuple(written)


def preload() -> None:
    """Import and compile what the first pages would have to wait for."""
    exporter()
    compile_templates("notebook.html.j2", "report.html.j2")


def markdown(run: Run, evidence: Evidence, lang: str) -> str:
    """Return the report of a run as Markdown in a language, as the report's own step writes it."""
    return report(_phase(run, evidence), as_reported(evidence), lang).text


def _notebook(run: Run, step: str, evidence: Evidence) -> str:
    archived = [name for name in STEPS if run.notebook(name).exists()]
    at = archived.index(step)
    return notebook_page(
        run.notebook(step),
        evidence.records.get(step),
        evidence.header,
        verdict=evidence.verdicts.get(step),
        previous=_page(archived[at - 1]) if at else None,
        following=_page(archived[at + 1]) if at + 1 < len(archived) else None,
        index=_index(run),
    )


def _page(step: str) -> Page:
    name = step_name(step)
    return Page(file=f"{name}.html", name=name)


def _index(run: Run) -> str | None:
    """Return the way to the archive's index, where it has one."""
    return f"../../{INDEX}" if (run.path.parents[1] / INDEX).exists() else None


def _report(run: Run, evidence: Evidence) -> str:
    phase = _phase(run, evidence)
    return render(
        "report.html.j2",
        in_all_languages(),
        header=evidence.header,
        verdicts=evidence.verdicts,
        articles=[_article(run, phase, evidence, lang) for lang in languages()],
        pages={step: _page(step) for step in STEPS if run.notebook(step).exists()},
        index=_index(run),
        script=source("page.js"),
    )


def _article(run: Run, phase: Phase, evidence: Evidence, lang: str) -> Article:
    document = report(phase, as_reported(evidence), lang)
    pictures: dict[str, list[Markup | None]] = {
        "discovery": [topology(phase, evidence, lang), lag_curve(evidence, lang)],
        "tables": [matrix(phase, evidence, lang)],
        "actions": [timeline(evidence, lang)],
    }
    return article(
        document.text,
        lang,
        words=in_language(lang)["_"],
        files=run.believed().names(run.path),
        evidence=lambda step, check: _address(run, evidence, step, check),
        pictures={
            document.sections[section]: Markup("").join(map(_figure, filter(None, drawn)))
            for section, drawn in pictures.items()
            if section in document.sections  # one that has nothing to tell is left out
        },
    )


def as_reported(evidence: Evidence) -> Evidence:
    """Return the evidence as the report's own step saw it when it wrote the report: without the answer of writing it.

    So report.html says the same as report.LANG.md.
    """
    return evidence.without(STEPS[-1], "write")


def _figure(picture: Markup) -> Markup:
    return Markup('<figure tabindex="0">{}</figure>\n').format(picture)


def _address(run: Run, evidence: Evidence, step: str, check: str) -> str | None:
    """Return where a check's findings are to be read: on its step's page, else in its record; None when nowhere."""
    if not evidence.findings(step, checks=(check,)):
        return None
    name = step_name(step)
    return f"{name}.html#{anchor(check)}" if run.notebook(step).exists() else f"{name}.json"


def _phase(run: Run, evidence: Evidence) -> Phase:
    """Load the copy of the phase that the run keeps; a phase's folder has its id as name, the copy's has not."""
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder) / Path(evidence.header.phase.id).name
        home.mkdir()
        believed = run.believed()
        for name in believed.names(run.path):
            parent, _, file = name.rpartition("/")
            if parent == "plan":
                believed.copy(run.path, name, home / file)
        return load_phase(str(home), kept=True)


# A run's report written anew from its evidence, by this version of the templates; the run itself stays as it is.


def report_anew(run: Run, lang: str) -> str:
    """Return the Markdown of a run's report in a language, of any run: complete, stopped or killed.

    Raises EvidenceError when the run cannot be read, PreconditionFailed for a language without a catalogue.
    """
    return markdown(run, run.evidence(), lang)


def write_anew(run: Run, folder: Path) -> tuple[Path, ...]:
    """Copy a run to a folder, without its seal, and write its reports and pages there anew; return what was written.

    A copy, so that every link of the pages leads somewhere; without the seal, so that nobody takes it for the run.
    Raises EvidenceError when there is something in the folder already, when it is the run's own or within it, when a
    file of the run is not as it was sealed, and when it cannot be written.
    """
    folder = folder.absolute()
    if folder.resolve().is_relative_to(run.path.resolve()):
        raise EvidenceError(f"{folder} is in the run's own folder.", "Name another folder: --out DIR.")
    try:
        if folder.exists() and any(folder.iterdir()):
            raise EvidenceError(
                f"{folder} is not empty; nothing was overwritten.", "Name a new folder: --out DIR."
            )
        _copy(run, folder)
    except OSError as error:
        raise EvidenceError(
            f"{run.path} could not be copied to {folder}: {error}.",
            "Free space, or choose a folder that you may write to: --out DIR.",
        ) from error
    return write_pages(Run(folder))


def _copy(run: Run, folder: Path) -> None:
    """Copy what of a run is believed, without its seal and what is written anew."""
    believed = run.believed()
    anew = {REPORT, changes.FILE, *(f"report.{lang}.md" for lang in languages())}
    for name in believed.names(run.path):
        if name not in SEAL and name not in anew:
            (folder / name).parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            believed.copy(run.path, name, folder / name)
