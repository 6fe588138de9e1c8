"""The catalogue is read by position: the queries' columns stand as the fields do; and what a fingerprint tells."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from dataclasses import replace

import psycopg
import pytest

from runbooks_lib.postgres.catalog.catalog import (
    Column,
    Constraint,
    Enum,
    Index,
    Relation,
    count_rows,
    read_catalog,
    tables_there,
)
from runbooks_lib.postgres.queries import query
from runbooks_lib.postgres.scratch.scratch import scratch
from runbooks_lib.postgres.session.connect import Connection

MAKE = """
CREATE TYPE public.mood AS ENUM ('good', 'bad');
CREATE TABLE public.one (id int PRIMARY KEY, name text COLLATE "C" DEFAULT 'x', CHECK (id > 0));
CREATE TABLE public.two (id int PRIMARY KEY, name text COLLATE "C" DEFAULT 'x', m public.mood);
CREATE INDEX two_name ON public.two (name);
CREATE VIEW public.v AS SELECT id FROM public.one;
CREATE TABLE public."Odd.name" (id int) PARTITION BY LIST (id);
CREATE SCHEMA s;
CREATE SCHEMA "s.t";
CREATE TABLE "s.t".u (a int);
CREATE TABLE s."t.u" (b int);
CREATE INDEX "u.one" ON "s.t".u (a);
"""


@pytest.fixture(scope="module")
def conn() -> Iterator[Connection]:
    with scratch() as server:
        server.create_database("catalog")
        with server.connect("catalog") as conn:
            conn.execute(MAKE.encode())
            yield conn


@pytest.mark.parametrize(
    ("name", "columns"),
    [
        ("relations", ["schema", *Relation._fields]),
        ("columns", ["schema", "relation", *Column._fields]),
        ("constraints", ["schema", "relation", "name", *Constraint._fields[2:]]),
        ("indexes", ["schema", "name", "relation", *Index._fields[2:]]),
        ("enums", ["schema", *Enum._fields]),
        ("objects", ["kind", "names", "fields"]),
        ("attached", ["kind", "names", "fields"]),
        ("notes", ["kind", "names", "fields"]),
        ("languages_and_types", ["kind", "names", "fields"]),
        ("text_search", ["kind", "names", "fields"]),
        ("foreign_and_published", ["kind", "names", "fields"]),
        ("grants", ["kind", "names", "acl", "initially"]),
    ],
)
def test_queries_have_their_columns_in_the_fields_order(
    conn: Connection, name: str, columns: list[str]
) -> None:
    description = conn.execute(query(name)).description
    assert description is not None
    assert [column.name for column in description] == columns


def test_equal_columns_are_one_object_and_tables_are_whole(conn: Connection) -> None:
    catalog = read_catalog(conn)
    one, two = catalog.columns["public.one"], catalog.columns["public.two"]
    assert [column.name for column in two] == ["id", "name", "m"]
    assert one[0] is two[0]
    assert (one[1].default, one[1].collation) == ("'x'::text", '"C"')
    assert catalog.primary_key("public.one") == ("id",)
    assert {c.kind for c in catalog.constraints["public.one"]} == {"p", "c"}
    assert catalog.indexes["public.two_name"].relation == "public.two"
    assert catalog.enums["public.mood"].labels == ("good", "bad")


def test_a_fingerprint_tells_every_difference(conn: Connection) -> None:
    catalog = read_catalog(conn)
    one, two = "public.one", "public.two"
    columns, index = catalog.columns, catalog.indexes["public.two_name"]
    others = [
        replace(catalog, columns={**columns, one: columns[one][::-1]}),
        replace(catalog, columns={**columns, one: columns[two], two: columns[one]}),
        replace(catalog, columns={**columns, two: columns[two][:2]}),
        replace(catalog, columns={**columns, one: (columns[one][0]._replace(default=""), columns[one][1])}),
        replace(catalog, constraints={**catalog.constraints, one: ()}),
        replace(catalog, indexes={**catalog.indexes, index.name: index._replace(is_valid=False)}),
        replace(catalog, enums={}),
        replace(catalog, definitions={}),
    ]
    assert len({catalog.fingerprint(), *(other.fingerprint() for other in others)}) == len(others) + 1
    copies = {table: tuple(column._replace() for column in found) for table, found in columns.items()}
    assert replace(catalog, columns=copies).fingerprint() == catalog.fingerprint()


def test_tables_are_told_from_what_only_has_a_name(conn: Connection) -> None:
    names = [
        "public.two",
        'public."Odd.name"',
        '"s.t".u',
        's."t.u"',
        's."u.one"',
        "public.v",
        "public.TWO",
        "public.mood",
        "other.one",
        "public.one",
    ]
    assert list(tables_there(conn, names)) == [
        "public.two",
        'public."Odd.name"',
        '"s.t".u',
        's."t.u"',
        "public.one",
    ]
    assert tables_there(conn, []) == {}


def test_names_with_dots_are_told_apart(conn: Connection) -> None:
    catalog = read_catalog(conn)
    assert [column.name for column in catalog.columns['"s.t".u']] == ["a"]
    assert [column.name for column in catalog.columns['s."t.u"']] == ["b"]
    assert catalog.indexes['"s.t"."u.one"'].relation == '"s.t".u'
    assert count_rows(conn, ('"s.t".u', 's."t.u"')) == {'"s.t".u': 0, 's."t.u"': 0}


def test_garbage_is_collected_as_before_when_a_catalogue_was_read_or_could_not_be(conn: Connection) -> None:
    read_catalog(conn)
    assert gc.isenabled()
    with conn.transaction(force_rollback=True):
        with pytest.raises(psycopg.errors.UndefinedColumn):
            conn.execute("SELECT broken")
        with pytest.raises(psycopg.errors.InFailedSqlTransaction):
            read_catalog(conn)
    assert gc.isenabled()
