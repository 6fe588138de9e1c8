"""JSON and the types that it is read into: what does not fit its type is refused, with the place where it differs."""

from __future__ import annotations

from datetime import date, datetime, time
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any, TypeVar, dataclass_transform
from uuid import UUID

import msgspec

from runbooks_lib.errors import EvidenceError

LONGEST_REASON = 300
_AS_THEY_ARE = (datetime, date, time, Decimal, UUID)  # whoever writes the file prints them
T = TypeVar("T")

Sha256 = Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{64}$", max_length=64)]


@dataclass_transform(frozen_default=True, field_specifiers=(msgspec.field,))
class Typed(msgspec.Struct, frozen=True):
    """A record with typed fields; fields that it does not know are passed over when it is read."""


class Moment(str):
    """A moment in time as ISO 8601, with its zone."""

    __slots__ = ()

    @property
    def time(self) -> datetime:
        """Return it as a time."""
        return datetime.fromisoformat(self)

    @property
    def seconds(self) -> float:
        """Return it in seconds since 1970."""
        return self.time.timestamp()


def typed(content: Any, kind: type[T], path: Path) -> T:
    """Return JSON as a record of a kind. Raises EvidenceError, naming the file and the first place that differs."""
    try:
        return msgspec.convert(content, kind, dec_hook=_from_plain)
    except msgspec.ValidationError as error:
        raise EvidenceError(
            f"{path} cannot be read, it is not as this software writes it: {str(error)[:LONGEST_REASON]}.",
            "It was changed, or written by another version.",
        ) from error


def plain(value: Any) -> Any:
    """Return a record, or what holds some, as mappings, lists and plain values."""
    return msgspec.to_builtins(value, builtin_types=_AS_THEY_ARE, enc_hook=str)


def _from_plain(kind: type, value: Any) -> Any:
    if kind is Moment and isinstance(value, str) and datetime.fromisoformat(value).tzinfo is not None:
        return Moment(value)
    raise ValueError("Expected a moment with its zone")
