"""`runbooks phase`: phase files."""

from __future__ import annotations

import click

from runbooks_lib.cli.terminal import say


@click.group()
def phase() -> None:
    """Check phase files."""


@phase.command()
@click.argument("phase")
def check(phase: str) -> None:
    """Load PHASE (a shipped id, or the path of a phase.toml) and name every mistake by its key path."""
    from runbooks_lib.phase import load_phase
    from runbooks_lib.steps.declared import nothing_to_do

    loaded = load_phase(phase)
    say(
        f"{loaded.id}: {len(loaded.targets)} targets, {len(loaded.tables)} tables, {len(loaded.enums)} enums, "
        f"{len(loaded.indexes)} indexes, {sum(len(s.rows) for s in loaded.seeds)} seed rows, "
        f"{len(loaded.routes)} routes, {len(loaded.checklist)} checklist items"
    )
    for step, why in nothing_to_do(loaded).items():
        say(f"{step} has nothing to do: {why}")
