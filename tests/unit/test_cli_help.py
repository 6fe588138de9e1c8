"""Every command has help, and gives it."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from runbooks_lib.cli import commands


def walk(
    command: click.Command, path: tuple[str, ...] = ()
) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    yield path, command
    if isinstance(command, click.Group):
        for name, child in command.commands.items():
            yield from walk(child, (*path, name))


ALL = dict(walk(commands))


@pytest.mark.parametrize("path", ALL, ids=lambda path: " ".join(("runbooks", *path)))
@pytest.mark.parametrize("option", ["--help", "-h"])
def test_every_command_gives_help(path: tuple[str, ...], option: str) -> None:
    done = CliRunner().invoke(commands, [*path, option])
    assert done.exit_code == 0, done.output
    assert done.stdout.startswith("Usage: ")
    assert done.stderr == ""


@pytest.mark.parametrize("path", ALL, ids=lambda path: " ".join(("runbooks", *path)))
def test_every_command_and_option_says_what_it_does(path: tuple[str, ...]) -> None:
    command = ALL[path]
    assert command.help
    assert command.get_short_help_str(limit=200).endswith((".", "?", "…", '"'))
    options = [parameter for parameter in command.params if isinstance(parameter, click.Option)]
    assert [option.name for option in options if not option.help] == []


def test_the_commands_that_are_promised_are_there() -> None:
    promised = {"demo", "run", "lab up", "lab status", "lab env", "lab down", "doctor", "explain",
                "runs list", "runs show", "phase check"}  # fmt: skip
    assert promised <= {" ".join(path) for path in ALL}


def test_an_unknown_command_is_a_usage_error() -> None:
    done = CliRunner().invoke(commands, ["frobnicate"])
    assert done.exit_code == 2
    assert "No such command 'frobnicate'" in done.stderr


def test_help_is_quick_and_imports_nothing_heavy() -> None:
    """0.06 to 0.09 s of CPU where this was written; the bound is loose, what is imported is not."""
    program = """
import resource, sys
from runbooks_lib.cli import commands
commands(["--help"], standalone_mode=False)
heavy = {"IPython", "babel", "jupyter_client", "nbconvert", "nbformat", "pandas", "papermill", "pglast", "psycopg"}
used = resource.getrusage(resource.RUSAGE_SELF)
print(sorted(heavy & set(sys.modules)), used.ru_utime + used.ru_stime, file=sys.stderr)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    imported, _, seconds = done.stderr.strip().rpartition(" ")
    assert imported == "[]"
    assert float(seconds) < 0.5


@pytest.mark.parametrize(
    "command",
    [
        "runs show",
        "verify",
        "report",
        "export",
        "fleet verify",
        "phase check",
        "run",
        "explain",
        "lab env --dir",
    ],
)
def test_an_endless_name_is_refused_at_once_and_without_a_traceback(command: str, tmp_path: Path) -> None:
    endless = "public.Order" * 10_000  # a little below what Linux takes as one argument
    done = subprocess.run(
        [str(Path(sys.executable).with_name("runbooks")), *command.split(), endless],
        capture_output=True, text=True, cwd=tmp_path, timeout=20, check=False,
    )  # fmt: skip
    assert done.returncode in (2, 3, 4)
    assert "Traceback" not in done.stderr


def test_what_the_system_refuses_is_a_sentence() -> None:
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [str(Path(sys.executable).with_name("runbooks")), "explain"],
            stdout=full, stderr=subprocess.PIPE, text=True, timeout=20, check=False,
        )  # fmt: skip
    assert done.returncode == 4
    assert done.stderr == (
        "error: The system refused: No space left on device. Check the path, its permissions and the disk.\n"
    )
