"""A catalogue against a phase: any single difference must be seen, and must name the object."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runbooks_lib.facts.databases import HeldTable
from runbooks_lib.findings import CLOSING, Finding, Verdict
from runbooks_lib.phase import Phase, load_phase
from runbooks_lib.postgres.catalog.catalog import Catalog, Column, Constraint, Enum, Index, Relation
from runbooks_lib.steps import inspection
from runbooks_lib.steps.inspection import by_object, describe
from runbooks_lib.steps.schema_checks import check_row_counts, check_schema

PHASE = load_phase(str(Path(__file__).parents[1] / "phases" / "PH15-AMAZON-DB-FOUNDATION-01"))
TABLES = [table.name for table in PHASE.tables]
ENUMS = [enum.name for enum in PHASE.enums]
INDEXES = [index.name for index in PHASE.indexes]
EMPTY = Catalog(relations={}, columns={}, constraints={}, indexes={}, enums={}, definitions={})


def declared(phase: Phase) -> Catalog:
    """Return a catalogue that holds exactly what the phase declares."""
    owners = {table.name: table.owner for table in phase.tables}
    return Catalog(
        relations={
            t.name: Relation(name=t.name, kind="r", owner=t.owner, persistence="p", row_security=False)
            for t in phase.tables
        },
        columns={
            t.name: tuple(
                Column(name=c.name, type=c.type, not_null=c.not_null, default=c.default, identity="",
                       generated="", collation=None)
                for c in t.columns
            )
            for t in phase.tables
        },
        constraints={
            t.name: (
                Constraint(name="pkey", relation=t.name, kind="p", definition="", validated=True,
                           columns=t.primary_key),
            )
            for t in phase.tables
        },
        indexes={
            i.name: Index(name=i.name, relation=i.table, definition=i.definition, is_unique="UNIQUE" in i.definition,
                          is_primary=False, is_valid=True, owner=owners[i.table])
            for i in phase.indexes
        },
        enums={e.name: Enum(name=e.name, owner=e.owner, labels=e.labels) for e in phase.enums},
        definitions={},
    )  # fmt: skip


CATALOG = declared(PHASE)


def changed(part: str, name: Any, value: Any) -> Catalog:
    """Return the declared catalogue with one entry replaced; None removes it."""
    entries = {**getattr(CATALOG, part), name: value}
    return replace(CATALOG, **{part: {key: entry for key, entry in entries.items() if entry is not None}})


def closing(catalog: Catalog, created_by: str | None = None) -> list[tuple[str, str]]:
    findings = check_schema(PHASE, "leader", catalog, created_by=created_by)
    return [(f.check, f.object) for f in findings if f.verdict in CLOSING]


def column_is(table: str, position: int, **values: Any) -> Catalog:
    columns = list(CATALOG.columns[table])
    columns[position] = columns[position]._replace(**values)
    return changed("columns", table, tuple(columns))


def test_what_is_declared_passes() -> None:
    findings = check_schema(PHASE, "leader", CATALOG)
    assert {f.verdict for f in findings} == {Verdict.PASS}
    assert {f.object for f in findings} == {*TABLES, *ENUMS, *INDEXES}
    assert {f.check for f in findings} == {
        "has_table", "table_owner_is", "columns_are", "col_is_pk", "has_enum", "enum_owner_is", "enum_has_labels",
        "has_index", "index_is", "index_owner_is", "index_is_valid",
    }  # fmt: skip
    assert all(f.hint == "" for f in findings)


def test_what_is_still_to_be_created_may_be_absent_or_equal() -> None:
    assert closing(EMPTY, created_by="baseline_migration") == []
    assert closing(CATALOG, created_by="baseline_migration") == []
    assert {object for _, object in closing(EMPTY)} == {*TABLES, *ENUMS, *INDEXES}


MUTATIONS: dict[str, Any] = {
    "table missing": lambda d: (changed("relations", t := d(TABLES), None), t, "has_table"),
    "table is a view": lambda d: (
        changed("relations", t := d(TABLES), CATALOG.relations[t]._replace(kind="v")), t, "has_table",
    ),
    "table is unlogged": lambda d: (
        changed("relations", t := d(TABLES), CATALOG.relations[t]._replace(persistence="u")), t, "has_table",
    ),
    "table owner": lambda d: (
        changed("relations", t := d(TABLES), CATALOG.relations[t]._replace(owner="somebody")), t, "table_owner_is",
    ),
    "column missing": lambda d: (
        changed("columns", t := d(TABLES), CATALOG.columns[t][1:]), t, "columns_are",
    ),
    "column added": lambda d: (
        changed("columns", t := d(TABLES), (*CATALOG.columns[t], CATALOG.columns[t][0]._replace(name="extra"))),
        t, "columns_are",
    ),
    "columns in another order": lambda d: (
        changed("columns", t := d(TABLES), CATALOG.columns[t][::-1]), t, "columns_are",
    ),
    "column type": lambda d: (column_is(t := d(TABLES), d([0, 1, -1]), type="bytea"), t, "columns_are"),
    "column default": lambda d: (column_is(t := d(TABLES), d([0, 1, -1]), default="'x'::text"), t, "columns_are"),
    "column default is empty text": lambda d: (column_is(t := d(TABLES), 0, default=""), t, "columns_are"),
    "column name": lambda d: (column_is(t := d(TABLES), d([0, 1, -1]), name="other"), t, "columns_are"),
    "column name's case": lambda d: (column_is(TABLES[0], 1, name="tenantid"), TABLES[0], "columns_are"),
    "column is null": lambda d: (column_is(t := d(TABLES), 0, not_null=False), t, "columns_are"),
    "column identity": lambda d: (column_is(t := d(TABLES), 0, identity=d("ad")), t, "columns_are"),
    "column generated": lambda d: (column_is(t := d(TABLES), 0, generated=d("sv")), t, "columns_are"),
    "column collation": lambda d: (column_is(t := d(TABLES), 0, collation='"C"'), t, "columns_are"),
    "no primary key": lambda d: (changed("constraints", t := d(TABLES), None), t, "col_is_pk"),
    "primary key is unique only": lambda d: (
        changed("constraints", t := d(TABLES), (CATALOG.constraints[t][0]._replace(kind="u"),)), t, "col_is_pk",
    ),
    "primary key of more columns": lambda d: (
        changed("constraints", t := d(TABLES),
                (CATALOG.constraints[t][0]._replace(columns=(*CATALOG.constraints[t][0].columns, "updatedAt")),)),
        t, "col_is_pk",
    ),
    "enum missing": lambda d: (changed("enums", e := d(ENUMS), None), e, "has_enum"),
    "enum owner": lambda d: (
        changed("enums", e := d(ENUMS), CATALOG.enums[e]._replace(owner="somebody")), e, "enum_owner_is",
    ),
    "labels in another order": lambda d: (
        changed("enums", e := d(ENUMS), CATALOG.enums[e]._replace(labels=CATALOG.enums[e].labels[::-1])),
        e, "enum_has_labels",
    ),
    "label missing": lambda d: (
        changed("enums", e := d(ENUMS), CATALOG.enums[e]._replace(labels=CATALOG.enums[e].labels[:-1])),
        e, "enum_has_labels",
    ),
    "label added": lambda d: (
        changed("enums", e := d(ENUMS), CATALOG.enums[e]._replace(labels=(*CATALOG.enums[e].labels, "NEW"))),
        e, "enum_has_labels",
    ),
    "label's case": lambda d: (
        changed("enums", e := d(ENUMS),
                CATALOG.enums[e]._replace(labels=tuple(label.lower() for label in CATALOG.enums[e].labels))),
        e, "enum_has_labels",
    ),
    "enum without labels": lambda d: (
        changed("enums", e := d(ENUMS), CATALOG.enums[e]._replace(labels=())), e, "enum_has_labels",
    ),
    "index missing": lambda d: (changed("indexes", i := d(INDEXES), None), i, "has_index"),
    "index definition": lambda d: (
        changed("indexes", i := d(INDEXES), CATALOG.indexes[i]._replace(definition=d(
            [CATALOG.indexes[i].definition + " WHERE (id > 0)", CATALOG.indexes[i].definition.replace("btree", "hash"),
             CATALOG.indexes[i].definition.replace(" (", ' ("x", ')]))),
        i, "index_is",
    ),
    "index validity": lambda d: (
        changed("indexes", i := d(INDEXES), CATALOG.indexes[i]._replace(is_valid=False)), i, "index_is_valid",
    ),
    "index owner": lambda d: (
        changed("indexes", i := d(INDEXES), CATALOG.indexes[i]._replace(owner="somebody")), i, "index_owner_is",
    ),
}  # fmt: skip


@pytest.mark.parametrize("mutation", MUTATIONS)
@pytest.mark.parametrize("created_by", [None, "baseline_migration"])
@settings(deadline=None, database=None)
@given(data=st.data())
def test_any_single_difference_fails_and_names_the_object(
    mutation: str, created_by: str | None, data: st.DataObject
) -> None:
    catalog, object_name, check = MUTATIONS[mutation](lambda choices: data.draw(st.sampled_from(choices)))
    found = closing(catalog, created_by)
    if created_by and mutation in ("table missing", "enum missing", "index missing"):
        assert found == []
    else:
        assert found == [(check, object_name)]
    if created_by is None:
        assert catalog.fingerprint() != CATALOG.fingerprint()


@pytest.mark.parametrize(
    ("part", "name", "value", "check", "words"),
    [
        ("relations", INDEXES[0], CATALOG.relations[TABLES[0]]._replace(kind="S"), "has_index", "kind S"),
        ("indexes", TABLES[0], CATALOG.indexes[INDEXES[0]], "has_table", "an index"),
        ("enums", TABLES[0], CATALOG.enums[ENUMS[0]], "has_table", "an enum"),
        ("definitions", ("type", ENUMS[0]), "d kb_backend text", "has_enum", "another type"),
        ("relations", ENUMS[0], CATALOG.relations[TABLES[0]], "has_enum", "kind r"),
    ],
)
def test_a_name_taken_by_something_else_is_not_absent(
    part: str, name: Any, value: Any, check: str, words: str
) -> None:
    """IF NOT EXISTS, or the DO block's handler, would hide it."""
    catalog = replace(EMPTY, **{part: {name: value}})
    findings = check_schema(PHASE, "legacy", catalog, created_by="baseline_migration")
    (failed,) = [f for f in findings if f.verdict is Verdict.FAIL]
    assert (failed.check, failed.object) == (check, name[1] if isinstance(name, tuple) else name)
    assert words in failed.have


