"""`runbooks explain`: what a check means, what good looks like, and what to do."""

from __future__ import annotations

from difflib import get_close_matches
from importlib.resources import files

import click

from runbooks_lib.cli.terminal import say, say_page


@click.command()
@click.argument("check", required=False)
def explain(check: str | None) -> None:
    """Explain CHECK, the id of a check as findings name it; without CHECK list all of them.

    Says what the problem is, what good looks like and what to do. Works offline.
    """
    pages = _pages()
    if check is None:
        width = max(map(len, pages))
        for name, page in pages.items():
            say(f"{name:{width}}  {_title(page)}")
        return
    if check not in pages:
        near = get_close_matches(check, pages, n=3, cutoff=0.5)
        hint = f"Did you mean {', '.join(near)}?" if near else "`runbooks explain` lists all of them."
        raise click.UsageError(f"There is no check {check!r}. {hint}")
    say_page(pages[check])


def _pages() -> dict[str, str]:
    """Return every page by its check's id, in order of the ids."""
    folder = files("runbooks_lib") / "checks"
    return {
        entry.name.removesuffix(".md"): entry.read_text(encoding="utf-8")
        for entry in sorted(folder.iterdir(), key=lambda entry: entry.name)
        if entry.name.endswith(".md")
    }


def _title(page: str) -> str:
    return page.partition("\n")[0].partition(": ")[2]
