"""Statements behind a guard: which block is recognised, and that none is whose test is not that of what it does."""

from __future__ import annotations

import pytest
from pglast import parse_sql

from runbooks_lib.postgres.script.guards import block, held_by
from runbooks_lib.postgres.script.printed import constraint_text, index_text, type_text
from runbooks_lib.postgres.script.script import parse_script

EXCHANGE = """
CREATE TYPE "E_new" AS ENUM ('a', 'b');
ALTER TABLE t ALTER c DROP DEFAULT;
ALTER TABLE t ALTER COLUMN c TYPE "E_new" USING (c::text::"E_new");
ALTER TYPE "E" RENAME TO "E_old";
ALTER TYPE "E_new" RENAME TO "E";
DROP TYPE "E_old";
ALTER TABLE t ALTER c SET DEFAULT 'a'
"""
# What is guarded, what its guard knows beyond it, and as what it is named.
GUARDED = (
    ('ALTER TABLE "T" ADD CONSTRAINT k UNIQUE (a)', (), ("table", "public.T")),
    ("ALTER TABLE s.t ADD CONSTRAINT k FOREIGN KEY (a) REFERENCES u(id)", (), ("table", "s.t")),
    ("ALTER TABLE t ADD CONSTRAINT k PRIMARY KEY USING INDEX i", (), ("table", "public.t")),
    ("ALTER TABLE t ALTER c TYPE bigint", (), ("table", "public.t")),
    ("ALTER TABLE t ALTER c DROP DEFAULT, ALTER c TYPE \"E\"[] USING c::\"E\"[], ALTER c SET DEFAULT '{}'", (),
     ("table", "public.t")),
    ("ALTER TABLE t DROP COLUMN c", ("integer",), ("table", "public.t")),
    ("ALTER TABLE t DROP CONSTRAINT k", ("PRIMARY KEY (a)",), ("table", "public.t")),
    ("ALTER TABLE t ALTER c ADD GENERATED ALWAYS AS IDENTITY", (), ("table", "public.t")),
    ("DROP INDEX i", ("CREATE INDEX i ON public.t USING btree (a)",), ("index", "public.i")),
    ("ALTER TABLE t RENAME a TO b", (), ("table", "public.t")),
    ("ALTER TABLE t RENAME TO u", (), ("table", "public.t")),
    ("ALTER INDEX i RENAME TO j", (), ("table", "public.i")),
    ("ALTER TABLE t RENAME CONSTRAINT a TO b", (), ("table", "public.t")),
    ('ALTER TYPE "E" RENAME TO "F"', (), ("type", "public.E")),
    ("ALTER TYPE e RENAME VALUE 'a' TO 'b'", (), ("type", "public.e")),
    ("CREATE POLICY p ON t USING (owner = current_user)", (), ("policy", "public.t.p")),
    ("CREATE CONSTRAINT TRIGGER g AFTER INSERT ON t DEFERRABLE FOR EACH ROW EXECUTE FUNCTION f()", (),
     ("trigger", "public.t.g")),
    ("CREATE DOMAIN d AS int", (), ("type", "public.d")),
    (EXCHANGE, ("c", "d"), ("type", "public.E")),
)  # fmt: skip


def trees(text: str) -> tuple[object, ...]:
    return tuple(raw.stmt for raw in parse_sql(text))


def written(text: str, literals: tuple[str, ...]) -> str:
    made = block(trees(text), *literals)
    assert made is not None
    return made


@pytest.mark.parametrize(("text", "literals", "named"), GUARDED)
def test_what_is_written_is_recognised(text: str, literals: tuple[str, ...], named: tuple[str, str]) -> None:
    (statement,) = parse_script(written(text, literals))
    assert (statement.refused, statement.kind, statement.object) == ("", *named)


@pytest.mark.parametrize(("text", "literals", "named"), GUARDED)
@pytest.mark.parametrize(
    ("was", "becomes"),
    [
        ("THEN\n", "OR true THEN\n"),
        ("IF ", "IF NOT "),
        ("  END IF;", "    DROP TABLE u;\n  END IF;"),
        ("  END IF;", "  ELSE\n    DROP TABLE u;\n  END IF;"),
        ("  END IF;", "  ELSIF true THEN\n    DROP TABLE u;\n  END IF;"),
        ("END $$", "  DROP TABLE u;\nEND $$"),
        (" BEGIN\n", " DECLARE x int := f(); BEGIN\n"),
        (" BEGIN\n", " BEGIN\n  PERFORM f();\n"),
        ("END $$", "EXCEPTION WHEN others THEN DROP TABLE u; END $$"),
        ("END $$", "END $$ LANGUAGE sql"),
        (" BEGIN\n", " DECLARE r record; BEGIN\n"),
        ("  END IF;", "  END IF;\n  IF true THEN DROP TABLE u; END IF;"),
        ("  END IF;", "    EXECUTE 'DROP TABLE u';\n  END IF;"),
    ],
)
def test_what_is_written_otherwise_is_not(
    text: str, literals: tuple[str, ...], named: tuple[str, str], was: str, becomes: str
) -> None:
    changed = written(text, literals).replace(was, becomes)
    assert changed != written(text, literals)
    (statement,) = parse_script(changed)
    assert statement.refused


