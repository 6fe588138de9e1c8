"""What a phase's parts say of each other: names that must exist, and that may stand only once.

An empty name or set of names means that reading it already failed; it is passed over.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Any

from runbooks_lib.checks import Check
from runbooks_lib.names import parts, qualified
from runbooks_lib.phase.mistakes import Mistakes, below, shown, suggestion
from runbooks_lib.phase.model import STEPS, Index, Phase, Role, Seeds

# pg_get_indexdef: CREATE [UNIQUE] INDEX name ON [ONLY] schema.table USING method (...)
_NAME = r'(?:"(?:[^"]|"")+"|[^\s."]+)'
_TABLES_ARE_OPTIONAL = 3  # from this spec_version on, what is not declared may be named
_DEFINITION = re.compile(
    rf"CREATE (?:UNIQUE )?INDEX (?P<index>{_NAME}) ON (?:ONLY )?(?P<table>{_NAME}\.{_NAME}) USING "
)


def check_references(phase: Phase, mistakes: Mistakes, sections: Mapping[str, Any]) -> None:
    """Note every name in `phase` that refers to nothing, stands twice or contradicts another.

    `sections` are those of its file: an older one says otherwise where a target and an accepted object are named.
    """
    for path, name, known, what in _references(phase, sections):
        if name and "" not in known and name not in known:
            mistakes.add(path, f"names no {what}: {shown(name)}", suggestion(name, known))
    for names in _sets_of_names(phase, sections):
        _check_unique(names, mistakes)
    for path, target in _writing(phase, sections):
        if target in phase.targets and phase.targets[target].role is Role.STANDBY:
            mistakes.add(path, f"is {shown(target)}, a standby", "accepted is a target that can be written")
        elif target in phase.targets and _names_no_backup(phase, target):
            mistakes.add(
                "backup.targets",
                f"lacks {shown(target)}, which {path} writes to",
                "each target that is written has a dump of its own; no standby stands in for it",
            )
    tables = _columns(phase)
    for number, index in enumerate(phase.indexes):
        if index.table is None or index.table in tables or phase.spec_version >= _TABLES_ARE_OPTIONAL:
            _check_definition(index, f"indexes[{number}].definition", mistakes)
    for number, seeds in enumerate(phase.seeds):
        _check_source(seeds, f"seeds[{number}]", mistakes)
        _check_rows(seeds, f"seeds[{number}]", tables.get(seeds.table), mistakes)
    _check_checklist(phase, mistakes)
    _check_schema(phase, sections, mistakes)
    _check_baseline(phase, mistakes)


def _columns(phase: Phase) -> dict[str, tuple[str, ...] | None]:
    """Return the columns of each table, None where they are not declared; of tables with the same name, the first's."""
    return {
        table.name: None if table.columns is None else tuple(column.name for column in table.columns)
        for table in reversed(phase.tables)
    }


def _references(phase: Phase, sections: Collection[str]) -> Iterator[tuple[str, str, Collection[str], str]]:
    """Yield each reference: its path, the name, the names there are, and of what."""
    targets = phase.targets
    for path, name in _writing(phase, sections):
        yield path, name, targets, "target"
    if phase.schema.target:
        yield "schema.target", phase.schema.target, targets, "target"
    for n, name in enumerate(phase.backup.targets):
        yield f"backup.targets[{n}]", name, targets, "target"
    for n, name in enumerate(phase.backup.data):
        yield f"backup.data[{n}]", name, phase.backup.targets, "target of the backup"
    yield from _references_to_tables(phase)
    for n, route in enumerate(phase.routes):
        for k, service in enumerate(route.services):
            yield f"routes[{n}].services[{k}]", service, phase.services, "service"
    known = frozenset(map(str, Check))
    for n, item in enumerate(phase.checklist):
        for k, step in enumerate(item.steps):
            yield f"checklist[{n}].steps[{k}]", step, STEPS, "step"
        for k, check in enumerate(item.checks):
            yield f"checklist[{n}].checks[{k}]", check, known, "check"
        for k, name in enumerate(item.targets):
            yield f"checklist[{n}].targets[{k}]", name, targets, "target"


