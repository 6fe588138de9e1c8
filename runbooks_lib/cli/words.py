"""The words of a command line before any command sees them: what none of them takes is refused, and not repeated."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from itertools import pairwise

import click

from runbooks_lib.cli.help import Group

# Of a database, with or without a password. Archives have URLs, too, and an error message is explained as it is.
_ADDRESS = re.compile(
    r"\b(postgres(ql)?|prisma(\+postgres)?|jdbc:\w+)://|\b(ssl)?password\s*=", re.IGNORECASE
)
_EMPTY = re.compile(r"(--[\w-]+=)?\s*")


def require_words(words: Sequence[str]) -> None:
    """Refuse an address of a database, which may hold a password, and a word that is empty.

    An empty one is a shell's variable that is not set: --only "$STEP" would run every step.
    """
    if any(map(_ADDRESS.search, words)) and "explain" not in words[:1]:
        raise click.UsageError(
            "An address of a database is no word of a command: others see it in `ps`, and the shell keeps it. Name a "
            "service: its host and user stand in pg_service.conf, the password in .pgpass."
        )
    for before, word in pairwise(("runbooks", *words)):
        if _EMPTY.fullmatch(word):
            named = word.strip().rstrip("=") or f"the word after {before}"
            raise click.UsageError(
                f"Nothing is given for {named}: is a variable unset? Set it, or leave it out."
            )


class Commands(Group):
    """All commands; says where a word belongs that stands in the wrong place."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Look at every word once; an option before its command is told with the command."""
        require_words(args)
        try:
            return super().parse_args(ctx, args)
        except click.NoSuchOption as error:
            if having := [name for name, each in _each(self) if _has(each, error.option_name)]:
                names = ", ".join(f"runbooks {name}" for name in having)
                raise click.UsageError(
                    f"{error.option_name} goes behind its command: {names}.", ctx
                ) from error
            raise

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command; a phase in its place lacks `run`."""
        from runbooks_lib.phase import shipped_ids

        word = args[0]
        if word not in self.commands and (word in shipped_ids() or os.path.exists(word)):
            raise click.UsageError(f"{word} is no command. Did you mean: runbooks run {word}?", ctx)
        return super().resolve_command(ctx, args)


def _each(group: click.Group, of: str = "") -> Iterator[tuple[str, click.Command]]:
    for name, command in group.commands.items():
        if isinstance(command, click.Group):
            yield from _each(command, f"{of}{name} ")
        else:
            yield f"{of}{name}", command


def _has(command: click.Command, option: str) -> bool:
    return any(option in each.opts for each in command.params)