@pytest.mark.parametrize(
    ("done", "tested"),
    [
        ("ALTER TABLE t ADD CONSTRAINT k UNIQUE (a)", "ALTER TABLE t ADD CONSTRAINT l UNIQUE (a)"),
        ("ALTER TABLE t ADD CONSTRAINT k UNIQUE (a)", "ALTER TABLE u ADD CONSTRAINT k UNIQUE (a)"),
        ("ALTER TABLE t ALTER c TYPE bigint", "ALTER TABLE t ALTER c TYPE integer"),
        ("ALTER TABLE t ALTER c TYPE bigint", "ALTER TABLE t ALTER d TYPE bigint"),
        ("ALTER TABLE t ALTER c TYPE varchar(10)", "ALTER TABLE t ALTER c TYPE varchar(11)"),
        ("ALTER TABLE t RENAME a TO b", "ALTER TABLE t RENAME b TO a"),
        ("ALTER TABLE t RENAME TO u", "ALTER TABLE u RENAME TO t"),
        ("ALTER TABLE s.t RENAME TO u", "ALTER TABLE t RENAME TO u"),
        ("CREATE POLICY p ON t", "CREATE POLICY q ON t"),
        ("ALTER TYPE e RENAME VALUE 'a' TO 'b'", "ALTER TYPE e RENAME VALUE 'b' TO 'a'"),
    ],
)
def test_the_test_of_another_statement_is_no_guard(done: str, tested: str) -> None:
    theirs, mine = written(tested, ()), written(done, ())
    test = theirs[: theirs.index("THEN")]
    (statement,) = parse_script(test + mine[mine.index("THEN") :])
    assert statement.refused


@pytest.mark.parametrize(
    ("text", "literals"),
    [
        ("UPDATE t SET a = 1", ()),
        ("DROP TABLE t", ()),
        ("ALTER TABLE t ADD UNIQUE (a)", ()),
        ("ALTER TABLE t DROP COLUMN c CASCADE", ("integer",)),
        ("ALTER TABLE t DROP COLUMN c", ()),
        ("ALTER TABLE t ALTER c TYPE bit(3)", ()),
        ("ALTER TABLE t ALTER c TYPE int, ALTER d TYPE int", ()),
        ("ALTER TABLE t ALTER c TYPE int, ADD COLUMN d int", ()),
        ("ALTER TABLE t ALTER c TYPE int, ALTER c TYPE int", ()),
        ("ALTER TABLE t ALTER c TYPE int, ALTER d SET DEFAULT 1", ()),
        ("ALTER TABLE t ALTER c TYPE int, ALTER c SET STATISTICS 1", ()),
        ("ALTER TABLE t DROP CONSTRAINT k CASCADE", ("UNIQUE (a)",)),
        ("DROP INDEX i CASCADE", ("CREATE INDEX i ON public.t USING btree (a)",)),
        ("DROP INDEX CONCURRENTLY i", ("CREATE INDEX i ON public.t USING btree (a)",)),
        ("DROP INDEX i, j", ("CREATE INDEX i ON public.t USING btree (a)",)),
        ("ALTER TABLE t RENAME a TO a", ()),
        ("ALTER TABLE t RENAME TO t", ()),
        ("ALTER TABLE t RENAME CONSTRAINT a TO a", ()),
        ('ALTER TYPE "E" RENAME TO "E"', ()),
        ("ALTER TYPE e RENAME VALUE 'a' TO 'a'", ()),
        ("ALTER TYPE e RENAME ATTRIBUTE a TO b", ()),
        (EXCHANGE, ()),
        (EXCHANGE, ("a", "c")),
        (EXCHANGE.replace('DROP TYPE "E_old"', 'DROP TYPE "E"'), ("c",)),
        (EXCHANGE.replace('DROP TYPE "E_old"', 'DROP TYPE "E_old" CASCADE'), ("c",)),
        (EXCHANGE.replace("ALTER c DROP DEFAULT", "DROP COLUMN d"), ("c",)),
        (EXCHANGE.replace('TYPE "E_new" USING', 'TYPE "F" USING'), ("c",)),
        (EXCHANGE.replace('ALTER TYPE "E_new" RENAME', 'ALTER TYPE other."E_new" RENAME'), ("c",)),
        (EXCHANGE + '; ALTER TABLE u ALTER c TYPE "E_new" USING (c::text::"E_new")', ("c",)),
    ],
)
def test_there_is_no_guard_for_it(text: str, literals: tuple[str, ...]) -> None:
    assert block(trees(text), *literals) is None


