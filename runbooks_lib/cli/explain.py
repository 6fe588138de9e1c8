"""`runbooks explain`: what a check or an error means, what good looks like, and what to do."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from difflib import get_close_matches

import click

from runbooks_lib.checks import Check
from runbooks_lib.cli.help import examples
from runbooks_lib.cli.terminal import say, say_page
from runbooks_lib.doors import doors, find_doors

_SQLSTATE = re.compile(r"[0-9A-Z]{5}")
_PRISMAS = re.compile(r"P[1-6]\d{3}")
_REFERENCE = "https://www.prisma.io/docs/orm/reference/error-reference"


def _complete(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[str]:
    return [check for check in Check if check.startswith(incomplete)]


@click.command(
    epilog=examples(
        "runbooks explain has_index",
        "runbooks explain P3005",
        "npx prisma migrate deploy 2>&1 | runbooks explain -",
    )
)
@click.argument("words", nargs=-1, shell_complete=_complete)
def explain(words: tuple[str, ...]) -> None:
    """Explain WORDS: a check's id, an error code such as P3005 or 42P07, or an error message; - reads it from stdin.

    Says what it means, what is safe to do and what is not. Without WORDS it lists all checks and errors. A message
    goes between single quotes, or through a pipe. Works offline.
    """
    text = sys.stdin.read() if words == ("-",) else " ".join(words)
    if not text.strip():
        _list()
    elif text in set(Check):
        say_page(Check(text).page())
    elif found := find_doors(text):
        say_page("\n".join(door.page for door in found))
    else:
        say(_one_sentence(text.strip()))


def _list() -> None:
    titles = {str(check): _title(check.page()) for check in Check} | {door.id: door.title for door in doors()}
    width = max(map(len, titles))
    for id, title in titles.items():
        say(f"{id:{width}}  {title}")


def _one_sentence(text: str) -> str:
    """Return what is known of a code that has no page; raise UsageError, with what is near, when nothing is."""
    if _PRISMAS.fullmatch(text):
        return f"{text} has no page here; Prisma's own reference: {_REFERENCE}#{text.lower()}"
    if _SQLSTATE.fullmatch(text):
        from runbooks_lib.postgres.session.sqlstate import UNKNOWN, what_to_do

        if (sentence := what_to_do(text)) != UNKNOWN:
            return f"{text}: {sentence}"
    near = list(_near(text))
    hint = f"Did you mean {', '.join(near)}?" if near else "`runbooks explain` lists all of them."
    raise click.UsageError(f"There is no check {text!r}, nor an error of this code or in these words. {hint}")


def _near(text: str) -> Iterator[str]:
    """Yield the ids that are spelled nearly so, else those of the doors whose messages share most words with a text."""
    codes = [code for door in doors() for code in door.codes]
    if spelled := get_close_matches(text, [*Check, *(door.id for door in doors()), *codes], n=3, cutoff=0.5):
        yield from spelled
        return
    said = set(re.findall(r"\w{3,}", text.lower()))
    for door in doors():
        messages = [set(re.findall(r"\w{3,}", message.lower())) for message in door.messages]
        if any(len(said & message) >= max(2, len(message) / 3) for message in messages):
            yield door.id


def _title(page: str) -> str:
    return page.partition("\n")[0].partition(": ")[2]
