"""A Prisma project of a real one's size: 87 tables, 820 migrations. Nothing in it is drawn by lot."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

from runbooks_lib.postgres.session.connect import Connection

TABLES, MIGRATIONS = 87, 820
ENUMS = 24
KINDS = 6  # of migrations after the first ones


def migrations(tables: int = TABLES, count: int = MIGRATIONS) -> Iterator[tuple[str, str]]:
    """Yield name and script of each migration: first the tables, then what projects do to them over the years."""
    for number in range(count):
        day = f"{2023 + number // 336}{number // 28 % 12 + 1:02}{number % 28 + 1:02}"
        yield (
            f"{day}{number % 24:02}0000_{_what(number, tables)}",
            "\n".join(_statements(number, tables)) + "\n",
        )


def table(number: int) -> str:
    """Return the name of a table, as long as Prisma's models have them."""
    return f"{_WORDS[number % len(_WORDS)]}{_WORDS[(number * 7 + 3) % len(_WORDS)]}{number:02}"


def enum(number: int) -> str:
    """Return the name of an enum."""
    return f"{_WORDS[number % len(_WORDS)]}Status{number:02}"


_WORDS = (
    "Organization", "Project", "Runtime", "Environment", "Background", "Worker", "Task", "Attempt", "Schedule",
    "Integration", "Endpoint", "Connection", "External", "Account", "Authorization", "Batch", "Queue", "Waitpoint",
)  # fmt: skip


def _what(number: int, tables: int) -> str:
    if number < tables:
        return f"create_{table(number).lower()}"
    return f"{('add', 'index', 'drop', 'default', 'rename', 'extend')[number % KINDS]}_{number}"


def _statements(number: int, tables: int) -> Iterator[str]:
    if number < tables:
        yield from _created(number)
        return
    name = table(number % tables)
    changed = f"field{number}"
    match number % KINDS:
        case 0:
            yield f'ALTER TABLE "{name}" ADD COLUMN "{changed}" TEXT, ADD COLUMN "{changed}At" TIMESTAMP(3);'
            yield f'COMMENT ON COLUMN "{name}"."{changed}" IS \'added by {number}\';'
        case 1:
            yield f'CREATE INDEX "{name}_status_{number}_idx" ON "{name}"("status", "createdAt" DESC);'
            yield f'DROP INDEX "{name}_status_{number}_idx";'
        case 2:
            yield f'ALTER TABLE "{name}" ADD COLUMN "{changed}" INTEGER NOT NULL DEFAULT 0;'
            yield f'ALTER TABLE "{name}" ALTER COLUMN "{changed}" DROP DEFAULT;'
            yield f'ALTER TABLE "{name}" DROP COLUMN "{changed}";'
        case 3:
            yield f'ALTER TABLE "{name}" ALTER COLUMN "count" SET DEFAULT {number};'
            yield f'ALTER TABLE "{name}" ADD CONSTRAINT "{name}_{number}_check" CHECK ("count" >= -{number});'
            yield f'ALTER TABLE "{name}" DROP CONSTRAINT "{name}_{number}_check";'
        case 4:
            yield f'ALTER TABLE "{name}" ADD COLUMN "{changed}" JSONB;'
            yield f'ALTER TABLE "{name}" RENAME COLUMN "{changed}" TO "{changed}Data";'
            yield f'CREATE INDEX "{name}_{changed}_idx" ON "{name}" USING gin ("{changed}Data");'
        case _:
            yield f"ALTER TYPE \"{enum(number % ENUMS)}\" ADD VALUE 'STATE_{number}';"


