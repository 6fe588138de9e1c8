"""The command line: results on stdout, progress on stderr, one paragraph for an error.

Exit codes: 0 every gate passed, 1 a check failed, 2 usage, 3 phase or precondition, 4 an operation failed,
130 interrupted. The modules of this package import the library only when a command runs.
"""

from __future__ import annotations

import gc
import os
import signal
import sys
from typing import Any

import click

from runbooks_lib.cli.adopt import adopt
from runbooks_lib.cli.archive import runs
from runbooks_lib.cli.diagnose import diagnose
from runbooks_lib.cli.doctor import doctor
from runbooks_lib.cli.explain import explain
from runbooks_lib.cli.export import export
from runbooks_lib.cli.fleet import fleet
from runbooks_lib.cli.help import examples
from runbooks_lib.cli.jupyter import jupyter
from runbooks_lib.cli.lab import lab
from runbooks_lib.cli.phase import phase
from runbooks_lib.cli.report import report
from runbooks_lib.cli.run import demo, run
from runbooks_lib.cli.streams import keep_streams
from runbooks_lib.cli.terminal import (
    drop_what_cannot_be_written,
    say,
    say_error,
    say_interrupted,
    say_lines,
)
from runbooks_lib.cli.verify import keygen, verify
from runbooks_lib.cli.words import Commands
from runbooks_lib.errors import INTERRUPTED_EXIT_CODE, RunbookError

_LONGEST_SHOWN = 200
_SOON_S = 0.02
RARELY = (
    50_000,
    20,
    50,
)  # a short process that mostly imports: looking for garbage takes a tenth of its time


@click.group(
    cls=Commands,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog=examples(
        "runbooks demo",
        "runbooks lab up --jupyter",
        "runbooks run PH15-AMAZON-DB-FOUNDATION-01",
        'eval "$(_RUNBOOKS_COMPLETE=bash_source runbooks)"   # completion; zsh_source, fish_source',
    ),
)
@click.version_option(package_name="runbooks-lib", prog_name="runbooks")
def commands() -> None:
    """Carry out a PostgreSQL + Prisma database foundation as seven notebooks, and prove it.

    Try it safely with `runbooks demo`: it starts a lab of its own and stops it again. Nothing is written to
    any database without --apply.
    """


for command in (
    demo,
    doctor,
    lab,
    diagnose,
    adopt,
    phase,
    run,
    fleet,
    jupyter,
    explain,
    runs,
    report,
    verify,
    export,
    keygen,
):
    commands.add_command(command)


def main() -> None:
    """Run the command line; end the process with its exit code."""
    keep_streams()
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    gc.set_threshold(*RARELY)
    sys.unraisablehook = _come_again
    try:
        code: Any = commands(standalone_mode=False)
    except click.exceptions.Exit as done:
        code = done.exit_code
    except click.ClickException as error:
        say_error(error)
        code = error.exit_code
    except RunbookError as error:
        say_lines(f"error: {error}\n", err=True)
        code = error.exit_code
    except OSError as error:
        say(f"error: {_of_the_system(error)}", err=True)
        drop_what_cannot_be_written()
        code = RunbookError.exit_code
    except (KeyboardInterrupt, click.Abort):
        say_interrupted()
        code = INTERRUPTED_EXIT_CODE
    finally:
        gc.freeze()  # nobody has to look for garbage at the end of a process: a fifth of a second after a run
    code = code if isinstance(code, int) else 0
    _leave_quietly(code)
    sys.exit(code)


def _come_again(swallowed: Any) -> None:
    """Have an interrupt come again that came in the middle of a finalizer, where Python prints it and goes on."""
    if swallowed.exc_type is not KeyboardInterrupt:
        sys.__unraisablehook__(swallowed)
        return
    import threading

    again = threading.Timer(_SOON_S, os.kill, (os.getpid(), signal.SIGINT))
    again.daemon = True
    again.start()


def _leave_quietly(code: int) -> None:
    """Have a signal end the process without a word: all that is left to do is to take it down."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda number, frame: os._exit(code))


def _of_the_system(error: OSError) -> str:
    """Return what the operating system refused, and where: a path that is too long, a folder that is closed to us."""
    if not error.filename and _here_is_gone():
        return "The folder that this shell stands in is gone. Go to one that is there: cd"
    name = str(error.filename or "")
    where = f" ({name if len(name) <= _LONGEST_SHOWN else f'{name[:_LONGEST_SHOWN]}…'})" if name else ""
    return (
        f"The system refused: {error.strerror or error}{where}. Check the path, its permissions and the disk."
    )


def _here_is_gone() -> bool:
    try:
        os.getcwd()
    except OSError:
        return True
    return False