def test_an_enum_is_not_exchanged_for_one_that_has_the_label_still() -> None:
    made = written(EXCHANGE, ("c",)).replace("'c'", "'b'")
    (block_,) = trees(made)
    assert held_by(block_) is None


@pytest.mark.parametrize(
    ("earlier", "later"),
    [
        ("DROP TABLE IF EXISTS t", "CREATE TABLE IF NOT EXISTS t (a int)"),
        ("ALTER TABLE t ADD COLUMN IF NOT EXISTS c int", "ALTER TABLE t DROP COLUMN IF EXISTS c"),
        ("ALTER TABLE t DROP COLUMN IF EXISTS c", "ALTER TABLE t ADD COLUMN IF NOT EXISTS c int"),
        ("CREATE INDEX IF NOT EXISTS i ON t (c)", "ALTER TABLE t DROP COLUMN IF EXISTS c"),
        ("CREATE INDEX IF NOT EXISTS i ON t (c)", "DROP INDEX IF EXISTS i"),
        ("ALTER TABLE t DROP CONSTRAINT IF EXISTS k", "DROP TABLE IF EXISTS t"),
        ("ALTER TABLE IF EXISTS t ADD COLUMN IF NOT EXISTS c int", "DROP TABLE IF EXISTS t"),
        ("CREATE INDEX IF NOT EXISTS i ON t (c)", written("ALTER INDEX i RENAME TO j", ())),
        ("CREATE TABLE IF NOT EXISTS t (a int)", written("ALTER TABLE t RENAME TO u", ())),
        ("ALTER TABLE t ALTER c SET DEFAULT 1", "ALTER TABLE t ALTER c SET DEFAULT 2"),
        ("ALTER TABLE t ALTER c SET NOT NULL", "ALTER TABLE t ALTER c DROP NOT NULL"),
        ("ALTER TYPE e ADD VALUE IF NOT EXISTS 'a'", written("ALTER TYPE e RENAME VALUE 'a' TO 'b'", ())),
        ("ALTER TYPE \"E\" ADD VALUE IF NOT EXISTS 'c'", written(EXCHANGE, ("c",))),
        (written(EXCHANGE, ("c",)), "ALTER TYPE \"E\" ADD VALUE IF NOT EXISTS 'c'"),
        (written("ALTER TABLE t ALTER c TYPE int", ()), written("ALTER TABLE t ALTER c TYPE text", ())),
        (written("ALTER TABLE t RENAME a TO b", ()), "ALTER TABLE t ADD COLUMN IF NOT EXISTS a int"),
        (written("ALTER TABLE t ADD CONSTRAINT k FOREIGN KEY (a) REFERENCES u(id)", ()), "DROP TABLE IF EXISTS u"),
        (written("ALTER TABLE t ADD CONSTRAINT k CHECK (a > 0)", ()),
         "ALTER TABLE t DROP CONSTRAINT IF EXISTS k"),
        (written("ALTER TABLE t DROP COLUMN c", ("text",)), "ALTER TABLE t ADD COLUMN IF NOT EXISTS c int"),
        (written("ALTER TABLE t ADD CONSTRAINT k CHECK (lower(t.a) > 'b')", ()),
         "ALTER TABLE t DROP COLUMN IF EXISTS a"),
        (written(EXCHANGE, ("c",)), 'DROP TYPE IF EXISTS "E"'),
        (written(EXCHANGE, ("c",)), written('ALTER TYPE "E" RENAME TO "F"', ())),
        ("CREATE OR REPLACE VIEW v AS SELECT a FROM t", "DROP TABLE IF EXISTS t"),
        ("CREATE OR REPLACE VIEW v AS SELECT 1 AS a", "CREATE OR REPLACE VIEW v AS SELECT 2 AS a"),
        ("DROP TRIGGER IF EXISTS g ON t", "CREATE OR REPLACE TRIGGER g BEFORE INSERT ON t EXECUTE FUNCTION f()"),
        ("DO $$ BEGIN CREATE TYPE e AS ENUM ('a'); EXCEPTION WHEN duplicate_object THEN NULL; END $$",
         "DROP TYPE IF EXISTS e"),
        ("INSERT INTO t VALUES (1) ON CONFLICT DO NOTHING", "DROP TABLE IF EXISTS t"),
        ("INSERT INTO t (a) VALUES (1) ON CONFLICT DO NOTHING", "ALTER TABLE t DROP COLUMN IF EXISTS a"),
        ("GRANT SELECT ON s, t TO r", "DROP TABLE IF EXISTS t"),
        ("GRANT USAGE ON SEQUENCE q TO r", "DROP SEQUENCE IF EXISTS q"),
        ("COMMENT ON TABLE t IS 'x'", "DROP TABLE IF EXISTS t"),
        ("COMMENT ON TABLE t IS 'x'", "COMMENT ON TABLE t IS 'y'"),
        ("COMMENT ON COLUMN t.c IS 'x'", "ALTER TABLE t DROP COLUMN IF EXISTS c"),
        ("COMMENT ON CONSTRAINT k ON t IS 'x'", "ALTER TABLE t DROP CONSTRAINT IF EXISTS k"),
        ("COMMENT ON TYPE e IS 'x'", written("ALTER TYPE e RENAME TO f", ())),
        ("COMMENT ON FUNCTION f(int) IS 'x'", "DROP FUNCTION IF EXISTS f(int)"),
        ("ALTER SEQUENCE q OWNED BY t.c", "ALTER TABLE t DROP COLUMN IF EXISTS c"),
        ("ALTER SEQUENCE q OWNED BY s.t.c", "DROP TABLE IF EXISTS s.t"),
        ("ALTER SEQUENCE q OWNED BY NONE", "DROP SEQUENCE IF EXISTS q"),
        ("ALTER TABLE t ENABLE ROW LEVEL SECURITY", "ALTER TABLE t DISABLE ROW LEVEL SECURITY"),
        ("ALTER TABLE t FORCE ROW LEVEL SECURITY", "ALTER TABLE t NO FORCE ROW LEVEL SECURITY"),
        ("ALTER TABLE t REPLICA IDENTITY FULL", "ALTER TABLE t REPLICA IDENTITY NOTHING"),
        (written("ALTER TABLE t ADD CONSTRAINT k FOREIGN KEY (a) REFERENCES u(id)", ()),
         written("ALTER TABLE u RENAME id TO number", ())),
    ],
)  # fmt: skip
def test_what_a_later_statement_undoes_is_refused(earlier: str, later: str) -> None:
    first, second = parse_script(f"{earlier};\n{later};")
    assert "line" in first.refused
    assert "undoes it" in first.refused
    assert second.refused == ""
    assert [each.refused for each in parse_script(earlier)] == [""]


