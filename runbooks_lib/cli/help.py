"""Help that is read: commands in the order of use, with whole sentences, and examples to paste."""

from __future__ import annotations

import click

LEAST = 20  # characters that say something before a colon


class Group(click.Group):
    """Lists its commands in the order in which they were added, each with its whole first sentence."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names in the order of use."""
        return list(self.commands)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the commands; no summary is cut."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, summary(command)) for name, command in self.commands.items()])


def summary(command: click.Command) -> str:
    """Return the first sentence of a command's help, up to a colon that lists things."""
    text = " ".join((command.short_help or command.help or "").split("\n\n")[0].split())
    begin = text.partition(": ")[0]
    return f"{begin}." if LEAST < len(begin) < len(text) else text


def examples(*lines: str) -> str:
    """Return the end of a command's help: lines to paste, as they are."""
    return "\b\n" + "\n".join(["Examples:", *(f"  {line}" for line in lines)])
