"""A file of declared rows compared with a table in one pass and in bounded memory, however many they are.

Table and file are read side by side in the order of the key, the table as COPY prints it. What is equal byte for
byte is not looked at any further. What is not (another spelling, another value, a row on one side only) is judged by
the server, which knows the types, in the same snapshot. The order only makes it quick: no row is passed unless it was
equal to a declared one, whatever the order.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from psycopg import sql

from runbooks_lib.phase.seed_file import records_of, sorted_records
from runbooks_lib.phase.seed_values import shown
from runbooks_lib.postgres.catalog.catalog import identifier
from runbooks_lib.postgres.rows.content import print_alike
from runbooks_lib.postgres.rows.values import listed, literal
from runbooks_lib.postgres.session.connect import Connection
from runbooks_lib.postgres.session.session import take_time
from runbooks_lib.steps.seed_rows import Pair, commas, compare
from runbooks_lib.steps.seed_source import MOST_TENANTS, NAMED, Declared, Tally, Tenant, named

BATCH, BATCH_BYTES = 5_000, 8 * 2**20  # rows that the server judges at once


class NotSorted(Exception):
    """The file is not in the order of the key."""


class Comparison:
    """One look at one table: what is not equal byte for byte is put aside on disk, then judged by the server.

    Put aside are declared rows, `paired` with a row of the same key or `alone`, as far as the table prints keys; and
    `extra` rows of the table. A key that is written otherwise makes one of both: its row is `found` when judged.
    """

    def __init__(self, declared: Declared, conn: Connection, folder: Path) -> None:
        self.declared = declared
        self.conn = conn
        self.folder = folder
        self.tallies: dict[Tenant, Tally] = {}
        self._spools = {name: (folder / name).open("w+b") for name in ("paired", "alone", "extra", "found")}

    def run(self, records: Iterator[bytes]) -> dict[Tenant, Tally]:
        """Compare and return the tallies. Raises NotSorted when the records prove to be in another order."""
        try:
            print_alike(self.conn)
            take_time(self.conn)
            with self.conn.cursor() as cursor, cursor.copy(self._statement()) as stream:
                number = self._merge(map(bytes, stream), records)
            self._count_declared(number)
            for name in ("paired", "alone"):
                self._judge(name)
            self._reconcile()
            if not self.declared.relation.unique:
                self._count_repeated()
        finally:
            for spool in self._spools.values():
                spool.close()
        return self.tallies

    def _merge(self, table: Iterator[bytes], records: Iterator[bytes]) -> int:
        """Put aside what is not equal on both sides; return the number of records."""
        declared, order = self.declared, self.declared.order
        look = not declared.relation.unique
        paired, alone, extra = (self._spools[name].write for name in ("paired", "alone", "extra"))
        number, before, matched = 0, None, None  # the last record, and the last one with a row of its key
        have, want = next(table, None), next(records, None)
        while have is not None or want is not None:
            if have == want and have is not None and not look:  # nearly every row, and cheap
                number, before, matched = number + 1, want, want
                have, want = next(table, None), next(records, None)
                continue
            theirs = order(have) if have is not None else None
            ours = order(want) if want is not None else None
            last = order(before) if before is not None else None
            if ours is not None and last is not None and ours < last:
                raise NotSorted
            if want is not None and ours == last:  # file: 7,a 7,b
                self._add("declared twice", want)
                number, want = number + 1, next(records, None)
            elif have is not None and matched is not None and theirs == order(matched):
                have = next(table, None)  # it stands twice, and is told with those that are written otherwise
            elif have is not None and (ours is None or (theirs is not None and ours > theirs)):
                # Table 5, file 7: nobody declared 5, unless the file writes it otherwise (05); the server is asked.
                extra(have)
                have = next(table, None)
            elif want is not None:
                if ours == theirs:  # one key on both sides: other values, or the same written otherwise
                    if have != want or declared.relation.children:
                        paired(want)
                    matched, have = want, next(table, None)
                else:  # table 9, file 7: missing, unless the table prints that key otherwise
                    alone(want)
                number, before, want = number + 1, want, next(records, None)
        return number

    def _count_declared(self, number: int) -> None:
        if self.declared.tenants is None:
            self._tally(None).declared = number
            return
        for text, rows in self.declared.tenants.items():
            self._tally(self.declared.tenant(text)).declared += rows

    def _add(self, kind: str, record: bytes) -> None:
        self._tally(self.declared.tenant_of(record)).add(kind, named(self.declared.key(record)))

    def _judge(self, name: str) -> None:
        """Have the server judge the rows that were put aside."""
        declared = self.declared
        spool = self._spools[name]
        spool.seek(0)
        for batch in _batches(records_of(spool)):
            rows = [list(declared.file.row(record).values()) for record in batch]
            columns, key = declared.file.columns, declared.seeds.key
            pairs = compare(self.conn, declared.relation, key, columns, rows, scope=self._scope())
            before = None
            for pair in pairs:
                if pair.number != before:
                    self._judge_pair(pair)
                before = pair.number
                if name == "alone" and pair.have is not None and pair.in_scope:
                    self._spools["found"].write(declared.file.record(list(pair.have)))

    def _judge_pair(self, pair: Pair) -> None:
        columns = self.declared.file.columns
        want = dict(zip(columns, pair.want, strict=True))
        tally = self._tally(self.declared.tenant(want.get(str(self.declared.seeds.tenant))))
        name = named(tuple(want[column] for column in self.declared.seeds.key))
        if pair.have is None:
            tally.add("missing", name)
        elif pair.place:
            tally.add("inherited", f"{name} in {pair.place}")
        elif not all(pair.same):
            sides = zip(columns, pair.have, pair.want, pair.same, strict=True)
            differing = ", ".join(
                f"{c} {shown(h)} instead of {shown(w)}" for c, h, w, same in sides if not same
            )
            tally.add("different", f"{name} ({differing})")

    def _reconcile(self) -> None:
        """Tell the extra rows that were found by another spelling of their key from those that nobody declared."""
        order = self.declared.order
        extra, found = (self._sorted(name) for name in ("extra", "found"))
        have, hit = next(extra, None), next(found, None)
        while have is not None or hit is not None:
            theirs = order(have) if have is not None else None
            ours = order(hit) if hit is not None else None
            if ours is not None and ours == theirs:
                have, hit = next(extra, None), next(found, None)
            elif hit is not None and (theirs is None or (ours is not None and ours < theirs)):
                self._add("declared twice", hit)  # another row of the file has taken it
                hit = next(found, None)
            elif have is not None:
                self._add("unexpected", have)
                have = next(extra, None)

    def _count_repeated(self) -> None:
        """Tell the keys that stand more than once in the table, as their types' own equality groups them."""
        declared = self.declared
        key = [declared.relation.columns[column] for column in declared.seeds.key]
        told_apart = declared.seeds.tenant if declared.labels else None
        tenant = declared.relation.columns[told_apart] if told_apart else None
        statement = sql.SQL(
            "SELECT * FROM (SELECT key, tenant, count(*) OVER by_tenant AS number, "
            "row_number() OVER (PARTITION BY tenant ORDER BY key) AS place FROM ("
            "SELECT ARRAY[{key}] AS key, min({tenant}) AS tenant FROM {table} AS have WHERE {scope} "
            "GROUP BY {groups} HAVING count(*) > 1) AS repeated WINDOW by_tenant AS (PARTITION BY tenant)"
            ") AS told WHERE place <= {most} ORDER BY place"
        ).format(
            key=commas(v.printed(sql.Identifier("have", v.name)) for v in key),
            tenant=tenant.printed(sql.Identifier("have", tenant.name)) if tenant else sql.SQL("NULL::text"),
            table=identifier(declared.seeds.table),
            scope=self._scope(),
            groups=commas(v.grouped(sql.Identifier("have", v.name)) for v in key),
            most=sql.Literal(NAMED),
        )
        for row in self.conn.execute(statement):
            tally = self._tally(declared.tenant(row["tenant"]))
            tally.add(
                "stands twice", named(tuple(row["key"])), rows=row["number"] if row["place"] == 1 else 0
            )

    def _sorted(self, name: str) -> Iterator[bytes]:
        spool = self._spools[name]
        spool.seek(0)
        return sorted_records(records_of(spool), self.declared.order, self.folder)

    def _tally(self, tenant: Tenant) -> Tally:
        return self.tallies.setdefault(tenant, Tally())

    def _statement(self) -> sql.Composed:
        """Return the COPY of the table's rows (of the declared tenants) in the order of the key."""
        declared = self.declared
        return sql.SQL(
            "COPY (SELECT {columns} FROM {table} AS have WHERE {scope} ORDER BY {order}) "
            "TO STDOUT (FORMAT csv, DELIMITER {separator})"
        ).format(
            columns=commas(sql.Identifier("have", column) for column in declared.file.columns),
            table=identifier(declared.seeds.table),
            scope=self._scope(),
            order=commas(
                declared.relation.columns[column].ordered(sql.Identifier("have", column))
                for column in declared.seeds.key
            ),
            separator=sql.Literal(declared.file.separator.decode()),
        )

    def _scope(self) -> sql.Composable:
        """Return whether a row is of a declared tenant; of few, in a form that leaves the planner the key's index."""
        declared = self.declared
        if declared.seeds.tenant is None or declared.tenants is None:
            return sql.SQL("true")
        values, have = (
            declared.relation.columns[declared.seeds.tenant],
            sql.Identifier("have", declared.seeds.tenant),
        )
        written = [text for text in declared.tenants if text is not None]
        parts: list[sql.Composable] = []
        if None in declared.tenants:
            parts.append(sql.SQL("{} IS NOT DISTINCT FROM NULL").format(have))
        if len(written) <= MOST_TENANTS:
            parts += [values.equal(have, literal(self.conn, values, text)) for text in written]
        else:
            wanted = listed(self.conn, [values], [[text] for text in written])
            equal = values.equal(have, sql.Identifier("want", "c0"))
            parts.append(sql.SQL("EXISTS (SELECT FROM {} WHERE {})").format(wanted, equal))
        return sql.SQL(" OR ").join(parts) if parts else sql.SQL("false")


def _batches(records: Iterator[bytes]) -> Iterator[list[bytes]]:
    """Yield the rows in lists that the server judges at once: not too many, not too long."""
    batch: list[bytes] = []
    size = 0
    for record in records:
        batch.append(record)
        size += len(record)
        if len(batch) == BATCH or size > BATCH_BYTES:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch
