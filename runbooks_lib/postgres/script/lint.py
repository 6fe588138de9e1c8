"""squawk, the field's linter for PostgreSQL migrations, asked about one script."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sysconfig
from dataclasses import dataclass

from runbooks_lib.errors import MigrationError, PreconditionFailed

# Both time-outs are set on the session that runs the script, with the phase's values.
SET_ELSEWHERE = ("require-lock-timeout", "require-statement-timeout")
LINT_TIMEOUT_S = 60


@dataclass(frozen=True, slots=True, kw_only=True)
class LintWarning:
    """One warning of the linter: its rule, the line, what is wrong and what to write instead."""

    rule: str
    line: int
    message: str
    help: str


def lint(script: str, *, name: str, server_major: int) -> tuple[LintWarning, ...]:
    """Lint a script as it will be run: in one transaction, on a server of this major version.

    Runs the program `squawk` on the text, with no configuration file; writes nothing.
    Raises PreconditionFailed when it is not installed, MigrationError when it gives no answer.
    Source: https://squawkhq.com/docs/rules
    """
    command = [
        _squawk(),
        "--reporter=json",
        f"--config={os.devnull}",
        "--assume-in-transaction",
        f"--pg-version={server_major}.0",
        f"--exclude={','.join(SET_ELSEWHERE)}",
        f"--stdin-filepath={name}",
    ]
    try:
        done = subprocess.run(
            command, input=script, capture_output=True, text=True, timeout=LINT_TIMEOUT_S, check=False
        )
        found = json.loads(done.stdout)
    except (OSError, ValueError, subprocess.TimeoutExpired) as error:
        raise MigrationError(
            f"squawk gave no answer about {name}: {error}",
            "Run squawk on the file by hand and read what it says.",
        ) from error
    return tuple(
        LintWarning(
            rule=warning["rule_name"],
            line=warning["line"] + 1,
            message=warning["message"],
            help=warning["help"] or "",
        )
        for warning in found
    )


def _squawk() -> str:
    found = shutil.which("squawk", path=sysconfig.get_path("scripts")) or shutil.which("squawk")
    if found is None:
        raise PreconditionFailed("squawk is not installed.", "Install the Python package squawk-cli.")
    return found