def test_column_findings_say_what_differs() -> None:
    def words(catalog: Catalog) -> Finding:
        return next(f for f in check_schema(PHASE, "leader", catalog) if f.verdict is Verdict.FAIL)

    retyped = words(column_is(TABLES[0], 4, type="bytea", not_null=True))
    assert (retyped.have, retyped.want) == ("displayName bytea NOT NULL", "displayName text")
    renamed = words(column_is(TABLES[0], 4, name="title"))
    assert "displayName absent" in renamed.have
    assert "title absent" in renamed.want
    identity = words(column_is("public.MarketplaceSyncState", 3, identity="a", default=None))
    assert identity.have == "errorCount integer GENERATED ALWAYS AS IDENTITY NOT NULL"
    reordered = words(changed("columns", TABLES[0], CATALOG.columns[TABLES[0]][::-1]))
    assert reordered.have.startswith("order updatedAt, ")
    assert reordered.want.startswith("order id, ")


def test_row_counts() -> None:
    right = {"public.MarketplaceConnection": 2, "public.OAuthState": 5, "public.inbound_connections": 2,
             "public.inbound_addresses": 5, "public.MarketplaceSyncState": 0}  # fmt: skip
    assert {f.verdict for f in check_row_counts(PHASE, "leader", right)} == {Verdict.PASS}
    for name, count in right.items():
        for counts in ({**right, name: count + 1}, {k: v for k, v in right.items() if k != name}):
            (failed,) = [f for f in check_row_counts(PHASE, "leader", counts) if f.verdict is Verdict.FAIL]
            assert (failed.check, failed.object) == ("row_count_is", name)
    unjudged = replace(PHASE, tables=tuple(replace(table, rows=None) for table in PHASE.tables))
    assert check_row_counts(unjudged, "leader", right) == ()