@pytest.mark.parametrize(
    ("dropped", "added", "printed", "later"),
    [
        ("ALTER TABLE t DROP COLUMN c", "ALTER TABLE t ADD COLUMN IF NOT EXISTS c int", "integer",
         written("ALTER TABLE t ALTER c TYPE bigint", ())),
        ("ALTER TABLE t DROP COLUMN c", 'ALTER TABLE t ADD COLUMN IF NOT EXISTS c "E"', '"E"',
         written('ALTER TYPE "E" RENAME TO "F"', ())),
        ("ALTER TABLE t DROP CONSTRAINT k", written("ALTER TABLE t ADD CONSTRAINT k UNIQUE (b)", ()), "UNIQUE (b)",
         written("ALTER TABLE t RENAME b TO c", ())),
        ("DROP INDEX i", "CREATE INDEX IF NOT EXISTS i ON t (b)", "CREATE INDEX i ON public.t USING btree (b)",
         written("ALTER TABLE t RENAME TO u", ())),
    ],
)  # fmt: skip
def test_what_comes_back_and_is_printed_otherwise_in_the_end_is_not_dropped(
    dropped: str, added: str, printed: str, later: str
) -> None:
    """A second run would take it for the old one, and destroy it."""
    drop = written(dropped, (printed,))
    assert [each.refused for each in parse_script(f"{drop};\n{added};")] == ["", ""]
    assert "undoes it" in parse_script(f"{drop};\n{added};\n{later};")[0].refused


