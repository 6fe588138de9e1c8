"""`runbooks adopt`: from a database and a Prisma project to a plan, one step after the other."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from runbooks_lib.cli.doctor import looks
from runbooks_lib.cli.help import examples
from runbooks_lib.cli.run import RUNS_HELP, run
from runbooks_lib.cli.terminal import say, somebody_is_there
from runbooks_lib.errors import PreconditionFailed, RunbookError

if TYPE_CHECKING:
    from runbooks_lib.drafting.diagnosis import Diagnosis


@click.command(
    epilog=examples("runbooks adopt", "runbooks adopt --service shop --prisma-project ../shop --yes")
)
@click.option("--service", metavar="NAME", help="The libpq service of the database.")
@click.option(
    "--prisma-project",
    metavar="PATH",
    envvar="RUNBOOKS_PRISMA_PROJECT",
    help="The Prisma project, its folder or its schema; default: $RUNBOOKS_PRISMA_PROJECT, else this folder.",
)
@click.option("--out", metavar="DIR", help="The folder of the phase that is drafted; default: phase-NAME.")
@click.option("--accept", metavar="WHY", default="", help="Pass over migrations that only the database has.")
@click.option("--ignore", metavar="WHY", default="", help="Let objects stay that no migration makes.")
@click.option(
    "--repair", metavar="WHY", default="", help="Make anew what is missing of a recorded migration."
)
@click.option(
    "--yes", is_flag=True, help="Ask nothing: leave open what may be, and take a drafted phase as it is."
)
@click.option("--runs", metavar="DIR|URL", help=RUNS_HELP)
@click.pass_context
def adopt(
    context: click.Context,
    service: str | None,
    prisma_project: str | None,
    out: str | None,
    accept: str,
    ignore: str,
    repair: str,
    yes: bool,
    runs: str | None,
) -> None:
    """Bring a database and its Prisma project in line: look, draft a phase, and plan it; nothing is written to any.

    Asks where a person has to choose; where nobody is there to answer, it stops and names the option that is missing.
    Ends with the plan and the command that applies it, or says what stands in its way.
    """
    from runbooks_lib.drafting.adoption import Reason, a_phase_can_help, can_be_drafted, draft, to_ask
    from runbooks_lib.drafting.diagnose import diagnose
    from runbooks_lib.drafting.diagnosis_lines import seen_lines
    from runbooks_lib.drafting.phase_new import folder_for
    from runbooks_lib.postgres.session.service_file import service_names

    service = service or _choose("--service", "service of the database", sorted(service_names()))
    project = Path(prisma_project or _project()).expanduser().absolute()
    folder = Path(out) if out else folder_for(service)
    reasons = {Reason.ACCEPT: accept, Reason.REPAIR: repair, Reason.IGNORE: ignore}
    is_drafted = (folder / "phase.toml").exists()
    if is_drafted and any(reasons.values()):
        raise PreconditionFailed(
            f"{folder} is there already, and says itself what may be.",
            "Write the reason into its phase.toml, or name another folder with --out.",
        )
    _require_tools(service, project)
    found = diagnose(service, project)
    for line in seen_lines(found):
        say(line)
    if is_drafted:
        if not a_phase_can_help(found):
            _end(context, found)
        if not yes:
            _require_consent(folder)
    else:
        for reason in to_ask(found):
            reasons[reason] = reasons[reason] or _why(reason.question, yes)
            if not can_be_drafted(found, reasons):
                break  # nothing else has to be answered
        if not can_be_drafted(found, reasons):
            _end(context, found)
        if Reason.REPAIR in to_ask(found) and not reasons[Reason.REPAIR]:
            say("without --repair WHY the plan is red: what is missing of a recorded migration stays away")
        drafted = draft(service, project, folder, reasons)
        say(f"drafted {folder / 'phase.toml'}: {drafted.lines} lines; REVIEW marks what you have to decide")
    context.invoke(run, phase=str(folder), prisma_project=str(project), runs=runs)


def _require_tools(service: str, project: Path) -> None:
    """Look at all that `runbooks doctor` does, but for the other services. Raises PreconditionFailed, naming a part."""
    from runbooks_lib.postgres.session.service_file import service_names

    others = set(service_names()) - {service}
    for name, needed, look in looks(str(project)):
        if needed and name not in others:
            try:
                look()
            except RunbookError as error:
                raise PreconditionFailed(f"{name}: {error.what_happened}", error.what_to_do) from error


def _choose(option: str, what: str, among: Sequence[str]) -> str:
    """Return the only one, or the one that a person chooses."""
    if len(among) == 1:
        return among[0]
    if not among or not somebody_is_there():
        known = (
            f"There are: {', '.join(among)}." if among else "No service is defined: see `runbooks doctor`."
        )
        raise PreconditionFailed(f"Which {what}? {option} is missing.", known)
    return str(click.prompt(what, type=click.Choice(among), err=True))


def _project() -> str:
    from runbooks_lib.prisma.named import project_here

    if here := project_here():
        return str(here)
    if not somebody_is_there():
        raise PreconditionFailed(
            "Which Prisma project? --prisma-project is missing.", "Name its folder, or its schema."
        )
    return str(click.prompt("folder of the Prisma project", value_proc=_existing, err=True))


def _existing(text: str) -> Path:
    path = Path(text).expanduser()
    if not path.exists():
        raise click.UsageError(f"There is no folder {path}.")
    return path


def _why(question: str, yes: bool) -> str:
    """Return the reason that a person gives; empty where none is given, or nobody is there."""
    if yes or not somebody_is_there():
        return ""
    return str(click.prompt(question, default="", show_default=False, err=True)).strip()


def _require_consent(folder: Path) -> None:
    """Ask whether a phase that was drafted before is planned as it stands. Raises PreconditionFailed when it is not."""
    question = f"{folder} is there already. Plan it as it stands?"
    if not somebody_is_there():
        raise PreconditionFailed(
            f"{question} --yes is missing.", "Say --yes, or name another folder with --out."
        )
    if not click.confirm(question, err=True):
        raise PreconditionFailed(
            "Nothing is planned.", "Name another folder with --out: a phase is drafted there."
        )


def _end(context: click.Context, found: Diagnosis) -> None:
    """End where nothing is to be planned: all is well, or something stands in the way."""
    from runbooks_lib.drafting.diagnosis import Condition

    if found.condition is Condition.UNKNOWN_MIGRATIONS:
        say("--accept WHY passes over them.")
    if found.next:
        say(f"next: {found.next}")
    if found.door:
        say(f"more: runbooks explain {shlex.quote(found.door)}")
    context.exit(found.exit_code)
