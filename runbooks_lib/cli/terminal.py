"""The one door to the terminal: nothing is printed but through it, and nothing that is printed can steer or deceive.

Names, findings, messages of servers and records of runs hold what somebody else wrote: escape sequences, marks that
reorder a line, markup. Here each character of them is seen, and none has an effect.
"""

from __future__ import annotations

import io
import os
import re
import sys
from typing import TYPE_CHECKING, Any

import click

from runbooks_lib.visible import visible, visible_json, visible_lines

if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text


_PASSWORD = re.compile(r"(?<=\w)(:/+[^\s/@:]*:)[^\s/]*(?=@)")  # of an address


def say(line: object = "", *, err: bool = False) -> None:
    """Print one line on stdout, or on stderr."""
    _write(_told(visible(str(line))) + "\n", err=err)


def say_lines(text: str, *, err: bool = False) -> None:
    """Print a text of several lines as it is, with its own line ends alone."""
    told = visible_lines(text)
    _write(_told(told) if err else told, err=err)  # on stdout it may be a file: SQL, a phase, a report


def somebody_is_there() -> bool:
    """Return whether a person can be asked: who reads stderr, and can answer on stdin."""
    return sys.stdin.isatty() and sys.stderr.isatty()


def say_interrupted() -> None:
    """Print that Ctrl-C ended a command, on stderr: on a terminal below the question, or the ^C, that stands there."""
    say_lines("\ninterrupted\n" if sys.stderr.isatty() else "interrupted\n", err=True)


def say_json(value: Any) -> None:
    """Print a value as JSON on stdout."""
    _write(visible_json(value) + "\n", err=False)


def say_error(error: click.ClickException) -> None:
    """Print what was wrong with the words of a command, on stderr."""
    said = io.StringIO()
    error.show(file=said)
    say_lines(said.getvalue(), err=True)


def say_page(markdown: str) -> None:
    """Print Markdown of ours: for a person as a page, else as it is."""
    if not sys.stdout.isatty():
        say_lines(markdown)
        return
    from rich.markdown import Markdown

    console().print(Markdown(visible_lines(markdown)))


def console(*, err: bool = False, width: int | None = None) -> Console:
    """Return rich's console, for what `shown` returns and tables of it."""
    from rich.console import Console

    return Console(stderr=err, highlight=False, markup=False, emoji=False, width=width)


def shown(line: object, style: str = "") -> Text:
    """Return one line for rich to print: plain text, whatever it looks like."""
    from rich.text import Text

    return Text(_told(visible(str(line))), style=style)


def _told(text: str) -> str:
    """Return a text without the password of an address that somebody gave where a name was asked for."""
    return _PASSWORD.sub(r"\1***", text)


def _write(text: str, *, err: bool) -> None:
    encoding = getattr(sys.stderr if err else sys.stdout, "encoding", None) or "utf-8"
    click.echo(text.encode(encoding, "backslashreplace").decode(encoding), nl=False, err=err)


def drop_what_cannot_be_written() -> None:
    """Leave nothing in standard output's buffer that Python would try to write once more, and fail at, as it ends."""
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
