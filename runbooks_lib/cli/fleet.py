"""`runbooks fleet`: a phase at many databases."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from runbooks_lib.cli.asked import absolute, given, require_key
from runbooks_lib.cli.help import Group, examples
from runbooks_lib.cli.run import JSON, KEY
from runbooks_lib.cli.terminal import say, say_json

if TYPE_CHECKING:
    from runbooks_lib.execution.fleet.folder import FleetFolder
    from runbooks_lib.execution.fleet.record import Asked, Fleet

RUNS = click.option(
    "--runs", metavar="DIR", help="Folder that keeps the runs; default: $RUNBOOKS_RUNS, else ./runs."
)
WORKERS = click.option(
    "--workers", type=click.IntRange(1), help="Processes of this machine; default: one a processor."
)
SCHEDULER = click.option(
    "--scheduler", metavar="ADDRESS", default="", help="A dask cluster instead, tcp://… or tls://…"
)
TARGETS = click.option(
    "--targets",
    metavar="FILE",
    required=True,
    type=click.Path(path_type=Path, dir_okay=False),
    help="The fleet file: which databases, which waves, which limits.",
)


@click.group(cls=Group, epilog=examples("runbooks fleet run phases/ORDERS --targets fleet.toml"))
def fleet() -> None:
    """Carry a phase out at many databases, each by a run of its own."""


@fleet.command(
    "run",
    epilog=examples(
        "runbooks fleet run phases/ORDERS --targets fleet.toml",
        "runbooks fleet run phases/ORDERS --targets fleet.toml --apply --confirm ORDERS:1a2b3c4d --canary 1",
    ),
)
@click.argument("phase")
@TARGETS
@WORKERS
@SCHEDULER
@click.option("--apply", is_flag=True, help="Write. Without it every database is only planned.")
@click.option(
    "--confirm", metavar="PHASE:HASH8", default="", help="The plan to apply, as the plan run printed it."
)
@click.option("--canary", type=click.IntRange(0), default=0, help="Apply to so many first, alone.")
@click.option("--wave", type=click.IntRange(0), default=0, help="Apply to no more than so many at a time.")
@click.option(
    "--max-failures",
    type=click.IntRange(1),
    default=1,
    show_default=True,
    help="Begin nothing more after so many failures.",
)
@RUNS
@KEY
@JSON
def run_fleet(
    phase: str,
    targets: Path,
    workers: int | None,
    scheduler: str,
    apply: bool,
    confirm: str,
    canary: int,
    wave: int,
    max_failures: int,
    runs: str | None,
    key: str | None,
    as_json: bool,
) -> None:
    """Plan PHASE at every database of a fleet file, or apply what was planned.

    Each database has a run of its own, the very one of `runbooks run`. Without --apply all are planned, and the hash
    over all plans is printed. With --apply --confirm PHASE:HASH8 these plans are carried out: the first ones alone with
    --canary, then wave by wave, until --max-failures. A database that has changed since is refused, by name.
    """
    if apply != bool(confirm):
        raise click.UsageError("--apply needs --confirm PHASE:HASH8, and --confirm needs --apply.")
    _require_one(workers, scheduler)
    require_key(key)
    from runbooks_lib.archive.run import runs_folder
    from runbooks_lib.execution.fleet.record import Asked

    asked = Asked(
        runs=runs_folder(runs), confirm=confirm, canary=canary, wave=wave, max_failures=max_failures
    )
    again = ["runbooks", "fleet", "run", phase, "--targets", str(targets)]
    again += given(scheduler=scheduler, runs=runs, key=key)
    _begin(phase, targets, asked, workers=workers, scheduler=scheduler, as_json=as_json, again=again)


@fleet.command(epilog=examples("runbooks fleet check phases/ORDERS --targets fleet.toml"))
@click.argument("phase")
@TARGETS
@WORKERS
@SCHEDULER
@RUNS
@KEY
@JSON
def check(
    phase: str,
    targets: Path,
    workers: int | None,
    scheduler: str,
    runs: str | None,
    key: str | None,
    as_json: bool,
) -> None:
    """See whether every database of a fleet file holds all that PHASE says; for every night, after it was applied.

    Each database is planned, and nothing is written to any. A gate that closes is a failure, and so is a plan that has
    something to apply. Ends with 0 when all hold.
    """
    _require_one(workers, scheduler)
    require_key(key)
    from runbooks_lib.archive.run import runs_folder
    from runbooks_lib.execution.fleet.record import Asked

    asked = Asked(runs=runs_folder(runs), check=True)
    _begin(phase, targets, asked, workers=workers, scheduler=scheduler, as_json=as_json)


@fleet.command(epilog=examples("runbooks fleet resume runs/fleets/ORDERS/20260107T174759Z-3f9c2a"))
@click.argument("folder", type=click.Path(path_type=Path, file_okay=False))
@WORKERS
@SCHEDULER
@KEY
@JSON
def resume(folder: Path, workers: int | None, scheduler: str, key: str | None, as_json: bool) -> None:
    """Go on with the fleet run in FOLDER: what is done is not repeated, what was begun is taken up."""
    _require_one(workers, scheduler)
    require_key(key)
    from runbooks_lib.execution.fleet.folder import FleetFolder

    found = FleetFolder(folder.absolute())
    _carry_on(found, found.read(), workers=workers, scheduler=scheduler, as_json=as_json)


@fleet.command(epilog=examples("runbooks fleet verify runs/fleets/ORDERS/20260107T174759Z-3f9c2a"))
@click.argument("folder", type=click.Path(path_type=Path, file_okay=False))
@click.option(
    "--key", metavar="PUB", type=click.Path(path_type=Path), help="Public key that must have signed."
)
@JSON
def verify(folder: Path, key: Path | None, as_json: bool) -> None:
    """Verify the fleet run in FOLDER and each of its runs, offline: sealed, whole, and telling the same."""
    from runbooks_lib.cli.verify import as_json_of, print_verification
    from runbooks_lib.execution.fleet.folder import FleetFolder
    from runbooks_lib.execution.fleet.verify import verify_fleet

    found = verify_fleet(FleetFolder(folder.absolute()), key=key)
    if as_json:
        say_json(as_json_of(found))
    else:
        print_verification(found)
    sys.exit(0 if found.trusted else 1)


@fleet.command(epilog=examples("runbooks fleet report runs/fleets/ORDERS/20260107T174759Z-3f9c2a"))
@click.argument("folder", type=click.Path(path_type=Path, file_okay=False))
@click.option(
    "--out",
    metavar="DIR",
    type=click.Path(path_type=Path, file_okay=False),
    help="Default: a folder here.",
)
def report(folder: Path, out: Path | None) -> None:
    """Write the report of the fleet run in FOLDER anew, from its record, to another folder."""
    from runbooks_lib.errors import EvidenceError
    from runbooks_lib.execution.fleet.finish import write_report
    from runbooks_lib.execution.fleet.folder import FleetFolder

    found = FleetFolder(folder.absolute())
    to = (out or Path(f"{found.path.name}-report")).absolute()
    if to.exists():
        raise EvidenceError(f"{to} is there; nothing was overwritten.", "Name a new folder: --out DIR.")
    record = found.read()
    to.mkdir(parents=True, mode=0o700)
    write_report(found, record, to)
    say(to)


@fleet.command()
@click.argument("phase")
@TARGETS
@JSON
def diff(phase: str, targets: Path, as_json: bool) -> None:
    """Say which databases of a fleet file have which schema; PHASE says what their targets are.

    Reads only. Ends with 0 when all have the same, else with 1.
    """
    from runbooks_lib.execution.fleet.diff import diff as compare
    from runbooks_lib.execution.fleet.file import read_fleet_file
    from runbooks_lib.execution.fleet.targets import places
    from runbooks_lib.phase import load_phase
    from runbooks_lib.typed import plain

    loaded = load_phase(absolute(phase))
    read = read_fleet_file(targets, loaded)
    found = compare(loaded, read.target, places(read, loaded))
    if as_json:
        say_json(plain(found))
    else:
        for group in found.groups:
            say(f"{len(group.databases)} with schema {group.fingerprint[:8]}: {', '.join(group.databases)}")
            for difference in group.differences:
                say(f"  {difference}")
        for name, why in found.unread.items():
            say(f"{name} could not be read: {why}", err=True)
    sys.exit(found.exit_code)


def _require_one(workers: int | None, scheduler: str) -> None:
    if workers and scheduler:
        raise click.UsageError("--workers and --scheduler exclude each other.")


def _begin(
    phase: str,
    targets: Path,
    asked: Asked,
    *,
    workers: int | None,
    scheduler: str,
    as_json: bool,
    again: Sequence[str] = (),
) -> None:
    from runbooks_lib.execution.fleet.file import read_fleet_file
    from runbooks_lib.phase import load_phase

    loaded = load_phase(absolute(phase))
    read = read_fleet_file(targets, loaded)
    from runbooks_lib.execution.fleet.folder import FleetFolder
    from runbooks_lib.execution.fleet.runner import new
    from runbooks_lib.execution.fleet.targets import places
    from runbooks_lib.execution.preconditions import require_tools

    require_tools(loaded)
    record = new(loaded, read, places(read, loaded), asked)
    folder = FleetFolder.of(asked.runs, record)
    _carry_on(folder, record, workers=workers, scheduler=scheduler, as_json=as_json, again=again)


def _carry_on(
    folder: FleetFolder,
    fleet: Fleet,
    *,
    workers: int | None,
    scheduler: str,
    as_json: bool,
    again: Sequence[str] = (),
) -> None:
    from runbooks_lib.cli.fleet_progress import FleetProgress, print_fleet
    from runbooks_lib.execution.fleet.runner import carry_on
    from runbooks_lib.prisma.named import name_project
    from runbooks_lib.typed import plain

    name_project(None)
    try:
        with FleetProgress(fleet) as progress:
            ended = carry_on(folder, fleet, workers=workers, scheduler=scheduler, watch=progress.show)
    except KeyboardInterrupt:
        if folder.sealed:
            say(f"to go on: {shlex.join(['runbooks', 'fleet', 'resume', str(folder.path)])}", err=True)
        raise
    if as_json:
        say_json(
            {
                **plain(ended),
                "verdict": ended.verdict,
                "exit_code": ended.exit_code,
                "folder": str(folder.path),
            }
        )
    else:
        print_fleet(ended, folder.path, again)
    sys.exit(ended.exit_code)
