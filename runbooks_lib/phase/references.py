"""What a phase's parts say of each other: names that must exist, and that may stand only once.

An empty name or set of names means that reading it already failed; it is passed over.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator

from runbooks_lib.checks import Check
from runbooks_lib.names import parts, qualified
from runbooks_lib.phase.mistakes import Mistakes, below, shown, suggestion
from runbooks_lib.phase.model import STEPS, Index, Phase, Role, Seeds

# pg_get_indexdef: CREATE [UNIQUE] INDEX name ON [ONLY] schema.table USING method (...)
_NAME = r'(?:"(?:[^"]|"")+"|[^\s."]+)'
_DEFINITION = re.compile(
    rf"CREATE (?:UNIQUE )?INDEX (?P<index>{_NAME}) ON (?:ONLY )?(?P<table>{_NAME}\.{_NAME}) USING "
)


def check_references(phase: Phase, mistakes: Mistakes) -> None:
    """Note every name in `phase` that refers to nothing, stands twice or contradicts another."""
    for path, name, known, what in _references(phase):
        if name and "" not in known and name not in known:
            mistakes.add(path, f"names no {what}: {shown(name)}", suggestion(name, known))
    for names in _sets_of_names(phase):
        _check_unique(names, mistakes)
    for path, target in _writing(phase):
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
        if index.table in tables:
            _check_definition(index, f"indexes[{number}].definition", mistakes)
    for number, seeds in enumerate(phase.seeds):
        _check_source(seeds, f"seeds[{number}]", mistakes)
        if seeds.table in tables:
            _check_rows(seeds, f"seeds[{number}]", tables[seeds.table], mistakes)
    _check_checklist(phase, mistakes)
    if phase.accept and phase.spec_version < 3:
        mistakes.add("accept", "is a key of spec_version 3", "say spec_version = 3")


def _columns(phase: Phase) -> dict[str, tuple[str, ...]]:
    """Return the columns of each table; of tables with the same name, those of the first."""
    return {table.name: tuple(c.name for c in table.columns) for table in reversed(phase.tables)}


def _references(phase: Phase) -> Iterator[tuple[str, str, Collection[str], str]]:
    """Yield each reference: its path, the name, the names there are, and of what."""
    targets = phase.targets
    tables = _columns(phase)
    yield "baseline.target", phase.baseline.target, targets, "target"
    yield "migration.target", phase.migration.target, targets, "target"
    for n, name in enumerate(phase.backup.targets):
        yield f"backup.targets[{n}]", name, targets, "target"
    for n, name in enumerate(phase.backup.data):
        yield f"backup.data[{n}]", name, phase.backup.targets, "target of the backup"
    for n, table in enumerate(phase.tables):
        for k, column in enumerate(table.primary_key):
            yield (
                f"tables[{n}].primary_key[{k}]",
                column,
                [c.name for c in table.columns],
                "column of the table",
            )
    for n, index in enumerate(phase.indexes):
        yield f"indexes[{n}].table", index.table, tables, "table"
    for n, seeds in enumerate(phase.seeds):
        yield f"seeds[{n}].table", seeds.table, tables, "table"
        if seeds.table in tables:
            for path, column in _seed_columns(seeds, f"seeds[{n}]"):
                yield path, column, tables[seeds.table], f"column of {seeds.table}"
    for n, route in enumerate(phase.routes):
        for k, service in enumerate(route.services):
            yield f"routes[{n}].services[{k}]", service, phase.services, "service"
        for k, name in enumerate(route.table):
            yield f"routes[{n}].table[{k}]", name, tables, "table"
    known = frozenset(map(str, Check))
    for n, item in enumerate(phase.checklist):
        for k, step in enumerate(item.steps):
            yield f"checklist[{n}].steps[{k}]", step, STEPS, "step"
        for k, check in enumerate(item.checks):
            yield f"checklist[{n}].checks[{k}]", check, known, "check"
        for k, name in enumerate(item.targets):
            yield f"checklist[{n}].targets[{k}]", name, targets, "target"


def _seed_columns(seeds: Seeds, path: str) -> Iterator[tuple[str, str]]:
    """Yield path and name of each column that `seeds` mentions."""
    for k, column in enumerate(seeds.key):
        yield f"{path}.key[{k}]", column
    if seeds.tenant:
        yield f"{path}.tenant", seeds.tenant
    for k, row in enumerate(seeds.rows):
        for column in row:
            yield below(f"{path}.rows[{k}]", column), column


def _sets_of_names(phase: Phase) -> Iterator[list[tuple[str, str]]]:
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
    yield [(f"accept[{n}].object", each.object) for n, each in enumerate(phase.accept)]
    yield [(f"backup.targets[{n}]", name) for n, name in enumerate(phase.backup.targets)]
    yield [(f"backup.data[{n}]", name) for n, name in enumerate(phase.backup.data)]
    for n, enum in enumerate(phase.enums):
        yield [(f"enums[{n}].labels[{k}]", label) for k, label in enumerate(enum.labels)]
    for n, table in enumerate(phase.tables):
        yield [(f"tables[{n}].columns[{k}].name", column.name) for k, column in enumerate(table.columns)]
        yield [(f"tables[{n}].primary_key[{k}]", column) for k, column in enumerate(table.primary_key)]


def _check_unique(names: Iterable[tuple[str, str]], mistakes: Mistakes) -> None:
    first: dict[str, str] = {}
    for path, name in names:
        if name and first.setdefault(name, path) != path:
            mistakes.add(path, f"repeats {first[name]}, {shown(name)}", "each may stand once")


def _names_no_backup(phase: Phase, target: str) -> bool:
    """Tell whether a phase's backup leaves a target out; False as long as its names are not those of targets."""
    named = phase.backup.targets
    return bool(named) and target not in named and set(named) <= set(phase.targets)


def _writing(phase: Phase) -> Iterator[tuple[str, str]]:
    """Yield path and name of each target that the phase writes to."""
    yield "baseline.target", phase.baseline.target
    yield "migration.target", phase.migration.target


def _check_definition(index: Index, path: str, mistakes: Mistakes) -> None:
    """An index's definition speaks of this index and this table, in pg_get_indexdef's form."""
    if not (index.name and index.definition):
        return
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
        if (spoken := qualified(*said)) != name:
            here = path.removesuffix("definition") + key
            mistakes.add(path, f"speaks of {shown(spoken)}", f"{here} is {shown(name)}")


def _check_source(seeds: Seeds, path: str, mistakes: Mistakes) -> None:
    """Rows stand in the phase file or in a file beside it."""
    rows, file = f"{path}.rows", f"{path}.file"
    if seeds.rows and seeds.file:
        mistakes.add(file, "is given beside rows", "leave out one of them")
    elif not (seeds.rows or seeds.file or rows in mistakes or file in mistakes):
        mistakes.add(rows, "is missing", "accepted is an array, each entry a table; or file")


def _check_rows(seeds: Seeds, path: str, columns: tuple[str, ...], mistakes: Mistakes) -> None:
    """Each seed row has the columns of the key and the tenant; no two rows have the same key."""
    key = [column for column in seeds.key if column in columns]
    needed = dict.fromkeys(column for column in (*key, seeds.tenant) if column in columns)
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
    if columns is None:
        return  # noted already
    for name in header:
        if name not in columns:
            wrong = f"names no column of {seeds.table} in its header: {shown(name)}"
            mistakes.add(path, wrong, suggestion(name, columns))
    for needed in (*seeds.key, seeds.tenant):
        if needed in columns and needed not in header:
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