@pytest.mark.parametrize(
    ("earlier", "later"),
    [
        ("CREATE TABLE IF NOT EXISTS t (a int, b int)", "ALTER TABLE t DROP COLUMN IF EXISTS b"),
        (written("ALTER TABLE t DROP COLUMN c", ("integer",)), "ALTER TABLE t ADD COLUMN IF NOT EXISTS c int"),
        (written("ALTER TABLE t DROP CONSTRAINT k", ("UNIQUE (b)",)),
         written("ALTER TABLE t ADD CONSTRAINT k UNIQUE (b)", ())),
        (written("DROP INDEX i", ("CREATE INDEX i ON public.t USING btree (b)",)),
         "CREATE INDEX IF NOT EXISTS i ON t (b)"),
        (written("ALTER TABLE t ALTER c TYPE int, ALTER c SET DEFAULT 1", ()), "ALTER TABLE t ALTER c SET DEFAULT 2"),
        ("ALTER TYPE \"E\" ADD VALUE IF NOT EXISTS 'a'", written(EXCHANGE, ("c",))),
        (written("ALTER TABLE t RENAME TO u", ()), "DROP TABLE IF EXISTS u"),
        ("DROP INDEX IF EXISTS i", "DROP TABLE IF EXISTS t"),
        ("ALTER TABLE IF EXISTS t DROP CONSTRAINT IF EXISTS k", "DROP TABLE IF EXISTS t"),
    ],
)  # fmt: skip
def test_what_no_later_statement_undoes_is_not(earlier: str, later: str) -> None:
    assert [each.refused for each in parse_script(f"{earlier};\n{later};")] == ["", ""]


@pytest.mark.parametrize(
    ("text", "printed"),
    [
        ("int", "integer"),
        ("decimal(65,30)", "numeric(65,30)"),
        ("numeric(10)", "numeric(10,0)"),
        ("varchar(10)", "character varying(10)"),
        ("char", "character(1)"),
        ("timestamp(3)", "timestamp(3) without time zone"),
        ("timestamptz", "timestamp with time zone"),
        ("text[]", "text[]"),
        ('"E"', '"E"'),
        ('public."E"', '"E"'),
        ('app."E"[]', 'app."E"[]'),
        ("citext", "citext"),
        ('"order"', '"order"'),
        ("serial", "integer"),
        ("bit(3)", None),
        ('"bit"', None),
        ("varbit", "bit varying"),
        ("varbit(3)", "bit varying(3)"),
        ("interval(3)", None),
        ("vector(3)", None),
    ],
)
def test_types_are_spelt_as_postgresql_prints_them(text: str, printed: str | None) -> None:
    (raw,) = parse_sql(f"CREATE TABLE t (c {text})")
    assert type_text(raw.stmt.tableElts[0].typeName) == printed


@pytest.mark.parametrize(
    ("text", "printed"),
    [
        ('FOREIGN KEY (a, "B") REFERENCES "Q"(id, x) ON DELETE CASCADE ON UPDATE SET NULL',
         'FOREIGN KEY (a, "B") REFERENCES "Q"(id, x) ON UPDATE SET NULL ON DELETE CASCADE'),
        ("FOREIGN KEY (a) REFERENCES s.q(id)", "FOREIGN KEY (a) REFERENCES s.q(id)"),
        ("FOREIGN KEY (a) REFERENCES q", None),
        ("FOREIGN KEY (a) REFERENCES q(id) NOT VALID", None),
        ("FOREIGN KEY (a) REFERENCES q(id) DEFERRABLE", None),
        ("PRIMARY KEY (a)", "PRIMARY KEY (a)"),
        ("UNIQUE (a, b)", "UNIQUE (a, b)"),
        ("UNIQUE NULLS NOT DISTINCT (a)", None),
        ("CHECK (a > 0)", None),
        ("PRIMARY KEY USING INDEX i", None),
    ],
)  # fmt: skip
def test_constraints_are_spelt_as_postgresql_prints_them(text: str, printed: str | None) -> None:
    (raw,) = parse_sql(f"ALTER TABLE t ADD CONSTRAINT k {text}")
    assert constraint_text(raw.stmt.cmds[0].def_) == printed


@pytest.mark.parametrize(
    ("text", "printed"),
    [
        (
            'CREATE UNIQUE INDEX "I" ON "T" (a, "B")',
            'CREATE UNIQUE INDEX "I" ON public."T" USING btree (a, "B")',
        ),
        ("CREATE INDEX i ON s.t USING hash (a)", "CREATE INDEX i ON s.t USING hash (a)"),
        ("CREATE INDEX i ON t (a DESC)", None),
        ("CREATE INDEX i ON t (lower(a))", None),
        ("CREATE INDEX i ON t (a) WHERE a > 0", None),
    ],
)
def test_indexes_are_spelt_as_postgresql_prints_them(text: str, printed: str | None) -> None:
    (raw,) = parse_sql(text)
    assert index_text(raw.stmt) == printed
