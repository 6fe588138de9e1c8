"""What differs is a value; words are made of it, and of all that does not matter nothing is said."""

from __future__ import annotations

import json

import pytest

from runbooks_lib.postgres.catalog.catalog import Value
from runbooks_lib.postgres.catalog.differences import (
    Difference,
    before_18,
    compare,
    field,
    from_plain,
    granted,
    in_words,
    to_plain,
    without,
)

TABLE = ("relation", "public.t")
ONE = (("kind", "r"), ("owner", "kb"), ("row_security", False), ("options", (("fillfactor", "90"),)))
A = (("name", "a"), ("type", "text[]"), ("default", "ARRAY['DE', 'FR']"))
B = (("name", "b"), ("type", "text"), ("not_null", True))


def test_differences_are_values() -> None:
    other = (("kind", "v"), ("owner", "kb"))
    have: dict[tuple[str, str], Value] = {TABLE: ONE, ("view", "public.v"): (("definition", "x"),)}
    want: dict[tuple[str, str], Value] = {TABLE: other, ("enum", "public.e"): (("labels", ("A", "B")),)}
    assert list(compare(have, want)) == [
        Difference(("enum", "public.e"), None, (("labels", ("A", "B")),)),
        Difference(TABLE, ONE, other),
        Difference(("view", "public.v"), (("definition", "x"),), None),
    ]
    assert list(compare(have, have)) == []


@pytest.mark.parametrize(
    ("kind", "have", "want", "words"),
    [
        ("view", None, (("definition", "x"),), "view n: missing"),
        ("view", (("definition", "x"),), None, "view n: not wanted"),
        ("relation", ONE, (("kind", "v"),), "relation n: have kind r owner kb options fillfactor 90, want kind v"),
        ("columns", (A, B), (B, A), "columns n: have order a, b, want order b, a"),
        ("columns", (A, B), (A,), "columns n: have b text not_null, want nothing else"),
        ("columns", (), (B,), "columns n: have nothing else, want b text not_null"),
        ("privileges", (("privileges", (("app", "SELECT", True), ("public", "INSERT", False))),), (("x", ()),),
         "privileges n: have app SELECT with grant option, public INSERT, want nothing set"),
    ],
)  # fmt: skip
def test_a_difference_in_words(kind: str, have: Value, want: Value, words: str) -> None:
    assert in_words(Difference((kind, "n"), have, want)) == words


def test_a_description_is_the_same_when_it_has_been_json() -> None:
    described: dict[tuple[str, str], Value] = {TABLE: ONE, ("columns", "public.t"): (A, B)}
    assert from_plain(json.loads(json.dumps(to_plain(described)))) == described
    assert from_plain(to_plain(described)) == described


def test_fields_are_found_by_name() -> None:
    assert field(ONE, "owner") == "kb"
    assert field(ONE, "nothing") is None
    assert field(None, "owner") is None
    assert without(ONE, "options") == ONE[:-1]
    assert granted((("privileges", (("a", "SELECT", False),)),)) == {("privileges", ("a", "SELECT", False))}
    assert granted(None) == frozenset()


def test_an_older_server_has_no_names_of_not_null() -> None:
    renamed = ("column settings", "public.orders.id")
    inherited = ("column settings", "public.part.id")
    described = {
        renamed: (("not_null", "old_id_not_null"),),
        inherited: (("inherited", True), ("not_null", "id_not_null"), ("not_null_inherited", True)),
        ("columns", "public.orders"): (B,),
    }
    assert before_18(described) == {
        inherited: (("inherited", True),),
        ("columns", "public.orders"): (B,),
    }
