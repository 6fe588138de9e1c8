"""`runbooks explain`: what a check means, what good looks like, and what to do."""

from __future__ import annotations

from difflib import get_close_matches

import click

from runbooks_lib.checks import Check
from runbooks_lib.cli.terminal import say, say_page


@click.command()
@click.argument("check", required=False)
def explain(check: str | None) -> None:
    """Explain CHECK, the id of a check as findings name it; without CHECK list all of them.

    Says what the problem is, what good looks like and what to do. Works offline.
    """
    if check is None:
        width = max(map(len, Check))
        for each in Check:
            say(f"{each:{width}}  {_title(each.page())}")
        return
    if check not in set(Check):
        near = get_close_matches(check, list(Check), n=3, cutoff=0.5)
        hint = f"Did you mean {', '.join(near)}?" if near else "`runbooks explain` lists all of them."
        raise click.UsageError(f"There is no check {check!r}. {hint}")
    say_page(Check(check).page())


def _title(page: str) -> str:
    return page.partition("\n")[0].partition(": ")[2]
