"""Run one program of Node's to its end, with everything that it started."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from runbooks_lib.errors import PrismaError

_GRACE_S = 2.0
# All that a child gets of this process's environment: nothing that names a server, holds a secret or loads code.
_PASSED_ON = (
    *("LANG", "LC_ALL", "LC_CTYPE", "TZ", "SYSTEMROOT", "LD_LIBRARY_PATH"),
    "PRISMA_SCHEMA_ENGINE_LOCK_TIMEOUT",
)


def clean_environment(node: Path, private: Path) -> dict[str, str]:
    """Return the environment that Prisma is started in: little of ours, and `private` for a home.

    PATH has Node.js, which scripts that say `#!/usr/bin/env node` look for, and the system's own programs.
    """
    return {name: os.environ[name] for name in _PASSED_ON if name in os.environ} | {
        "PATH": os.pathsep.join((str(node.parent), os.defpath)),
        "HOME": str(private),
        "TMPDIR": str(private),
        "CHECKPOINT_DISABLE": "1",  # no call home
        "PRISMA_HIDE_UPDATE_MESSAGE": "1",
        "PRISMA_CLIENT_ENGINE_TYPE": "client",  # else Prisma 6 downloads a query engine, which it will not use
        "NO_COLOR": "1",
    }


_at_work: set[subprocess.Popen[bytes]] = set()


def end_children() -> None:
    """End the programs that other threads wait for, at once: an interrupted process does not wait for their answers."""
    for child in tuple(_at_work):
        with suppress(ProcessLookupError):
            os.killpg(child.pid, signal.SIGTERM)


def run_child(
    argv: Sequence[str], *, name: str, cwd: Path, env: Mapping[str, str], timeout_s: float
) -> tuple[int, str]:
    """Return the exit code and what was printed, stdout and stderr as they came.

    The program gets a process group of its own, which is ended as a whole on a time-out and when this
    process is interrupted: Prisma would leave its engine behind. `name` stands for the command in errors.

    Raises PrismaError when the program cannot be started, or does not end in time.
    """
    try:
        child = subprocess.Popen(
            argv,
            cwd=cwd,
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    except OSError as error:
        raise PrismaError(
            f"`{name}` cannot be started: {error.strerror}.", f"Check {argv[0]} and the folder {cwd}."
        ) from error
    with child:
        _at_work.add(child)
        try:
            output, _ = child.communicate(timeout=timeout_s)
        except subprocess.TimeoutExpired:
            _end_group(child)
            raise PrismaError(
                f"`{name}` did not end within {timeout_s:g} seconds and was stopped.",
                "Look for another migration that holds Prisma's lock, and whether the database answers.",
            ) from None  # the exception's text would repeat the command line
        except BaseException:
            _end_group(child)
            raise
        finally:
            _at_work.discard(child)
    return child.returncode, output.decode(errors="replace")


def _end_group(child: subprocess.Popen[bytes]) -> None:
    for number in (signal.SIGTERM, signal.SIGKILL):
        with suppress(ProcessLookupError):
            os.killpg(child.pid, number)
        with suppress(subprocess.TimeoutExpired):
            child.wait(_GRACE_S)
