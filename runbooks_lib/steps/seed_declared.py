"""Rows that stand in the phase file: each is compared and judged by itself."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from psycopg import sql

from runbooks_lib.checks import Check
from runbooks_lib.findings import Finding, Verdict
from runbooks_lib.phase import Seeds
from runbooks_lib.phase.seed_values import as_text, name_of, shown
from runbooks_lib.postgres.catalog.catalog import identifier
from runbooks_lib.postgres.rows.content import print_alike
from runbooks_lib.postgres.rows.values import listed, read_relation
from runbooks_lib.postgres.session.connect import Connection
from runbooks_lib.steps.seed_rows import REFUSALS, Pair, commas, compare, key_equal, refuse


@dataclass(frozen=True, slots=True, kw_only=True)
class Compared:
    """A row of the phase file with the rows that have its key; `twice`: one of them is another declared row's, too."""

    row: Mapping[str, object]
    pairs: tuple[Pair, ...] = ()
    twice: bool = False

    @property
    def stands(self) -> bool:
        """Return whether there is a row with its key."""
        return any(pair.have is not None for pair in self.pairs)

    @property
    def found(self) -> dict[str, str | None] | None:
        """Return what stands there, by column, as the server prints it; None when nothing does."""
        have = self.pairs[0].have if self.pairs else None
        return None if have is None else dict(zip(self.row, have, strict=True))


def compare_declared(conn: Connection, seeds: Seeds) -> list[Compared]:
    """Compare each row that stands in the phase file with its table, in their order.

    A column that a row leaves out is not judged. Raises SpecError, PreconditionFailed, and psycopg errors as they come.
    """
    print_alike(conn)
    relation = read_relation(conn, seeds.table, (column for row in seeds.rows for column in row), seeds.key)
    groups: dict[tuple[str, ...], list[int]] = {}
    for place, row in enumerate(seeds.rows):
        groups.setdefault(tuple(row), []).append(place)
    pairs: list[list[Pair]] = [[] for _ in seeds.rows]
    for columns, places in groups.items():
        fields = [[as_text(seeds.rows[place][column]) for column in columns] for place in places]
        for pair in compare(conn, relation, seeds.key, columns, fields):
            pairs[places[pair.number]].append(pair)
    keys = [
        {tuple(dict(zip(row, pair.have, strict=True))[c] for c in seeds.key) for pair in found if pair.have}
        for row, found in zip(seeds.rows, pairs, strict=True)
    ]
    often = Counter(key for each in keys for key in each)
    return [
        Compared(row=row, pairs=tuple(found), twice=any(often[key] > 1 for key in each))
        for row, found, each in zip(seeds.rows, pairs, keys, strict=True)
    ]


def judge_row(target: str, seeds: Seeds, compared: Compared) -> Finding:
    """Judge seed_row_is: the row stands once, in the table itself, is declared once, and has every declared value."""
    row, pairs = compared.row, compared.pairs
    others = [column for column in row if column not in seeds.key]
    have, want = _differing(compared, others)
    if not compared.stands:
        told = "missing"
    elif len(pairs) > 1:
        told = f"stands {len(pairs)} times"
    elif compared.twice:
        told = "declared twice: another row of the phase file has the same key"
    elif pairs[0].place:
        told = f"in {pairs[0].place}, which inherits from the table"
    else:
        told = ""
    wrong = bool(told) or not all(pairs[0].same)
    return Finding(
        check=Check.SEED_ROW_IS,
        target=target,
        object=f"{seeds.table}{name_of(seeds.key, row)}",
        have=told or have,
        want=want if wrong else have,
        verdict=Verdict.FAIL if wrong else Verdict.PASS,
        hint="Compare with the phase file: restore the row, or correct the declaration." if wrong else "",
    )


def _differing(compared: Compared, others: list[str]) -> tuple[str, str]:
    """Return both sides in words: the columns that differ, or, where none does, all that are not of the key."""
    if not compared.pairs:
        return "", ", ".join(f"{c} {shown(as_text(compared.row[c]))}" for c in others) or "there"
    pair = compared.pairs[0]
    same = dict(zip(compared.row, pair.same, strict=True))
    columns = others if pair.have is None else [c for c in others if not same[c]] or others
    sides = (dict(zip(compared.row, side, strict=True)) if side else {} for side in (pair.have, pair.want))
    have, want = (", ".join(f"{c} {shown(side.get(c))}" for c in columns) or "there" for side in sides)
    return have, want


def unexpected(conn: Connection, seeds: Seeds, *, most: int) -> str:
    """Say which rows there are that the phase file does not declare, the first of them by name; empty for none.

    Within the declared tenants, where there are any; rows of inheriting tables are told with them. Raises as
    `compare_declared` does.
    """
    print_alike(conn)
    columns = list(dict.fromkeys((*seeds.key, *((seeds.tenant,) if seeds.tenant else ()))))
    relation = read_relation(conn, seeds.table, columns, seeds.key)
    values = [relation.columns[name] for name in columns]
    rows = [[as_text(row.get(column)) for column in columns] for row in seeds.rows]
    equal = {
        name: key_equal(values[n], n, [row[n] for row in rows], have=sql.Identifier("have", name))
        for n, name in enumerate(columns)
    }
    scope = (
        sql.SQL("EXISTS (SELECT FROM want WHERE {})").format(equal[seeds.tenant]) if seeds.tenant else None
    )
    statement = sql.SQL(
        "WITH want AS MATERIALIZED (SELECT * FROM {listed}) "
        "SELECT ARRAY[{key}] AS key, count(*) OVER () AS number FROM {table} AS have "
        "WHERE {scope} AND NOT EXISTS (SELECT FROM want WHERE {on}) ORDER BY {key} LIMIT {most}"
    ).format(
        listed=listed(conn, values, rows),
        key=commas(v.printed(sql.Identifier("have", v.name)) for v in values[: len(seeds.key)]),
        table=identifier(relation.name),
        scope=scope or sql.SQL("true"),
        on=sql.SQL(" AND ").join(equal[name] for name in seeds.key),
        most=sql.Literal(most),
    )
    try:
        with conn.transaction():
            found = conn.execute(statement).fetchall()
    except REFUSALS as error:
        refuse(conn, relation.name, values, rows, error)
        raise
    more = f" and {found[0]['number'] - len(found)} more" if found and found[0]["number"] > len(found) else ""
    return ", ".join(f"[{', '.join(map(shown, row['key']))}]" for row in found) + more
