"""What a relation holds, as one digest that the server makes: only the digest travels, whatever the rows' number."""

from __future__ import annotations

import hashlib

from psycopg import sql

from runbooks_lib.postgres.catalog.catalog import identifier
from runbooks_lib.postgres.session.connect import Connection

# How values are printed is the session's matter; these are what pg_dump sets, so that two servers print alike.
_PRINTED_ALIKE = {
    "datestyle": "ISO, MDY",
    "intervalstyle": "postgres",
    "extra_float_digits": "1",
    "bytea_output": "hex",
    "timezone": "UTC",
    "xmloption": "content",
    "lc_monetary": "C",
}
_WORDS = (1, 17)  # where the two words of 64 bits begin in the hexadecimal digest of a row


def print_alike(conn: Connection) -> None:
    """Have this session print values as every other one does that was told so, whatever its server's settings."""
    conn.execute(
        "SELECT pg_catalog.set_config(name, value, false) FROM unnest(%s::text[], %s::text[]) AS s (name, value)",
        (list(_PRINTED_ALIKE), list(_PRINTED_ALIKE.values())),
    )


def content_hash(conn: Connection, relation: str, *, alone: bool = False) -> tuple[int, str]:
    """Return the number of a relation's rows and a digest (SHA-256, hex) of them that does not know their order.

    Reads the relation once, in the server, with flat memory; writes nothing. Each row is hashed as the server prints
    it, all columns in their order, and the hashes are added up: a row that stands twice counts twice. Equal digests
    say that two relations hold the same rows; call it inside `Sessions.snapshot` where that is to be said of one
    moment. `relation` is a `schema.relation` name. `alone` leaves out the rows of its partitions and heirs, and takes
    the columns by their names: those that an heir inherits have another place in a restored table.
    Raises psycopg errors as they come.

    Values are printed by their types' output functions, which only a superuser can make: a cast to text, of the row
    or of a column's type, may be its owner's, and would run with the rights of whoever reads. format() never casts.
    """
    print_alike(conn)
    words = sql.SQL(", ").join(
        sql.SQL("pg_catalog.sum(('x' || pg_catalog.substr(hash, {}, 16))::bit(64)::bigint) AS {}").format(
            sql.Literal(start), sql.Identifier(f"word_{start}")
        )
        for start in _WORDS
    )
    statement = sql.SQL(
        "SELECT pg_catalog.count(*) AS rows, {words} FROM (SELECT pg_catalog.encode(pg_catalog.sha256("
        "pg_catalog.convert_to(pg_catalog.format('%s', ROW({columns})), 'UTF8')), 'hex') AS hash"
        " FROM {alone} {relation} AS content"
        " OFFSET 0) AS hashes"  # OFFSET keeps the planner from hashing each row once for every word
    ).format(
        words=words,
        columns=_by_name(conn, relation) if alone else sql.SQL("content.*"),
        alone=sql.SQL("ONLY" if alone else ""),
        relation=identifier(relation),
    )
    row = conn.execute(statement).fetchone()
    assert row is not None
    sums = ":".join(str(row[f"word_{start}"] or 0) for start in _WORDS)
    return row["rows"], hashlib.sha256(f"{row['rows']}:{sums}".encode()).hexdigest()


def _by_name(conn: Connection, relation: str) -> sql.Composed:
    rows = conn.execute(
        "SELECT attname FROM pg_attribute WHERE attrelid = %s::regclass AND attnum > 0 AND NOT attisdropped"
        " ORDER BY attname",
        (identifier(relation).as_string(conn),),
    ).fetchall()
    return sql.SQL(", ").join(sql.Identifier("content", row["attname"]) for row in rows)
