"""What can stop a runbook, and what to do about it.

RunbookError
|__SpecError            the phase file is wrong
|__PreconditionFailed   a tool, a service or a folder that the run needs is missing
|__ConnectionFailed     a target cannot be reached, or is not what the phase says
|__GateClosed           a check failed, or could not be made
|__Waiting              nothing is wrong: a person is to decide
|__BackupError          no usable backup
|__MigrationError       the baseline SQL was refused or failed
|__PrismaError          Prisma's command line failed
|__EvidenceError        the run folder cannot be written or read
|__LabError             the lab does not start or stop
|__ExecutionError       a notebook ended without a verdict: dead kernel, time-out
"""

from __future__ import annotations

from runbooks_lib.visible import visible_lines

INTERRUPTED_EXIT_CODE = 130


class RunbookError(Exception):
    """Stop, with one sentence on what happened and one on what to do.

    `exit_code` is what the command line ends with: 1 a check failed,
    3 phase or precondition, 4 an operation failed.
    """

    exit_code = 4

    def __init__(self, what_happened: str, what_to_do: str = "", *, sqlstate: str | None = None) -> None:
        super().__init__(what_happened, what_to_do)
        self.what_happened = what_happened
        self.what_to_do = what_to_do
        self.sqlstate = sqlstate

    def __str__(self) -> str:
        return f"{self.what_happened} {self.what_to_do}".strip()

    def _render_traceback_(self) -> list[str]:
        """Tell IPython to show the sentence alone: where we raised it is of no use to an operator."""
        return [visible_lines(f"{type(self).__name__}: {self}")]


class SpecError(RunbookError):
    """The phase file is wrong; `mistakes` names each by its key path."""

    exit_code = 3

    def __init__(self, what_happened: str, what_to_do: str = "", *, mistakes: tuple[str, ...] = ()) -> None:
        super().__init__(what_happened, what_to_do)
        self.mistakes = mistakes


class PreconditionFailed(RunbookError):
    """Something that the run needs before it starts is missing."""

    exit_code = 3


class ConnectionFailed(RunbookError):
    """A target cannot be reached, or is not what the phase says it is.

    `refused` where the server let nobody in, or said nothing: that may pass.
    """

    exit_code = 3

    def __init__(
        self, what_happened: str, what_to_do: str = "", *, sqlstate: str | None = None, refused: bool = False
    ) -> None:
        super().__init__(what_happened, what_to_do, sqlstate=sqlstate)
        self.refused = refused


class GateClosed(RunbookError):
    """A check failed or could not be made; the run goes no further."""

    exit_code = 1


class Waiting(RunbookError):
    """Nothing is wrong, and nothing goes on before a person has decided."""

    exit_code = 1


class BackupError(RunbookError):
    """No usable backup was made."""


class MigrationError(RunbookError):
    """The baseline SQL was refused, or failed and was rolled back."""


class PrismaError(RunbookError):
    """Prisma's command line failed; `code` is Prisma's own (P3008), where it gave one."""

    def __init__(self, what_happened: str, what_to_do: str = "", *, code: str | None = None) -> None:
        super().__init__(what_happened, what_to_do)
        self.code = code


class EvidenceError(RunbookError):
    """The run folder cannot be written, read or trusted."""


class LabError(RunbookError):
    """The lab does not start, stop or answer."""


class ExecutionError(RunbookError):
    """A notebook ended without a verdict of its own."""
