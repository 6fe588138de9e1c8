"""`runbooks run` and `runbooks demo`."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

from runbooks_lib.cli.asked import (
    absolute,
    chosen_for,
    given,
    pairs_of,
    require_confirmation,
    require_key,
    require_nothing_new,
    steps_of,
)
from runbooks_lib.cli.help import examples
from runbooks_lib.cli.lab import PRISMA
from runbooks_lib.cli.naming import complete_phase, complete_run, complete_step
from runbooks_lib.cli.terminal import say, say_json
from runbooks_lib.cli.working import Working
from runbooks_lib.errors import RunbookError

if TYPE_CHECKING:
    from runbooks_lib.archive.run import Run
    from runbooks_lib.execution.runner import Result
    from runbooks_lib.phase import Phase

RUNS_HELP = "Folder or URL (s3://…) that keeps the runs; default: $RUNBOOKS_RUNS, else ./runs."
WEAK = "a secret that is an ordinary word, a name or short: it is masked where passwords stand. Choose a better one."
DEMO_PHASE = "PH15-AMAZON-DB-FOUNDATION-01"

LANG = click.option(
    "--lang",
    type=click.Choice(["en", "fr"]),
    default="en",
    show_default=True,
    help="Language of the open items.",
)
KEY = click.option(
    "--key",
    metavar="FILE",
    help="Private key to sign the run with; default: $RUNBOOKS_SIGNING_KEY, else unsigned.",
)
JSON = click.option("--json", "as_json", is_flag=True, help="Print the result as JSON on stdout.")


@click.command(
    epilog=examples(
        "runbooks run PH15-AMAZON-DB-FOUNDATION-01",
        "runbooks run PH15-AMAZON-DB-FOUNDATION-01 --apply --confirm keybuzz:1a2b3c4d",
        "runbooks run PH15-AMAZON-DB-FOUNDATION-01 --resume latest",
        "runbooks run phases/ORDERS/phase.toml --only preflight",
    )
)
@click.argument("phase", shell_complete=complete_phase)
@click.option("--apply", is_flag=True, help="Write. Without it the run only plans.")
@click.option(
    "--confirm", metavar="DATABASE:HASH8", default="", help="The plan to apply, as the plan run printed it."
)
@click.option(
    "--from",
    "first",
    metavar="STEP",
    shell_complete=complete_step,
    help="Begin with this step: 3, baseline_migration, or its beginning.",
)
@click.option("--only", metavar="STEP", shell_complete=complete_step, help="Run this step alone.")
@click.option(
    "--resume",
    "resumed",
    metavar="RUN",
    shell_complete=complete_run,
    help="Take up this run where it stopped: its folder, its id, the beginning of its id, or latest.",
)
@click.option(
    "--service",
    "services",
    metavar="TARGET=NAME",
    multiple=True,
    help="Reach a target by another service of pg_service.conf than the phase names; may be repeated.",
)
@click.option(
    "--database",
    "databases",
    metavar="TARGET=NAME",
    multiple=True,
    help="Look for a target in another database than the phase names; may be repeated.",
)
@click.option(
    "--allow-superuser-objects",
    "superuser_objects",
    metavar="NAME",
    multiple=True,
    help="Have a superuser of the sandbox make this object, and compare it; may be repeated.",
)
@click.option(
    "--prisma-project",
    metavar="PATH",
    help="The Prisma project, its folder or its schema; default: $RUNBOOKS_PRISMA_PROJECT, else this folder.",
)
@click.option("--runs", metavar="DIR|URL", help=RUNS_HELP)
@KEY
@LANG
@JSON
def run(
    phase: str,
    apply: bool,
    confirm: str,
    first: str | None,
    only: str | None,
    resumed: str | None,
    services: tuple[str, ...],
    databases: tuple[str, ...],
    superuser_objects: tuple[str, ...],
    prisma_project: str | None,
    runs: str | None,
    key: str | None,
    lang: str,
    as_json: bool,
) -> None:
    """Run PHASE (a shipped id, or the path of a phase.toml) against its targets.

    Without --apply nothing is written to any database: the run plans, rehearses in a transaction that it rolls back,
    and prints the command that applies the plan. That is carried out if everything it was made from is still the same.

    What only a superuser makes (a function in C, an operator class, a base type, a cast) is left out where a dump is
    restored and migrations are replayed, and named as not judged; --allow-superuser-objects public.name has the scratch
    server's superuser make it. The plan's hash covers these names, the services and the databases: what was planned on
    one is not applied on another.

    With --resume a run that failed or was killed goes on: a step that made something is not repeated if what it
    made still stands, and steps that only look are asked anew.
    """
    require_confirmation(apply, confirm)
    due, chosen = steps_of(first, only), pairs_of(services, "--service", "leader=staging_leader")
    elsewhere = pairs_of(databases, "--database", "leader=tenant_7")
    if resumed:
        require_nothing_new(first or only, {**chosen, **elsewhere}, superuser_objects)
    require_key(key)
    from runbooks_lib.archive.run import Run
    from runbooks_lib.archive.store.listing import find_run
    from runbooks_lib.archive.store.remote import place, shown
    from runbooks_lib.execution.kernels.warm import warm_kernels
    from runbooks_lib.phase import load_phase
    from runbooks_lib.prisma.named import name_project

    with _told(as_json) as made:
        archive = place(runs, (named := load_phase(phase)).id)
        from runbooks_lib.execution.preconditions import require, require_confirmable  # takes long: psycopg

        before = find_run(archive, resumed, named.id) if resumed else None
        prisma_project = name_project(prisma_project or _begun_with(before))
        loaded = require(phase, services=chosen, databases=elsewhere, resumed=before, steps=due)
        if confirm and (unknown := require_confirmable(loaded, archive, confirm)):
            say(unknown, err=True)
        click.get_current_context().with_resource(warm_kernels())  # preloads while we import
        folder = before or Run.create(archive, loaded, superuser_objects=superuser_objects)
        made.append(folder)
        keep = _decide(folder, loaded, apply=apply) if before else {}
        _say_nothing_to_do(loaded, due)
        result = _execute(folder, absolute(phase), due, apply=apply, confirm=lambda: confirm, keep=keep)
    again = ["runbooks", "run", phase, *given(prisma_project=prisma_project, runs=shown(runs or ""), key=key)]
    more, file = chosen_for(folder, named), loaded.folder / "phase.toml"
    _end(result, runs, as_json=as_json, lang=lang, again=again, chosen=more, file=file)


@click.command(epilog=examples("runbooks demo", "runbooks demo --lang fr --runs /tmp/runs"))
@click.option("--runs", metavar="DIR|URL", help=RUNS_HELP)
@KEY
@LANG
@JSON
@PRISMA
def demo(runs: str | None, key: str | None, lang: str, as_json: bool, prisma: str) -> None:
    """Start a lab, carry the whole reference phase out in it, write the report, and stop the lab.

    Needs no server, no credentials and no configuration. The plan is confirmed on your behalf, since the lab is
    disposable; elsewhere you confirm it yourself.
    """
    require_key(key)
    from runbooks_lib.execution.kernels.warm import warm_kernels

    click.get_current_context().with_resource(warm_kernels())  # preloads while the lab starts
    from runbooks_lib.archive.run import Run
    from runbooks_lib.archive.store.remote import place
    from runbooks_lib.execution.confirmation import confirmation_of
    from runbooks_lib.execution.preconditions import require
    from runbooks_lib.lab.lab import running
    from runbooks_lib.phase import STEPS

    with ExitStack() as stack:
        with Working("starting the lab: a PostgreSQL leader, a streaming standby, Prisma, an API"):
            lab = stack.enter_context(running(prisma=int(prisma)))
        os.environ.update(lab.env())
        with _told(as_json) as made:
            loaded = require(DEMO_PHASE)
            folder = Run.create(place(runs, loaded.id), loaded)
            made.append(folder)
            result = _execute(
                folder,
                DEMO_PHASE,
                STEPS,
                apply=True,
                confirm=lambda: confirmation_of(loaded, folder),
                keep={},
            )
    _end(result, runs, as_json=as_json, lang=lang, again=["runbooks", "demo"])


def _begun_with(before: Run | None) -> str | None:
    """Return the project of a run that is taken up again, unless the variable names one now."""
    from runbooks_lib.prisma.named import PROJECT_VARIABLE

    return before.header().prisma_project if before and not os.environ.get(PROJECT_VARIABLE) else None


@contextmanager
def _told(as_json: bool) -> Iterator[list[Run]]:
    """Have what stops a run told as JSON, too; the block puts the run into the list as soon as there is one."""
    made: list[Run] = []
    try:
        yield made
    except RunbookError as error:
        if as_json:
            from runbooks_lib.report.summary import stopped

            say_json(stopped(made[0] if made else None, error))
        raise


def _say_nothing_to_do(phase: Phase, steps: tuple[str, ...]) -> None:
    """Say before the run begins which of its steps have nothing to do, and why; and what none will judge."""
    from runbooks_lib.steps.declared import left_loose, nothing_to_do

    for step, why in nothing_to_do(phase).items():
        if step in steps:
            say(f"{step} has nothing to do: {why}", err=True)
    for sentence in left_loose(phase):
        say(sentence, err=True)


def _execute(
    folder: Run,
    phase: str,
    steps: tuple[str, ...],
    *,
    apply: bool,
    confirm: Callable[[], str],
    keep: Mapping[str, str],
) -> Result:
    from runbooks_lib.cli.progress import Progress
    from runbooks_lib.execution.runner import run_notebooks

    _warn_of_weak_secrets()
    title = f"{folder.path.parent.name} {'apply' if apply else 'plan'} {folder.id}"
    with Progress(title, len(steps)) as progress:
        return run_notebooks(
            folder,
            phase=phase,
            apply=apply,
            confirm=confirm,
            steps=steps,
            keep=keep,
            on_start=progress.start,
            on_end=progress.end,
        )


def _end(
    result: Result,
    runs: str | None,
    *,
    as_json: bool,
    lang: str,
    again: Sequence[str],
    chosen: Sequence[str] = (),
    file: Path | None = None,
) -> None:
    """Copy the run where its archive is, print its end, and end with its exit code."""
    from runbooks_lib.cli.ending import print_end

    if as_json:
        from runbooks_lib.report.summary import result as in_short

        say_json(in_short(result.run))
    _publish(result.run, runs)
    if not as_json:
        print_end(result, lang=lang, again=again, chosen=chosen, file=file)
    sys.exit(result.exit_code)


def _warn_of_weak_secrets() -> None:
    """Say of which secrets a run could not tell where they stand: by their sources, never by what they are."""
    from runbooks_lib.archive.masking.sources import weak_secrets

    for source in weak_secrets():
        say(f"warning: {source} holds {WEAK}", err=True)


def _publish(run: Run, runs: str | None) -> None:
    """Show the run on the page of a GitHub job, and copy it to the archive where that is at a URL.

    Raises EvidenceError, naming the folder here, when it cannot be copied.
    """
    from runbooks_lib.archive.store.remote import archive_url, shown, upload
    from runbooks_lib.errors import EvidenceError
    from runbooks_lib.report.summary import append_summary

    try:
        append_summary(run)
    except EvidenceError as error:
        say(f"warning: {error}", err=True)
    if url := archive_url(runs):
        say(f"uploaded: {shown(upload(run, url))}", err=True)


def _decide(folder: Run, phase: Phase, *, apply: bool) -> dict[str, str]:
    """Decide which steps of a run are kept; note in run.json, and say on stderr, why each is or is not repeated."""
    from runbooks_lib.archive.run import now
    from runbooks_lib.evidence import step_name
    from runbooks_lib.execution.resume import decide

    decisions = decide(folder, phase, apply=apply)
    noted = [{"step": d.step, "repeated": d.repeat, "why": d.why} for d in decisions]
    folder.reopen()
    folder.update(resumed=[*folder.header().resumed, {"at": now(), "steps": noted}])
    for decision in decisions:
        what = "again" if decision.repeat else "kept"
        say(f"{step_name(decision.step):24} {what:5}  {decision.why}", err=True)
    return {d.step: d.why for d in decisions if not d.repeat}
