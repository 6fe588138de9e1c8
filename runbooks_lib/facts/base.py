"""What all facts have in common."""

from __future__ import annotations

from typing import ClassVar

from runbooks_lib.typed import Typed


class Facts(Typed):
    """What one question found out; without arguments: nothing. Fields may be missing in a record."""

    QUESTION: ClassVar[tuple[str, str]]  # step and question
