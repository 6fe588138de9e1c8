"""Declared rows in a file, compared with a table in one pass and in bounded memory, however many they are.

Table and file are read side by side in the order of the key, the table as COPY prints it. What is equal byte for
byte is not looked at any further. What is not (another spelling, another value, a row on one side only) is judged by
the server, which knows the types, in the same snapshot. The order only makes it quick: no row is passed unless it was
equal to a declared one, whatever the order.
"""

from __future__ import annotations

import json
import tempfile
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO
from weakref import WeakKeyDictionary

from psycopg import sql
from psycopg.types.json import Jsonb

from runbooks_lib.errors import SpecError
from runbooks_lib.findings import Finding, Verdict
from runbooks_lib.phase import Phase, Seeds
from runbooks_lib.phase.seed_file import SeedFile, records_of
from runbooks_lib.postgres.catalog import identifier
from runbooks_lib.postgres.connect import Connection, Sessions
from runbooks_lib.postgres.content import print_alike
from runbooks_lib.steps.seed_rows import compare

NAMED = 5  # rows of each kind that a finding names; the rest is counted
MOST_TENANTS = 20  # judged one by one
KEPT = 10_000  # keys of rows that nobody declared, kept so that another spelling of them is recognised
BATCH = 5_000  # rows that the server judges at once

INTEGERS = frozenset({"smallint", "integer", "bigint"})
JSONS = frozenset({"json", "jsonb"})

Tenant = str | None
Key = tuple[str | None, ...]


@dataclass(slots=True, kw_only=True)
class Tally:
    """What was found of one tenant's rows (of all rows, where there is no tenant): numbers, and the first keys."""

    declared: int = 0
    counts: Counter[str] = field(default_factory=Counter)
    named: dict[str, list[str]] = field(default_factory=dict)

    def add(self, kind: str, name: str) -> None:
        """Count a row of a kind: missing, different, declared twice or unexpected."""
        self.counts[kind] += 1
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


class _NotSorted(Exception):
    """The file is not in the order of the key."""


# What rows() saw is told once more by unexpected(), the next question: one pass answers both.
_seen: WeakKeyDictionary[Sessions, dict[tuple[str, str], dict[Tenant, Tally]]] = WeakKeyDictionary()


def seen_first(
    phase: Phase, sessions: Sessions, target: str, seeds: Seeds, *, to_come: bool
) -> dict[Tenant, Tally]:
    """Look at a set's table and keep what was seen for `unexpected_words`; nothing for rows in the phase file.

    All rows are missing from a table that is still to come. Raises what `look` raises.
    """
    if not seeds.file:
        return {}
    if to_come:
        declared = sum(1 for _ in SeedFile(phase.folder / seeds.file).records())
        return {None: Tally(declared=declared, counts=Counter(missing=declared), named={"missing": ["all"]})}
    tallies = look(phase, sessions, target, seeds)
    _seen.setdefault(sessions, {})[target, seeds.table] = tallies
    return tallies


def unexpected_words(phase: Phase, sessions: Sessions, target: str, seeds: Seeds) -> str:
    """Say which rows nobody declared; empty when there are none.

    That is what `seen_first` saw in these sessions, once; asked again, it looks again. Raises what `look` raises.
    """
    tallies = _seen.get(sessions, {}).pop((target, seeds.table), None)
    if tallies is None:
        tallies = look(phase, sessions, target, seeds)
    return "; ".join(words for tally in tallies.values() if (words := tally.words("unexpected")))


def judge_rows(target: str, seeds: Seeds, tenant: Tenant, tally: Tally) -> Finding:
    """Judge the declared rows of a tenant, or all of a table."""
    as_declared = f"{tally.declared:,} rows as declared"
    wrong = tally.words("missing", "different", "declared twice")
    return Finding(
        check="seed_rows_are",
        target=target,
        object=seeds.table if tenant is None else f"{seeds.table}[{tenant}]",
        have=wrong or as_declared,
        want=as_declared,
        verdict=Verdict.FAIL if wrong else Verdict.PASS,
        hint=f"Compare with {seeds.file}: restore the rows, or correct the file." if wrong else "",
    )


