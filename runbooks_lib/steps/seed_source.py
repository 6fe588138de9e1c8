"""A file of declared rows as one side of a comparison, and the numbers of what is found of them."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from psycopg import sql

from runbooks_lib.errors import SpecError
from runbooks_lib.phase import Phase, Seeds
from runbooks_lib.phase.seed_file import SeedFile
from runbooks_lib.phase.seed_values import shown
from runbooks_lib.postgres.rows.values import listed, read_relation
from runbooks_lib.postgres.session.connect import Connection

NAMED = 5  # rows of each kind that a finding names; the rest is counted
MOST_TENANTS = 20  # judged one by one

Tenant = str | None
Key = tuple[str | None, ...]


@dataclass(slots=True, kw_only=True)
class Tally:
    """What was found of one tenant's rows (of all rows, where there is no tenant): numbers, and the first keys."""

    declared: int = 0
    counts: Counter[str] = field(default_factory=Counter)
    named: dict[str, list[str]] = field(default_factory=dict)

    def add(self, kind: str, name: str, *, rows: int = 1) -> None:
        """Count rows of a kind, and name one: missing, different, declared or stands twice, inherited, unexpected."""
        self.counts[kind] += rows
        names = self.named.setdefault(kind, [])
        if len(names) < NAMED:
            names.append(name)

    def words(self, *kinds: str) -> str:
        """Say how many rows of these kinds there are and name the first of each; empty when there are none."""
        return "; ".join(
            f"{self.counts[kind]:,} {kind}: {', '.join(self.named[kind])}"
            + (" …" if self.counts[kind] > len(self.named[kind]) else "")
            for kind in kinds
            if self.counts[kind]
        )

    def facts(self) -> dict[str, int]:
        """Return the numbers."""
        return {"declared": self.declared, **self.counts}


class Declared:
    """The declared side: the file, and how its rows are read and ordered.

    Raises SpecError when the file is not what it should be, PreconditionFailed when the table lacks what it declares.
    """

    def __init__(self, phase: Phase, seeds: Seeds, conn: Connection) -> None:
        assert seeds.file is not None
        self.seeds = seeds
        self.file = SeedFile(phase.folder / seeds.file)
        self.relation = read_relation(conn, seeds.table, self.file.columns, seeds.key)
        self.key_places = tuple(self.file.columns.index(column) for column in seeds.key)
        self._integers = tuple(self.relation.columns[column].is_integer for column in seeds.key)
        self.tenants = self.file.values_of(seeds.tenant) if seeds.tenant else None
        self.labels = self._printed_tenants(conn)

    def key(self, record: bytes) -> Key:
        """Return the key of a record, as it is written."""
        fields = self.file.parse(record)
        if len(fields) != len(self.file.columns):
            self.file.row(record)  # says what is wrong
        return tuple(fields[place] for place in self.key_places)

    def order(self, record: bytes) -> tuple[Any, ...]:
        """Return where a record stands in the order of the key; equal only for keys that are written alike."""
        return tuple(
            (1,) if text is None else (0, self._number(text), text) if integer else (0, text)
            for text, integer in zip(self.key(record), self._integers, strict=True)
        )

    def _number(self, text: str) -> int:
        try:
            return int(text)
        except ValueError:
            what = f"{self.file.path.name} has a key that is no integer: {text[:100]!r}"
            raise SpecError(what, "Write keys as PostgreSQL prints them.") from None

    def tenant(self, text: str | None) -> Tenant:
        """Return under which tenant rows are told that have this in the column."""
        return self.labels.get(text, text) if self.labels else None

    def tenant_of(self, record: bytes) -> Tenant:
        """Return under which tenant a record is told."""
        return self.tenant(self.file.row(record)[str(self.seeds.tenant)]) if self.labels else None

    def _printed_tenants(self, conn: Connection) -> dict[str | None, str | None]:
        """Return each tenant as the server prints it; none where all are told together."""
        if not self.tenants or len(self.tenants) > MOST_TENANTS:
            return {}
        written = list(self.tenants)
        values = self.relation.columns[str(self.seeds.tenant)]
        statement = sql.SQL("SELECT {} AS printed FROM {} ORDER BY n").format(
            values.printed(sql.Identifier("want", "c0")), listed(conn, [values], [[text] for text in written])
        )
        rows = conn.execute(statement).fetchall()
        return {text: row["printed"] for text, row in zip(written, rows, strict=True)}


def named(key: Key) -> str:
    """Return a key as a finding names it."""
    return f"[{', '.join(map(shown, key))}]"
