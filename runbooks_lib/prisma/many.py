"""Many migrations recorded by one start of Prisma's command line, and one of its engine.

`prisma migrate resolve` takes one name, and each start of it costs a second. Where there are more, Prisma is started
for the first of them, and repeating-engine.cjs makes the request that Prisma makes of its engine for every name.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from runbooks_lib.errors import PreconditionFailed
from runbooks_lib.prisma.output import CliResult

REPEATING = Path(__file__).with_name("repeating-engine.cjs")
EACH_S = 1.0  # what recording one name may take, beyond one start of Prisma


@dataclass(frozen=True, slots=True, kw_only=True)
class Written:
    """Which migrations Prisma has recorded, in their order, and what it said.

    `failed` is the one that it refused; those after it were not begun. None: all were recorded.
    """

    done: tuple[str, ...]
    said: tuple[CliResult, ...]
    failed: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Names:
    """Names that one start of Prisma is to record; `folder` is a private one of its own."""

    folder: Path
    names: tuple[str, ...]

    def around(self, engine: str) -> dict[str, str]:
        """Write the names down; return the variables by which Prisma starts what repeats its request to `engine`.

        Raises PreconditionFailed when that cannot be started.
        """
        if not os.access(REPEATING, os.X_OK):
            raise PreconditionFailed(f"{REPEATING} is not executable.", f"Run `chmod +x {REPEATING}`.")
        (self.folder / "names.json").write_text(json.dumps(self.names), encoding="utf-8")
        return {
            "PRISMA_SCHEMA_ENGINE_BINARY": str(REPEATING),
            "RUNBOOKS_PRISMA_ENGINE": engine,
            "RUNBOOKS_PRISMA_NAMES": str(self.folder / "names.json"),
            "RUNBOOKS_PRISMA_DONE": str(self.folder / "done"),
        }

    def done(self) -> tuple[str, ...]:
        """Return the names that the engine has recorded."""
        path = self.folder / "done"
        return tuple(path.read_text(encoding="utf-8").splitlines()) if path.exists() else ()


def check_names(names: Sequence[str]) -> None:
    """Stop where a name is none, or stands twice: Prisma would take the one for an option, and refuse the other.

    Raises PreconditionFailed.
    """
    for name in names:
        if name.startswith("-") or not name:
            raise PreconditionFailed(f"{name!r} is not a migration's name.", "Give the name of its folder.")
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise PreconditionFailed(
            f"To be recorded twice: {', '.join(twice)}.",
            "Name each migration once, as applied or as rolled back.",
        )