def _created(number: int) -> Iterator[str]:
    name = table(number)
    if number < ENUMS:
        yield f"CREATE TYPE \"{enum(number)}\" AS ENUM ('PENDING', 'ACTIVE', 'FAILED', 'DONE');"
    yield (
        f'CREATE TABLE "{name}" (\n    "id" TEXT NOT NULL,\n    "slug" TEXT NOT NULL,\n'
        f'    "status" "{enum(number % ENUMS if number >= ENUMS else number)}" NOT NULL DEFAULT \'PENDING\',\n'
        '    "count" INTEGER NOT NULL DEFAULT 0,\n    "payload" JSONB,\n    "parentId" TEXT,\n'
        '    "createdAt" TIMESTAMP(3) NOT NULL DEFAULT CURRENT_TIMESTAMP,\n    "updatedAt" TIMESTAMP(3) NOT NULL,\n\n'
        f'    CONSTRAINT "{name}_pkey" PRIMARY KEY ("id")\n);'
    )
    yield f'CREATE UNIQUE INDEX "{name}_slug_key" ON "{name}"("slug");'
    yield f'CREATE INDEX "{name}_parentId_idx" ON "{name}"("parentId");'
    yield f'CREATE INDEX "{name}_createdAt_idx" ON "{name}"("createdAt" DESC);'
    if number:
        yield (
            f'ALTER TABLE "{name}" ADD CONSTRAINT "{name}_parentId_fkey" FOREIGN KEY ("parentId") '
            f'REFERENCES "{table(number - 1)}"("id") ON DELETE SET NULL ON UPDATE CASCADE;'
        )


def write_project(project: Path, *, tables: int = TABLES, count: int = MIGRATIONS) -> None:
    """Replace a Prisma project's migrations by these."""
    folder = project / "prisma" / "migrations"
    folder.mkdir(parents=True, exist_ok=True)
    for name, script in migrations(tables, count):
        (folder / name).mkdir()
        (folder / name / "migration.sql").write_text(script, encoding="utf-8")
    (folder / "migration_lock.toml").write_text('provider = "postgresql"\n', encoding="utf-8")


def phase(conn: Connection, service: str, *, targets: tuple[str, ...]) -> str:
    """Return a phase.toml that declares all that a database holds, column by column, at targets of one service.

    The session's search_path is pg_catalog.
    """
    lines = [
        "spec_version = 3", 'id = "LARGE"', 'title = "A large project"', "[targets]",
        *(f'{n} = {{ service = "{service}", role = "primary", database = "{conn.info.dbname}" }}' for n in targets),
    ]  # fmt: skip
    columns: dict[str, list[str]] = {}
    for row in conn.execute(_COLUMNS).fetchall():
        more = ", not_null = true" if row["attnotnull"] else ""
        more += f", default = {json.dumps(row['printed'])}" if row["printed"] else ""
        column = f"  {{ name = {json.dumps(row['attname'])}, type = {json.dumps(row['type'])}{more} }},"
        columns.setdefault(row["name"], []).append(column)
    for name, declared in columns.items():
        lines += [
            "[[tables]]",
            f'name = "{name}"',
            "rows = 0",
            'primary_key = ["id"]',
            "columns = [",
            *declared,
            "]",
        ]
    for row in conn.execute(_INDEXES).fetchall():
        lines += ["[[indexes]]", f'name = "{row["name"]}"', f'table = "{row["of"]}"']
        lines.append(f"definition = {json.dumps(row['definition'])}")
    for row in conn.execute(_ENUMS).fetchall():
        lines += ["[[enums]]", f'name = "{row["name"]}"', f"labels = {json.dumps(row['labels'])}"]
    return "\n".join(lines) + "\n"


_COLUMNS = """
SELECT 'public.' || relname AS name, attname, format_type(atttypid, atttypmod) AS type, attnotnull,
       pg_get_expr(adbin, adrelid) AS printed
FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND attnum > 0 AND NOT attisdropped
LEFT JOIN pg_attrdef ON adrelid = c.oid AND adnum = attnum
WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace AND relname <> '_prisma_migrations' ORDER BY 1, attnum
"""
_INDEXES = """
SELECT 'public.' || i.relname AS name, 'public.' || t.relname AS of, pg_get_indexdef(i.oid) AS definition
FROM pg_index x JOIN pg_class i ON i.oid = indexrelid JOIN pg_class t ON t.oid = indrelid
WHERE t.relnamespace = 'public'::regnamespace AND NOT indisprimary AND t.relname <> '_prisma_migrations' ORDER BY 1
"""
_ENUMS = """
SELECT 'public.' || typname AS name, array_agg(enumlabel::text ORDER BY enumsortorder) AS labels
FROM pg_type t JOIN pg_enum e ON e.enumtypid = t.oid WHERE typnamespace = 'public'::regnamespace GROUP BY 1 ORDER BY 1
"""