def look(phase: Phase, sessions: Sessions, target: str, seeds: Seeds) -> dict[Tenant, Tally]:
    """Compare a target's table with the file of `seeds`; return what was found, per tenant where there is one.

    Reads table and file; writes nothing but temporary files. With more than MOST_TENANTS tenants all rows are told
    together. Raises SpecError when the file is not what it should be, ConnectionFailed when the table can't be read.
    """
    with ExitStack() as stack:
        source = Declared(phase, seeds)
        for sorted_by_us in (False, True):
            records = source.file.records()
            if sorted_by_us:
                folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="runbooks-seeds-"))
                records = source.file.sorted_records(source.order, Path(folder))
            try:
                with (
                    sessions.snapshot(target) as conn,
                    tempfile.TemporaryFile() as paired,
                    tempfile.TemporaryFile() as alone,
                ):
                    return Comparison(source, conn, paired, alone).run(records)
            except _NotSorted:
                continue
        raise AssertionError("a sorted file is sorted")


class Declared:
    """The declared side: the file, and how its rows are read."""

    def __init__(self, phase: Phase, seeds: Seeds) -> None:
        assert seeds.file is not None
        self.seeds = seeds
        self.file = SeedFile(phase.folder / seeds.file)
        self.types = {
            column.name: column.type
            for table in phase.tables
            if table.name == seeds.table
            for column in table.columns
        }
        self._key_places = tuple(self.file.columns.index(column) for column in seeds.key)
        self._integers = tuple(self.types.get(column) in INTEGERS for column in seeds.key)
        self.tenants = self.file.values_of(seeds.tenant) if seeds.tenant else None

    def key(self, record: bytes) -> Key:
        """Return the key of a record, as it is written."""
        fields = self.file.parse(record)
        if len(fields) != len(self.file.columns):
            self.file.row(record)  # says what is wrong
        return tuple(fields[place] for place in self._key_places)

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

    def tenant(self, row: dict[str, Any]) -> Tenant:
        """Return under which tenant a row is told."""
        if self.tenants is None or len(self.tenants) > MOST_TENANTS:
            return None
        value = row.get(str(self.seeds.tenant))
        return None if value is None else str(value)

    def document(self, record: bytes) -> dict[str, Any]:
        """Return a record's values for a JSON document; texts become values of the column's type in the server."""
        row: dict[str, Any] = dict(self.file.row(record))
        for name, text in row.items():
            if text is not None and self.types.get(name) in JSONS:
                try:
                    row[name] = json.loads(text)
                except ValueError as error:
                    what = f"{self.file.path.name} has a value of {name} that is no JSON: {text[:100]}"
                    raise SpecError(what, "Correct it.") from error
        return row


