"""What a run is asked for on the command line: refused at once where it can't be, and told again for the next one."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import click

from runbooks_lib.cli.naming import step_named

if TYPE_CHECKING:
    from runbooks_lib.archive.run import Run
    from runbooks_lib.phase import Phase


def require_confirmation(apply: bool, confirm: str) -> None:
    """Refuse a confirmation that is missing, of another form, or of no use."""
    if apply and not confirm:
        raise click.UsageError(
            "--apply needs --confirm DATABASE:HASH8. Run without --apply first: its last line is the command to paste."
        )
    if apply and not re.fullmatch(r".+:[0-9a-f]{8}", confirm):
        raise click.UsageError(
            f"--confirm {confirm} is none: it takes DATABASE:HASH8, such as keybuzz:1a2b3c4d. "
            "Run without --apply: its last line has it."
        )
    if confirm and not apply:
        raise click.UsageError("--confirm without --apply does nothing; give both, or neither.")


def require_nothing_new(steps: str | None, services: object, superuser_objects: object) -> None:
    """Refuse what would have a run that is resumed be another one."""
    if steps:
        raise click.UsageError("--resume decides by itself which steps are due: leave --from and --only out.")
    if services:
        raise click.UsageError(
            "--resume goes on with the services of that run: leave --service and --database out."
        )
    if superuser_objects:
        raise click.UsageError(
            "--resume goes on with what that run was allowed: leave --allow-superuser-objects out."
        )


def require_key(named: str | None) -> None:
    """Have the run signed with the key that --key or RUNBOOKS_SIGNING_KEY names, and see now that it is one."""
    if named:
        os.environ["RUNBOOKS_SIGNING_KEY"] = named
    if os.environ.get("RUNBOOKS_SIGNING_KEY"):
        from runbooks_lib.archive.seal.keys import load_private, signing_key

        path = signing_key()
        assert path is not None
        load_private(path)


def steps_of(first: str | None, only: str | None) -> tuple[str, ...]:
    """Return the steps that are due: one alone, those from one on, or all."""
    from runbooks_lib.phase import STEPS

    if first and only:
        raise click.UsageError("--from and --only exclude each other.")
    if only:
        return (step_named(only),)
    return STEPS[STEPS.index(step_named(first)) :] if first else STEPS


def pairs_of(given: tuple[str, ...], option: str, example: str) -> dict[str, str]:
    """Return what an option names of each target; what is not of its form is not repeated."""
    pairs = [text.partition("=")[::2] for text in given]
    if not all(target and name for target, name in pairs):
        raise click.UsageError(f"{option} takes TARGET=NAME, such as {option} {example}.")
    if len(dict(pairs)) < len(pairs):
        raise click.UsageError(f"{option} names a target twice.")
    return dict(pairs)


def absolute(phase: str) -> str:
    """Return the phase so that a kernel in any folder finds it: ids stay, paths become absolute."""
    return str(Path(phase).absolute()) if Path(phase).exists() else phase


def given(**options: str | None) -> list[str]:
    """Return the words of options that were given."""
    return [w for name, value in options.items() if value for w in (f"--{name.replace('_', '-')}", value)]


def each(option: str, values: Iterable[str]) -> list[str]:
    """Return the words of an option that is given once for each value."""
    return [word for value in values for word in (option, value)]


def chosen_for(run: Run, phase: Phase) -> list[str]:
    """Return the words for what was chosen for a run and is not in its phase: services, objects of superusers."""
    header = run.header()
    services = [f"{t.name}={t.service}" for t in header.targets if t.service != phase.targets[t.name].service]
    databases = [
        f"{t.name}={t.database}" for t in header.targets if t.database != phase.targets[t.name].database
    ]
    return [
        *each("--service", services),
        *each("--database", databases),
        *each("--allow-superuser-objects", header.superuser_objects),
    ]
