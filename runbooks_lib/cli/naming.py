"""How the command line names things: a step by its number or name, a run by its folder, id or `latest`."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

RUN = "RUN is a folder or URL, an id, the beginning of an id, or latest."


def did_you_mean(text: str, known: Iterable[str]) -> str:
    """Return `Did you mean …?` with what is spelled nearly so; empty when nothing is."""
    by_case = {name.casefold(): name for name in known}
    near = get_close_matches(text.casefold(), by_case, n=1, cutoff=0.6)
    return f"Did you mean {by_case[near[0]]}?" if near else ""


def step_named(text: str) -> str:
    """Return the step that a number, a name or the beginning of a name means: 3, 03_baseline_migration, baseline.

    Raises UsageError, with what is near, when that is none, or more than one.
    """
    from runbooks_lib.phase import STEPS

    numbered = {f"{number:02d}_{step}": step for number, step in enumerate(STEPS, start=1)}
    word = text.strip().casefold().removesuffix(".ipynb").replace("-", "_")
    if word.isdigit() and 1 <= int(word) <= len(STEPS):
        return STEPS[int(word) - 1]
    found = [step for name, step in numbered.items() if word and (step.startswith(word) or name == word)]
    if len(found) == 1:
        return found[0]
    hint = did_you_mean(word, STEPS) or f"The steps are {', '.join(numbered)}."
    raise click.UsageError(f"There is no step {text!r}. {hint}")


def complete_step(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[str]:
    """Offer the steps to a shell."""
    from runbooks_lib.phase import STEPS

    return [step for step in STEPS if step.startswith(incomplete)]


def complete_phase(
    context: click.Context, parameter: click.Parameter, incomplete: str
) -> list[CompletionItem]:
    """Offer the shipped phases to a shell, and its files."""
    from click.shell_completion import CompletionItem

    from runbooks_lib.phase import shipped_ids

    ids = [CompletionItem(each) for each in shipped_ids() if each.startswith(incomplete)]
    return [*ids, CompletionItem(incomplete, type="file")]


def complete_run(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Offer the runs of the archive in a folder to a shell, the newest first, and its folders."""
    from click.shell_completion import CompletionItem

    from runbooks_lib.archive.run import all_runs, is_url, runs_folder

    named = context.params.get("folder") or context.params.get("runs")
    if is_url(named):
        return []
    ids = ["latest", *sorted((run.id for run in all_runs(runs_folder(named))), reverse=True)]
    return [
        *map(CompletionItem, (i for i in ids if i.startswith(incomplete))),
        CompletionItem(incomplete, type="dir"),
    ]