class Comparison:
    """One look at one table: what is not equal byte for byte is put aside on disk, then judged by the server.

    Put aside are declared rows, `paired` with a row of the same key or `alone`, as far as the table prints keys.
    """

    def __init__(self, declared: Declared, conn: Connection, paired: BinaryIO, alone: BinaryIO) -> None:
        self.declared = declared
        self.conn = conn
        self.paired, self.alone = paired, alone
        self.tallies: dict[Tenant, Tally] = {}
        self.unexpected: dict[Key, list[Tenant]] = {}
        self.overflowing = False

    def run(self, records: Iterator[bytes]) -> dict[Tenant, Tally]:
        """Compare and return the tallies. Raises _NotSorted when the records prove to be in another order."""
        print_alike(self.conn)
        self.conn.execute("SET LOCAL statement_timeout = 0")  # a stream lasts as long as there are rows
        with self.conn.cursor() as cursor, cursor.copy(self._statement()) as stream:
            declared = self._merge(iter(stream), records)
        if self.declared.tenants is None:
            self._tally(None).declared = declared
        else:
            for value, rows in self.declared.tenants.items():
                tenant = self.declared.tenant({str(self.declared.seeds.tenant): value})
                self._tally(tenant).declared += rows
        self._judge(self.paired, alone=False)
        self._judge(self.alone, alone=True)
        for key, tenants in self.unexpected.items():
            for tenant in tenants:
                self._tally(tenant).add("unexpected", _name(key))
        return self.tallies

    def _merge(self, table: Iterator[Any], records: Iterator[bytes]) -> int:
        """Put aside what is not equal on both sides; return the number of records."""
        order = self.declared.order
        number, before = 0, None
        have, want = next(table, None), next(records, None)
        while have is not None and want is not None:
            if have == want:
                number, before = number + 1, want
                have, want = next(table, None), next(records, None)
                continue
            theirs, ours = order(bytes(have)), order(want)
            if before is not None and ours < order(before):
                raise _NotSorted
            if ours > theirs:
                self._put_unexpected(bytes(have))
                have = next(table, None)
                continue
            if ours == theirs:
                self.paired.write(want)
                have = next(table, None)
            else:
                self.alone.write(want)
            number, before = number + 1, want
            want = next(records, None)
        while have is not None:
            self._put_unexpected(bytes(have))
            have = next(table, None)
        while want is not None:
            self.alone.write(want)
            number, want = number + 1, next(records, None)
        return number

    def _put_unexpected(self, record: bytes) -> None:
        tenant = self.declared.tenant(self.declared.file.row(record))
        key = self.declared.key(record)
        if self.overflowing or (len(self.unexpected) >= KEPT and key not in self.unexpected):
            self.overflowing = True
            self._tally(tenant).add("unexpected", _name(key))
        else:
            self.unexpected.setdefault(key, []).append(tenant)

    def _judge(self, spool: BinaryIO, *, alone: bool) -> None:
        """Have the server judge the rows that were put aside; `alone` are those whose key the table did not print."""
        spool.seek(0)
        records = records_of(spool)
        while batch := list(islice(records, BATCH)):
            pairs = compare(self.conn, self.declared.seeds, map(self.declared.document, batch))
            for pair in sorted(pairs, key=self._place):
                self._judge_pair(pair, alone=alone)

    def _place(self, pair: dict[str, Any]) -> list[tuple[bool, Any]]:
        return [(pair["want"][column] is None, pair["want"][column]) for column in self.declared.seeds.key]

    def _judge_pair(self, pair: dict[str, Any], *, alone: bool) -> None:
        want, have = pair["want"], pair["have"]
        tally = self._tally(self.declared.tenant(want))
        name = _name(tuple(want[column] for column in self.declared.seeds.key))
        if have is None:
            tally.add("missing", name)
            return
        if not pair["same"]:
            differing = ", ".join(f"{c} {have[c]} instead of {want[c]}" for c in want if have[c] != want[c])
            tally.add("different", f"{name} ({differing})")
        if alone and not self.overflowing:  # its key is written in another way than the table prints it
            found = self.unexpected.get(tuple(pair["key"]))
            if found:
                found.pop()
            elif pair["same"]:
                tally.add("declared twice", name)

    def _tally(self, tenant: Tenant) -> Tally:
        return self.tallies.setdefault(tenant, Tally())

    def _statement(self) -> sql.Composed:
        """Return the COPY of the table's rows (of the declared tenants) in the order of the key."""
        seeds, file = self.declared.seeds, self.declared.file
        columns = sql.SQL(", ").join(sql.Identifier("have", column) for column in file.columns)
        order = sql.SQL(", ").join(
            sql.Identifier("have", column)
            if self.declared.types.get(column) in INTEGERS
            else sql.SQL('{}::text COLLATE "C"').format(sql.Identifier("have", column))
            for column in seeds.key
        )
        return sql.SQL(
            "COPY (SELECT {columns} FROM {table} AS have WHERE {scope} ORDER BY {order}) "
            "TO STDOUT (FORMAT csv, DELIMITER {separator})"
        ).format(
            columns=columns,
            table=identifier(seeds.table),
            scope=self._scope(),
            order=order,
            separator=sql.Literal(file.separator.decode()),
        )

    def _scope(self) -> sql.Composable:
        tenant = self.declared.seeds.tenant
        if tenant is None or self.declared.tenants is None:
            return sql.SQL("true")
        document = Jsonb([{tenant: value} for value in self.declared.tenants])
        declared = sql.SQL("SELECT {tenant} FROM jsonb_populate_recordset(NULL::{table}, {document})").format(
            tenant=sql.Identifier(tenant),
            table=identifier(self.declared.seeds.table),
            document=sql.Literal(document),
        )
        few = len(self.declared.tenants) <= MOST_TENANTS  # an array leaves the planner the index of the key
        scope = "have.{tenant} = ANY (ARRAY({declared}))" if few else "have.{tenant} IN ({declared})"
        if None in self.declared.tenants:
            scope += " OR have.{tenant} IS NULL"
        return sql.SQL(scope).format(tenant=sql.Identifier(tenant), declared=declared)


def _name(key: Key) -> str:
    return f"[{', '.join(str(part) for part in key)}]"
