"""The shipped baseline, the Prisma migrations and phase.toml describe one and the same schema."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from psycopg import Connection, sql

import runbooks_lib
from runbooks_lib.lab.lab import Lab
from runbooks_lib.phase import Phase, load_phase

MIGRATIONS = Path(runbooks_lib.__file__).parent / "lab" / "keybuzz-backend" / "prisma" / "migrations"

CATALOGUE = {
    "columns": """
        SELECT format('%s.%s', n.nspname, c.relname), a.attname, format_type(a.atttypid, a.atttypmod),
               a.attnotnull, pg_get_expr(d.adbin, d.adrelid)
        FROM pg_attribute a
        JOIN pg_class c ON c.oid = a.attrelid AND c.relkind = 'r'
        JOIN pg_namespace n ON n.oid = c.relnamespace AND n.nspname = 'public'
        LEFT JOIN pg_attrdef d ON (d.adrelid, d.adnum) = (a.attrelid, a.attnum)
        WHERE a.attnum > 0 AND NOT a.attisdropped
        ORDER BY c.relname, a.attnum""",
    "constraints": """
        SELECT conrelid::regclass::text, conname, contype::text, pg_get_constraintdef(oid)
        FROM pg_constraint WHERE connamespace = 'public'::regnamespace ORDER BY 1, 2""",
    "indexes": """
        SELECT format('%s.%s', schemaname, indexname), format('%s.%s', schemaname, tablename), indexdef
        FROM pg_indexes WHERE schemaname = 'public' ORDER BY 1""",
    "enums": """
        SELECT format('public.%s', typname), array_agg(enumlabel::text ORDER BY enumsortorder)
        FROM pg_enum JOIN pg_type ON pg_type.oid = enumtypid
        WHERE typnamespace = 'public'::regnamespace GROUP BY 1 ORDER BY 1""",
}


def catalogue(connection: Connection[Any]) -> dict[str, list[tuple[Any, ...]]]:
    """Read all that describes the schema public, as printed with search_path = pg_catalog."""
    connection.execute("SET search_path = pg_catalog")
    return {name: connection.execute(query).fetchall() for name, query in CATALOGUE.items()}


@pytest.fixture(scope="module")
def phase() -> Phase:
    return load_phase(str(Path(__file__).parents[1] / "phases" / "PH15-AMAZON-DB-FOUNDATION-01"))


@pytest.fixture
def empty_database(lab: Lab) -> Iterator[Connection[Any]]:
    """A database of its own, dropped afterwards."""
    name = sql.Identifier("phase_baseline_test")
    with lab.admin("postgres") as admin:
        admin.execute(sql.SQL("CREATE DATABASE {} TEMPLATE template0").format(name))
        try:
            with lab.admin("phase_baseline_test") as connection:
                yield connection
        finally:
            admin.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(name))


def apply_baseline(connection: Connection[Any], phase: Phase) -> None:
    """Apply the baseline as the runner does: in one transaction, nothing found by search_path."""
    connection.execute("SET search_path = pg_catalog")
    with connection.transaction():
        connection.execute((phase.folder / phase.baseline.file).read_bytes())


def test_the_baseline_makes_what_the_migrations_make(
    lab: Lab, phase: Phase, empty_database: Connection[Any]
) -> None:
    apply_baseline(empty_database, phase)
    from_baseline = catalogue(empty_database)
    empty_database.execute("DROP SCHEMA public CASCADE; CREATE SCHEMA public; SET search_path = public")
    for file in sorted(MIGRATIONS.glob("*/migration.sql")):
        empty_database.execute(file.read_bytes())
    from_migrations = catalogue(empty_database)
    assert all(from_migrations.values())
    assert from_baseline == from_migrations


def test_a_second_run_of_the_baseline_changes_nothing(phase: Phase, empty_database: Connection[Any]) -> None:
    apply_baseline(empty_database, phase)
    objects = "SELECT oid, xmin::text FROM pg_class UNION ALL SELECT oid, xmin::text FROM pg_type ORDER BY 1"
    before = empty_database.execute(objects).fetchall()
    apply_baseline(empty_database, phase)
    assert empty_database.execute(objects).fetchall() == before


def test_phase_toml_prints_the_schema_as_the_server_does(
    phase: Phase, empty_database: Connection[Any]
) -> None:
    apply_baseline(empty_database, phase)
    seen = catalogue(empty_database)
    declared = [(t.name, c.name, c.type, c.not_null, c.default) for t in phase.tables for c in t.columns]
    assert sorted(declared, key=lambda c: c[0]) == sorted(seen["columns"], key=lambda c: c[0])
    assert sorted((e.name, list(e.labels)) for e in phase.enums) == sorted(seen["enums"])
    by_primary_key = {index for index in seen["indexes"] if index[0].endswith("_pkey")}
    declared_indexes = {(i.name, i.table, i.definition) for i in phase.indexes}
    assert declared_indexes == set(seen["indexes"]) - by_primary_key
    keys = {"PRIMARY KEY ({})".format(", ".join(_quoted(c) for c in t.primary_key)) for t in phase.tables}
    assert keys == {row[3] for row in seen["constraints"] if row[2] == "p"}


def _quoted(name: str) -> str:
    return name if name.islower() else f'"{name}"'
