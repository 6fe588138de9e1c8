"""The SQL file of a phase's baseline: its text, its statements, its hash."""

from __future__ import annotations

import hashlib

from runbooks_lib.errors import MigrationError
from runbooks_lib.phase import Phase
from runbooks_lib.postgres.script import Statement, parse_script


def read_statements(phase: Phase) -> tuple[Statement, ...]:
    """Return the baseline's statements. Raises MigrationError as `read_sql` does, and when it is no SQL."""
    return parse_script(read_sql(phase))


def runnable(phase: Phase) -> tuple[Statement, ...]:
    """Return the statements if each of them is idempotent. Raises MigrationError, naming those that are not."""
    statements = read_statements(phase)
    refused = [f"line {s.line}: {s.refused}" for s in statements if s.refused]
    if refused:
        raise MigrationError(
            f"The baseline is not run, since it is not idempotent ({'; '.join(refused)}).",
            "Use the idempotent forms that the first question of this step names.",
        )
    return statements


def read_sql(phase: Phase) -> str:
    """Return the text of the baseline. Raises MigrationError when it cannot be read as UTF-8."""
    file = phase.folder / phase.baseline.file
    try:
        return file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise MigrationError(
            f"The baseline {file} cannot be read: {error}", "Put the file back, as UTF-8."
        ) from error


def sql_sha256(phase: Phase) -> str:
    """Return the SHA-256 (hex) of the baseline. Raises MigrationError as `read_sql` does."""
    return hashlib.sha256(read_sql(phase).encode()).hexdigest()