def test_the_fingerprint_sees_every_field_of_every_object() -> None:
    seen = {CATALOG.fingerprint()}
    samples = {
        "relations": [("kind", "p"), ("owner", "x"), ("persistence", "u"), ("row_security", True)],
        "indexes": [
            ("definition", "x"),
            ("is_unique", 3),
            ("is_primary", True),
            ("is_valid", False),
            ("owner", "x"),
        ],
        "enums": [("owner", "x"), ("labels", ("x",))],
    }
    for part, values in samples.items():
        name = next(iter(getattr(CATALOG, part)))
        for field, value in values:
            entry = getattr(CATALOG, part)[name]._replace(**{field: value})
            seen.add(changed(part, name, entry).fingerprint())
    for field, value in [
        ("name", "x"),
        ("type", "x"),
        ("default", "x"),
        ("identity", "a"),
        ("collation", "x"),
    ]:
        seen.add(column_is(TABLES[0], 0, **{field: value}).fingerprint())
    constraint = CATALOG.constraints[TABLES[0]][0]
    for field, value in [("definition", "x"), ("validated", False), ("columns", ("x",)), ("kind", "u")]:
        seen.add(changed("constraints", TABLES[0], (constraint._replace(**{field: value}),)).fingerprint())
    seen.add(changed("definitions", ("function", "public.f()"), "one").fingerprint())
    seen.add(changed("definitions", ("function", "public.f()"), "two").fingerprint())
    assert len(seen) == 23
    assert declared(PHASE).fingerprint() == CATALOG.fingerprint()


