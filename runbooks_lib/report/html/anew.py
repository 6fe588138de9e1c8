"""A run's report written anew from its evidence, by this version of the templates; the run itself stays as it is."""

from __future__ import annotations

from pathlib import Path

from runbooks_lib.archive.changes import FILE
from runbooks_lib.archive.manifest import SEAL
from runbooks_lib.archive.run import Run
from runbooks_lib.errors import EvidenceError
from runbooks_lib.report.document import languages
from runbooks_lib.report.html.pages import REPORT, markdown, write_pages


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
    anew = {REPORT, FILE, *(f"report.{lang}.md" for lang in languages())}
    for name in believed.names(run.path):
        if name not in SEAL and name not in anew:
            (folder / name).parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            believed.copy(run.path, name, folder / name)
