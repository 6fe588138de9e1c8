"""A catalogue that is read again after each of many statements: only what can have changed is printed anew.

Every change of the catalogue writes rows, with the number of its transaction, or removes some. What is printed with
the name of something else is read anew, as all the rest, when a name was written over.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, LiteralString

from psycopg.rows import tuple_row

from runbooks_lib.names import qualified
from runbooks_lib.postgres.catalog.catalog import Catalog, read_catalog, read_parts
from runbooks_lib.postgres.catalog.differences import Described, describe
from runbooks_lib.postgres.queries import query
from runbooks_lib.postgres.session.connect import Connection

# The transactions that are seen, unless this one writes itself: the same again, and nothing was written in between.
_NEXT = """
SELECT pg_snapshot_xmin(pg_current_snapshot())::text::bigint,
       CASE WHEN pg_current_xact_id_if_assigned() IS NULL THEN pg_current_snapshot()::text END
"""
_RELATIONS, _OTHERS = "relations", "others"
Marks = Mapping[Any, tuple[Any, ...]]


class Watched:
    """The catalogue of a session's database, whose search_path is pg_catalog, to a superuser who alone looks at it.

    Between two looks nobody but one session changes it, and no object is of an extension: else all is read anew.
    """

    def __init__(self, conn: Connection) -> None:
        self._conn = conn
        self._major = conn.info.server_version // 10000
        self._looked = False
        self._since = 0
        self._snapshot: str | None = None
        self._names: dict[Any, Any] = {}
        self._of_relations: Marks = {}
        self._of_others: Marks = {}
        self._parts: dict[str, Described] = {}

    def read(self) -> Described:
        """Return what `describe(read_catalog(...))` returns."""
        if not self._looked:  # whoever looks once needs no marks
            self._looked = True
            return describe(read_catalog(self._conn))
        since, snapshot = self._rows(_NEXT)[0]
        if snapshot is not None and snapshot == self._snapshot:
            return self._described()
        renamed = self._read_names()
        relations = {row[0]: row[1:] for row in self._rows(query("marks_of_relations"))}
        others = {row[1]: row for row in self._rows(query("marks_of_others", self._major))}
        changed = {oid for oid in relations if relations[oid] != self._of_relations.get(oid)}
        gone = self._of_relations.keys() - relations.keys()
        apart = others != self._of_others or (
            changed | gone and any(row[0] and row[3] for row in others.values())
        )
        if not self._parts or renamed or others["depend"] != self._of_others.get("depend"):
            self._read_all()
        elif changed or gone or apart:
            self._read_again(
                [relations[oid][:2] for oid in changed],
                [self._of_relations[oid][:2] for oid in gone],
                bool(apart),
            )
        self._since, self._of_relations, self._of_others = since, relations, others
        self._snapshot = snapshot
        return self._described()

    def _described(self) -> Described:
        return {key: value for part in self._parts.values() for key, value in part.items()}

    def _read_names(self) -> bool:
        """Note the names that were written since the last look; return whether one of them replaces another."""
        written = {row[:3]: row[3:] for row in self._rows(query("names_written"), since=self._since)}
        renamed = any(self._names.get(where, name) != name for where, name in written.items())
        self._names |= written
        return renamed

    def _read_all(self) -> None:
        catalog = read_catalog(self._conn)
        if any(kind == "extension member" for kind, _ in catalog.definitions):
            self._parts = {_OTHERS: describe(catalog)}
            return
        names = {*catalog.relations, *catalog.constraints}
        self._parts = {f".{name}": _of(catalog, name) for name in names}
        self._parts[_RELATIONS] = describe(_only(relations=catalog.relations))
        self._parts[_OTHERS] = describe(_only(enums=catalog.enums, definitions=catalog.definitions))

    def _read_again(
        self, changed: Iterable[tuple[str, str]], gone: Iterable[tuple[str, str]], apart: bool
    ) -> None:
        if _RELATIONS not in self._parts:  # objects of extensions are among them
            self._read_all()
            return
        found = read_parts(self._conn, tuple(changed), apart=apart)
        for name in gone:
            self._parts.pop(f".{qualified(*name)}", None)
        for name in changed:
            self._parts[f".{qualified(*name)}"] = _of(found, qualified(*name))
        self._parts[_RELATIONS] = describe(_only(relations=found.relations))
        if apart:
            self._parts[_OTHERS] = describe(_only(enums=found.enums, definitions=found.definitions))

    def _rows(self, text: LiteralString, **values: Any) -> list[tuple[Any, ...]]:
        return self._conn.cursor(row_factory=tuple_row).execute(text, values or None, prepare=True).fetchall()


def _only(**parts: Any) -> Catalog:
    kinds = ("relations", "columns", "constraints", "indexes", "enums", "definitions")
    nothing: dict[str, Any] = {kind: {} for kind in kinds}
    return Catalog(**nothing | parts)


def _of(catalog: Catalog, name: str) -> Described:
    """Describe the columns, constraints and indexes of one relation."""
    return describe(
        _only(
            columns={name: found} if (found := catalog.columns.get(name)) is not None else {},
            constraints={name: catalog.constraints.get(name, ())},
            indexes={index.name: index for index in catalog.indexes.values() if index.relation == name},
        )
    )