def _references_to_tables(phase: Phase) -> Iterator[tuple[str, str, Collection[str], str]]:
    """Yield what names a table or a column of one; tables may be undeclared, and so may their columns."""
    tables = _columns(phase)
    must_be_declared = phase.spec_version < _TABLES_ARE_OPTIONAL
    for n, table in enumerate(phase.tables):
        for k, column in enumerate(table.primary_key or ()):
            if table.columns is not None:
                names = [each.name for each in table.columns]
                yield f"tables[{n}].primary_key[{k}]", column, names, "column of the table"
    for n, index in enumerate(phase.indexes):
        if index.table is not None and must_be_declared:
            yield f"indexes[{n}].table", index.table, tables, "table"
    for n, seeds in enumerate(phase.seeds):
        if must_be_declared:
            yield f"seeds[{n}].table", seeds.table, tables, "table"
        named = {column for row in seeds.rows for column in row}.difference(seeds.key, (seeds.tenant,))
        for k, column in enumerate(seeds.anywhere):
            yield f"seeds[{n}].anywhere[{k}]", column, named, "column of the rows beside key and tenant"
        if (columns := tables.get(seeds.table)) is not None:
            for path, column in _seed_columns(seeds, f"seeds[{n}]"):
                yield path, column, columns, f"column of {seeds.table}"
    for n, route in enumerate(phase.routes):
        for k, name in enumerate(route.table if must_be_declared else ()):
            yield f"routes[{n}].table[{k}]", name, tables, "table"


def _seed_columns(seeds: Seeds, path: str) -> Iterator[tuple[str, str]]:
    """Yield path and name of each column that `seeds` mentions."""
    for k, column in enumerate(seeds.key):
        yield f"{path}.key[{k}]", column
    if seeds.tenant:
        yield f"{path}.tenant", seeds.tenant
    for k, row in enumerate(seeds.rows):
        for column in set(row).difference(seeds.anywhere):
            yield below(f"{path}.rows[{k}]", column), column


def _sets_of_names(phase: Phase, sections: Collection[str]) -> Iterator[list[tuple[str, str]]]:
    """Yield each set of names, with their paths, that must differ from one another."""
    yield [(f"enums[{n}].name", enum.name) for n, enum in enumerate(phase.enums)]
    # Tables and indexes share one name space in PostgreSQL.
    yield [(f"tables[{n}].name", table.name) for n, table in enumerate(phase.tables)] + [
        (f"indexes[{n}].name", index.name) for n, index in enumerate(phase.indexes)
    ]
    yield [(f"seeds[{n}].table", seeds.table) for n, seeds in enumerate(phase.seeds)]
    yield [
        (f"routes[{n}]", f"{r.method} {r.path}") for n, r in enumerate(phase.routes) if r.method and r.path
    ]
    yield [(f"files[{n}].path", file.path) for n, file in enumerate(phase.files)]
    ignored = "accept" if "accept" in sections else "schema.ignore"
    yield [(f"{ignored}[{n}].object", each.object) for n, each in enumerate(phase.schema.ignore)]
    if phase.prisma:
        yield [(f"prisma.settle[{n}]", name) for n, name in enumerate(phase.prisma.settle or ())]
        yield [(f"prisma.accept[{n}].migration", a.migration) for n, a in enumerate(phase.prisma.accept)]
    if phase.baseline:
        yield [
            (f"baseline.repairs[{n}].migration", r.migration) for n, r in enumerate(phase.baseline.repairs)
        ]
    yield [(f"backup.targets[{n}]", name) for n, name in enumerate(phase.backup.targets)]
    yield [(f"backup.data[{n}]", name) for n, name in enumerate(phase.backup.data)]
    for n, enum in enumerate(phase.enums):
        yield [(f"enums[{n}].labels[{k}]", label) for k, label in enumerate(enum.labels or ())]
    for n, table in enumerate(phase.tables):
        yield [(f"tables[{n}].columns[{k}].name", each.name) for k, each in enumerate(table.columns or ())]
        yield [(f"tables[{n}].primary_key[{k}]", name) for k, name in enumerate(table.primary_key or ())]


def _check_unique(names: Iterable[tuple[str, str]], mistakes: Mistakes) -> None:
    first: dict[str, str] = {}
    for path, name in names:
        if name and first.setdefault(name, path) != path:
            mistakes.add(path, f"repeats {first[name]}, {shown(name)}", "each may stand once")


def _names_no_backup(phase: Phase, target: str) -> bool:
    """Tell whether a phase's backup leaves a target out; False as long as its names are not those of targets."""
    named = phase.backup.targets
    return bool(named) and target not in named and set(named) <= set(phase.targets)


def _writing(phase: Phase, sections: Collection[str]) -> Iterator[tuple[str, str]]:
    """Yield path and name of each target that the phase writes to."""
    if phase.baseline:
        yield "baseline.target", phase.baseline.target
    if phase.prisma:
        yield f"{'migration' if 'migration' in sections else 'prisma'}.target", phase.prisma.target


def _check_baseline(phase: Phase, mistakes: Mistakes) -> None:
    if phase.baseline and phase.baseline.source and not phase.prisma:
        mistakes.add(
            "baseline.from",
            f"is {shown(str(phase.baseline.source))}, and the phase has no prisma section",
            "say [prisma] target = …, or leave it out",
        )


