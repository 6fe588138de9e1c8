"""Which columns scripts add with a default that a row need not have, by the names that they have in the end."""

from __future__ import annotations

import pytest

from runbooks_lib.postgres.script.defaulted import added_with_default

ADD = "ALTER TABLE t ADD COLUMN a int DEFAULT 1;"
T = ("public", "t")


@pytest.mark.parametrize(
    ("scripts", "columns"),
    [
        ([ADD], {(T, "a")}),
        (["ALTER TABLE t ADD a int DEFAULT 1, ADD b int DEFAULT 2, ADD c int;"], {(T, "a"), (T, "b")}),
        (["ALTER TABLE t ADD a int NOT NULL DEFAULT 1;"], set()),
        (["ALTER TABLE t ADD a int DEFAULT 1 PRIMARY KEY;"], set()),
        (["ALTER TABLE t ADD a int DEFAULT NULL, ADD b text DEFAULT (NULL::varchar)::text;"], set()),
        (["ALTER TABLE t ADD a int GENERATED ALWAYS AS (1) STORED;"], set()),
        (["CREATE TABLE t (a int DEFAULT 1);"], set()),
        ([ADD, "ALTER TABLE t DROP a;"], set()),
        ([ADD, "ALTER TABLE t DROP a, ADD a int;"], set()),
        ([ADD, "DROP TABLE x, t;"], set()),
        ([ADD, "DROP SCHEMA public CASCADE;"], set()),
        ([ADD, "ALTER TABLE t RENAME a TO b;", "ALTER TABLE t RENAME TO u;"], {(("public", "u"), "b")}),
        ([ADD, "ALTER TABLE t SET SCHEMA s;", "ALTER TABLE s.t RENAME a TO b;"], {(("s", "t"), "b")}),
        ([ADD, "ALTER TABLE u RENAME a TO b; ALTER TYPE t RENAME ATTRIBUTE a TO b;"], {(T, "a")}),
        (["nobody's SQL", ADD], {(T, "a")}),
    ],
)  # fmt: skip
def test_columns_are_followed_to_the_end(scripts: list[str], columns: set[object]) -> None:
    named = [(f"{number}", script) for number, script in enumerate(scripts)]
    found = added_with_default(named, "public")
    assert set(found) == columns


def test_it_is_told_which_statement_of_which_script_adds_it() -> None:
    scripts = [
        ("1", ADD),
        ("2", f"SELECT 1;\n{ADD.replace(' a ', ' b ')}\nDO $$ BEGIN {ADD.replace(' a ', ' c ')} END $$;"),
    ]
    found = added_with_default(scripts, "public")
    assert {column: (each.script, each.at, each.piece.line) for (_, column), each in found.items()} == {
        "a": ("1", 0, 1),
        "b": ("2", 1, 2),
        "c": ("2", 2, 3),
    }