def test_by_object_and_describe() -> None:
    bad = changed("indexes", INDEXES[0], CATALOG.indexes[INDEXES[0]]._replace(is_valid=False, owner="x"))
    findings = (
        *check_schema(PHASE, "leader", bad),
        *check_schema(PHASE, "legacy", EMPTY, created_by="baseline_migration"),
    )
    rows = {row["object"]: row for row in by_object(findings)}
    assert rows[TABLES[0]] == {"object": TABLES[0], "leader": "as declared", "legacy": "absent"}
    assert rows[INDEXES[0]]["leader"] == "FAIL index_owner_is: x; FAIL index_is_valid: INVALID"
    said = describe(PHASE, bad, dict.fromkeys(TABLES, 7))
    assert said.tables[TABLES[0]] == HeldTable(owner="kb_backend", rows=7)
    assert said.indexes[INDEXES[0]].valid is False
    assert said.enums[ENUMS[0]].labels == PHASE.enums[0].labels
    assert describe(PHASE, EMPTY, {}).tables == {}


def test_where_objects_are_many_an_index_as_declared_is_counted_with_its_table(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    bad = changed("indexes", INDEXES[0], CATALOG.indexes[INDEXES[0]]._replace(is_valid=False))
    findings = [*check_schema(PHASE, "leader", CATALOG), *check_schema(PHASE, "replica", bad)]
    facts = {"leader": describe(PHASE, CATALOG, {})}
    assert by_object(findings, facts) == by_object(findings)
    monkeypatch.setattr(inspection, "MANY_OBJECTS", 10)
    rows = {row["object"]: row for row in by_object(findings, facts)}
    assert set(rows) == {*TABLES, *ENUMS, INDEXES[0]}  # which is not as declared at one of the targets
    assert rows[INDEXES[0]]["replica"] == "FAIL index_is_valid: INVALID"
    assert sum(int(row["indexes as declared"]) for row in rows.values()) == len(INDEXES) - 1
    lost = [finding for finding in findings if finding.object != CATALOG.indexes[INDEXES[1]].relation]
    assert INDEXES[1] in {
        row["object"] for row in by_object(lost, facts)
    }  # without its table it has its own line


def test_what_is_still_to_be_added_may_be_missing_and_nothing_else() -> None:
    """Of a table and an enum that the baseline only changes: SKIP without it, PASS with it, FAIL when more differs."""
    table, enum = PHASE.tables[1], PHASE.enums[0]
    column, label = table.columns[-1].name, enum.labels[-1]
    adds = {(table.name, column), (enum.name, label)}

    def judged(catalog: Catalog, **options: Any) -> dict[str, Finding]:
        found = check_schema(PHASE, "t", catalog, created_by="baseline_migration", **options)
        return {
            f.check: f
            for f in found
            if f.object in (table.name, enum.name) and f.check in ("columns_are", "enum_has_labels")
        }

    def changed(columns: tuple[Column, ...], labels: tuple[str, ...]) -> Catalog:
        live = CATALOG.enums[enum.name]._replace(labels=labels)
        return replace(
            CATALOG,
            columns={**CATALOG.columns, table.name: columns},
            enums={**CATALOG.enums, enum.name: live},
        )

    columns = CATALOG.columns[table.name]
    without = changed(columns[:-1], enum.labels[:-1])
    assert {f.verdict for f in judged(CATALOG, adds=adds).values()} == {Verdict.PASS}
    found = judged(without, adds=adds)
    assert {f.verdict for f in found.values()} == {Verdict.SKIP}
    assert f"without {column}" in found["columns_are"].have
    assert f"without {label} until it is added" in found["enum_has_labels"].want
    assert {f.verdict for f in judged(without).values()} == {Verdict.FAIL}
    other = changed(columns[1:-1], tuple(reversed(enum.labels[:-1])))
    assert {f.verdict for f in judged(other, adds=adds).values()} == {Verdict.FAIL}