def _check_schema(phase: Phase, sections: Mapping[str, Any], mistakes: Mistakes) -> None:
    """What must stand comes from the migrations, or from a file; a phase without Prisma has no migrations."""
    schema = phase.schema
    if schema.file and "from" in sections["schema"]:
        mistakes.add("schema.file", "is given beside schema.from", "say what must stand by one of them")
    if schema.file and schema.target is None:
        mistakes.add(
            "schema.target",
            "is missing, and several primaries are declared",
            "accepted is the name of the target in which what the file makes has to stand",
        )
    if schema.target and schema.file is None:
        mistakes.add("schema.target", "is given without schema.file", "leave it out")
    if schema.source and not phase.prisma:
        mistakes.add(
            "schema.from",
            f"is {shown(str(schema.source))}, and the phase has no prisma section",
            "say [prisma] target = …, or leave it out",
        )


def _check_definition(index: Index, path: str, mistakes: Mistakes) -> None:
    """An index's definition speaks of this index and this table, in pg_get_indexdef's form."""
    if not (index.name and index.definition):
        return  # not declared, or noted already
    found = _DEFINITION.match(index.definition)
    if found is None:
        mistakes.add(
            path,
            f"is {shown(index.definition)}",
            "accepted is what pg_get_indexdef prints: CREATE [UNIQUE] INDEX name ON schema.table USING …",
        )
        return
    index_name = (parts(index.name)[0], *parts(found["index"]))
    for said, name, key in ((index_name, index.name, "name"), (parts(found["table"]), index.table, "table")):
        if name is not None and (spoken := qualified(*said)) != name:
            here = path.removesuffix("definition") + key
            mistakes.add(path, f"speaks of {shown(spoken)}", f"{here} is {shown(name)}")


def _check_source(seeds: Seeds, path: str, mistakes: Mistakes) -> None:
    """Rows stand in the phase file or in a file beside it."""
    rows, file = f"{path}.rows", f"{path}.file"
    if seeds.rows and seeds.file:
        mistakes.add(file, "is given beside rows", "leave out one of them")
    elif not (seeds.rows or seeds.file or rows in mistakes or file in mistakes):
        mistakes.add(rows, "is missing", "accepted is an array, each entry a table; or file")


def _check_rows(seeds: Seeds, path: str, columns: tuple[str, ...] | None, mistakes: Mistakes) -> None:
    """Each seed row has the columns of the key and the tenant; no two rows have the same key.

    `columns` are those of its table, None where they are not declared.
    """
    key = [column for column in seeds.key if columns is None or column in columns]
    wanted = (*key, seeds.tenant) if columns is None or seeds.tenant in columns else key
    needed = dict.fromkeys(column for column in wanted if column is not None)
    first: dict[tuple[object, ...], str] = {}
    for n, row in enumerate(seeds.rows):
        here = f"{path}.rows[{n}]"
        if lacking := [column for column in needed if column not in row]:
            for column in lacking:
                mistakes.add(below(here, column), "is missing", f"each row has {', '.join(needed)}")
        elif key and (known := first.setdefault(tuple(row[c] for c in key), here)) != here:
            mistakes.add(here, f"has the same {', '.join(key)} as {known}", "each key may stand once")


def check_seed_file(
    phase: Phase, seeds: Seeds, header: tuple[str, ...], path: str, mistakes: Mistakes
) -> None:
    """The header of a file of seeds names columns of the table, those of the key and the tenant among them."""
    columns = _columns(phase).get(seeds.table)
    for name in header:
        if columns is not None and name not in columns:
            wrong = f"names no column of {seeds.table} in its header: {shown(name)}"
            mistakes.add(path, wrong, suggestion(name, columns))
    for needed in filter(None, (*seeds.key, seeds.tenant)):
        if (columns is None or needed in columns) and needed not in header:
            mistakes.add(
                path, f"has no column {shown(str(needed))}", "key and tenant are columns of the file"
            )


def _check_checklist(phase: Phase, mistakes: Mistakes) -> None:
    """An item says what ticks it, or that nothing does and why."""
    for n, item in enumerate(phase.checklist):
        path = f"checklist[{n}]"
        if item.manual and item.reason is None:
            mistakes.add(f"{path}.reason", "is missing", "a manual item says why it is not verified here")
        for key, names in (("steps", item.steps), ("checks", item.checks)):
            if item.manual and names:
                mistakes.add(
                    f"{path}.{key}", "is given for a manual item", "leave it out, or leave out manual"
                )
            elif not item.manual and not names:
                mistakes.add(f"{path}.{key}", "is missing", "accepted is a non-empty array, or manual = true")
