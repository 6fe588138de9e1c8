"""Histories of every statement's shape, on a real server: their baseline makes what they make, once, or refuses."""

from __future__ import annotations

import os
from collections.abc import Iterator

import psycopg
import pytest
from hypothesis import HealthCheck, Phase, assume, given, settings
from hypothesis import strategies as st

from runbooks_lib.drafting.baseline import write_baseline
from runbooks_lib.postgres.catalog.differences import compare, in_words
from runbooks_lib.postgres.scratch.programs import find_server
from runbooks_lib.postgres.scratch.scratch import scratch
from runbooks_lib.postgres.script.script import parse_script
from runbooks_lib.postgres.session.connect import Connection

from .test_drafted_baselines import NUMBERS, Undo, after, run, seen, statements

EXAMPLES = int(os.environ.get("RUNBOOKS_FUZZED_BASELINES", "25"))
SHAPES = """
CREATE TABLE {t} (id int NOT NULL, {c} text NOT NULL, CONSTRAINT {t}_pkey PRIMARY KEY (id))
CREATE TABLE {t} (id serial PRIMARY KEY, {c} {y} DEFAULT NULL)
ALTER TABLE {t} ADD COLUMN {c} {y}
ALTER TABLE {t} ADD COLUMN {c} {y}, DROP COLUMN {d}
ALTER TABLE {t} DROP COLUMN {c}, ADD COLUMN {c} {y}
ALTER TABLE {t} DROP COLUMN {c}
ALTER TABLE {t} DROP COLUMN {c} CASCADE
ALTER TABLE {t} ALTER COLUMN {c} TYPE {y} USING NULL
ALTER TABLE {t} ALTER COLUMN {c} SET DEFAULT NULL
ALTER TABLE {t} ALTER COLUMN {c} DROP NOT NULL
ALTER TABLE {t} ALTER COLUMN {c} SET NOT NULL
ALTER TABLE {t} ADD CONSTRAINT {k} UNIQUE (id, {c})
ALTER TABLE {t} ADD CONSTRAINT {k} FOREIGN KEY (id) REFERENCES {u}(id) ON DELETE CASCADE
ALTER TABLE {t} ADD CONSTRAINT {k} CHECK (id > 0)
ALTER TABLE {t} DROP CONSTRAINT {k}
ALTER TABLE {t} RENAME CONSTRAINT {k} TO {l}
ALTER TABLE {t} RENAME COLUMN {c} TO {d}
ALTER TABLE {t} RENAME TO {u}
ALTER TABLE {t} ENABLE ROW LEVEL SECURITY
CREATE INDEX {i} ON {t} ({c})
CREATE UNIQUE INDEX {i} ON {t} (id, {c} DESC)
DROP INDEX {i}
ALTER INDEX {i} RENAME TO {j}
DROP TABLE {t}
DROP TABLE {t} CASCADE
CREATE TYPE {e} AS ENUM ('a', 'b')
ALTER TYPE {e} ADD VALUE IF NOT EXISTS '{c}'
ALTER TYPE {e} RENAME VALUE 'a' TO '{c}'
ALTER TYPE {e} RENAME TO {f}
DROP TYPE {e}
CREATE VIEW {v} AS SELECT id FROM {t}
CREATE OR REPLACE VIEW {v} AS SELECT id, {c} FROM {t}
DROP VIEW {v}
CREATE POLICY {k} ON {t} USING (id > 0)
DROP POLICY {k} ON {t}
COMMENT ON TABLE {t} IS '{c}'
CREATE SEQUENCE {j}
""".strip().splitlines()  # fmt: skip
NAMES = {
    "t": ("a", "b", "Ta"), "u": ("a", "b", "Tb"), "c": ("n", "m"), "d": ("m", "o"), "k": ("k", "l"), "l": ("l", "q"),
    "i": ("i", "j"), "j": ("j", "s"), "e": ("e", "f"), "f": ("f", "g"), "v": ("v", "w"),
    "y": ("text", "int", "varchar(5)", "e", "timestamp(3)"),
}  # fmt: skip


@st.composite
def statement(draw: st.DrawFn) -> str:
    shape = draw(st.sampled_from(SHAPES))
    names = {key: draw(st.sampled_from(values)) for key, values in NAMES.items() if f"{{{key}}}" in shape}
    return shape.format(**{key: f'"{name}"' if name[0] == "T" else name for key, name in names.items()}
                        if "'{c}'" not in shape else names | {"t": "a"})  # fmt: skip


@pytest.fixture(scope="module")
def server() -> Iterator[Connection]:
    with scratch(find_server()) as copy:
        copy.create_database("fuzzed")
        with copy.connect("fuzzed") as conn:
            yield conn


def accepted(conn: Connection, wanted: list[str]) -> list[str]:
    """Those statements, in their order, that the server takes after those before them."""
    taken: list[str] = []
    try:
        with conn.transaction():
            conn.execute("SET LOCAL search_path = public")
            for text in wanted:
                try:
                    with conn.transaction():
                        conn.execute(text.encode())
                        taken.append(text)
                except psycopg.Error:
                    continue
            raise Undo
    except Undo:
        return taken


# A campaign makes what it finds small, which takes minutes.
PHASES = (Phase.generate, Phase.shrink) if EXAMPLES > 25 else (Phase.generate,)


@settings(max_examples=EXAMPLES, deadline=None, derandomize=EXAMPLES == 25, database=None, phases=PHASES,
          suppress_health_check=list(HealthCheck))  # fmt: skip
@given(wanted=st.lists(statement(), min_size=10, max_size=30), data=st.data())
def test_a_baseline_makes_what_its_history_makes_once_or_refuses(
    server: Connection, wanted: list[str], data: st.DataObject
) -> None:
    history = accepted(server, wanted)
    assume(history)
    baseline = write_baseline([(f"{n:02}", f"{text};") for n, text in enumerate(history)])
    assume(baseline.sql)
    assert [each.refused for each in parse_script(baseline.sql) if each.refused] == []
    script, whole = statements(baseline.sql), None if baseline.left else after(server, history)
    for stands in (0, len(history), data.draw(st.integers(0, len(history)))):
        try:
            with server.transaction():
                run(server, history[:stands])
                run(server, script)
                made, numbers = seen(server), server.execute(NUMBERS).fetchone()
                run(server, script)
                assert server.execute(NUMBERS).fetchone() == numbers, (history, stands, baseline.sql)
                raise Undo
        except Undo:
            pass
        except psycopg.Error:
            may_refuse = 0 < stands < len(history) or bool(baseline.left)
            assert may_refuse, (history, stands, baseline.sql)
            continue
        if whole is not None:
            assert list(map(in_words, compare(made, whole))) == [], (history, stands, baseline.sql)
