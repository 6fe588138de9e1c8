"""A history of migrations as Prisma writes them: tables, columns, keys, enums, drops and renames, and some rows."""

from __future__ import annotations

from collections.abc import Iterator
from random import Random

TABLES_AT_FIRST = 20
TYPES = ("TEXT", "INTEGER NOT NULL DEFAULT 0", "BOOLEAN NOT NULL DEFAULT false", "JSONB", "TIMESTAMP(3)")


class History:
    """What stands by now, and the statements that come next. The same each time."""

    def __init__(self, migrations: int) -> None:
        self._random = Random(1)
        self._migrations = migrations
        self._tables_wanted = max(migrations // 9, 3)
        self._columns: dict[str, list[str]] = {}
        self._indexes: list[str] = []
        self._made = 0

    def scripts(self) -> Iterator[tuple[str, str]]:
        """Yield name and script of each migration: three or four statements on average."""
        for number in range(self._migrations):
            statements = []
            at_first = min(TABLES_AT_FIRST, self._tables_wanted) if number == 0 else 1
            if number == 0 or self._random.random() < 1.2 * self._tables_wanted / self._migrations:
                for _ in range(at_first if len(self._columns) < self._tables_wanted else 0):
                    statements += self._table()
            for _ in range(self._random.randint(1, 5)):
                statements += self._change()
            yield f"{20240101000000 + number}_step", "\n\n".join(statements) + "\n"

    def _next(self, what: str) -> str:
        self._made += 1
        return f"{what}{self._made}"

    def _table(self) -> list[str]:
        others = [*self._columns]
        name = self._next("Table")
        self._columns[name] = []
        statements = [
            f'-- CreateTable\nCREATE TABLE "{name}" (\n    "id" TEXT NOT NULL,\n    "name" TEXT NOT NULL,\n'
            '    "otherId" TEXT,\n    "createdAt" TIMESTAMP(3) NOT NULL DEFAULT CURRENT_TIMESTAMP,\n\n'
            f'    CONSTRAINT "{name}_pkey" PRIMARY KEY ("id")\n);',
            f'-- CreateIndex\nCREATE UNIQUE INDEX "{name}_name_key" ON "{name}"("name");',
        ]
        if others:
            statements.append(
                f'-- AddForeignKey\nALTER TABLE "{name}" ADD CONSTRAINT "{name}_otherId_fkey" FOREIGN KEY ("otherId") '
                f'REFERENCES "{self._random.choice(others)}"("id") ON DELETE SET NULL ON UPDATE CASCADE;'
            )
        return statements

    def _change(self) -> list[str]:
        table = self._random.choice([*self._columns])
        columns = self._columns[table]
        kind = self._random.choices(
            ("add", "index", "unindex", "drop", "enum", "rows", "rename", "default"),
            (45, 20, 7, 7, 9, 5, 3, 4),
        )[0]
        if kind in ("drop", "rename") and columns:
            old = columns.pop(self._random.randrange(len(columns)))
            if kind == "drop":
                return [f'-- AlterTable\nALTER TABLE "{table}" DROP COLUMN "{old}";']
            columns.append(self._next("column"))
            return [f'-- AlterTable\nALTER TABLE "{table}" RENAME COLUMN "{old}" TO "{columns[-1]}";']
        if kind == "index":
            self._indexes.append(self._next("index"))
            return [f'-- CreateIndex\nCREATE INDEX "{self._indexes[-1]}" ON "{table}"("name", "createdAt");']
        if kind == "unindex" and self._indexes:
            return [f'-- DropIndex\nDROP INDEX "{self._indexes.pop()}";']
        if kind == "rows":
            return [f'UPDATE "{table}" SET "name" = upper("name") WHERE "name" <> upper("name");']
        if kind == "default":
            return [
                f'-- AlterTable\nALTER TABLE "{table}" ALTER COLUMN "name" SET DEFAULT \'{self._next("x")}\';'
            ]
        columns.append(self._next("column"))
        add = f'-- AlterTable\nALTER TABLE "{table}" ADD COLUMN     "{columns[-1]}"'
        if kind != "enum":
            return [f"{add} {self._random.choice(TYPES)};"]
        enum = self._next("Enum")
        return [f"-- CreateEnum\nCREATE TYPE \"{enum}\" AS ENUM ('NEW', 'OLD');", f'{add} "{enum}";']
