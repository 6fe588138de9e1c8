"""spec_version 3: every section but targets may be left out, and older files mean what they meant."""

from __future__ import annotations

import time
from contextlib import suppress
from pathlib import Path

import pytest

from runbooks_lib.errors import SpecError
from runbooks_lib.phase import AcceptedMigration, Ignored, Phase, SchemaSource, Text, load_phase

HEAD = """\
spec_version = 3
id = "SMALL"
title = "Klein"
[targets]
leader = { service = "small_leader", role = "primary", database = "shop" }
old = { service = "small_old", role = "primary", database = "old" }
"""
PRISMA = '[prisma]\ntarget = "leader"\n'
BASELINE = '[baseline]\nfile = "baseline.sql"\ntarget = "old"\n'


def read(tmp_path: Path, content: str) -> Phase:
    folder = tmp_path / "SMALL"
    folder.mkdir(exist_ok=True)
    (folder / "baseline.sql").write_text("SELECT 1;\n")
    (folder / "schema.sql").write_text("CREATE TABLE t ();\n")
    (folder / "latin.sql").write_bytes(b"-- caf\xe9\n")
    with suppress(FileExistsError):
        (folder / "out.sql").symlink_to("/etc/passwd")
    (folder / "phase.toml").write_text(content)
    return load_phase(str(folder))


def test_targets_alone_are_a_phase(tmp_path: Path) -> None:
    phase = read(tmp_path, HEAD)
    assert (phase.written, phase.owner, phase.prisma, phase.baseline) == (None, None, None, None)
    assert (phase.schema.source, phase.backup.targets, phase.tables) == (None, (), ())
    assert phase.title.in_("fr") == phase.title.in_("en") == "Klein"


def test_prisma_alone_settles_all_of_what_the_migrations_make(tmp_path: Path) -> None:
    phase = read(tmp_path, HEAD + PRISMA)
    assert phase.prisma is not None
    assert phase.prisma.settle is None
    assert read(tmp_path, HEAD + PRISMA + 'settle = "all"\n').prisma == phase.prisma
    assert (phase.written, phase.backup.targets) == ("leader", ("leader",))
    assert phase.schema.source is SchemaSource.MIGRATIONS


def test_the_confirmed_database_is_the_baselines_and_what_is_written_is_dumped(tmp_path: Path) -> None:
    phase = read(tmp_path, HEAD + PRISMA + BASELINE)
    assert (phase.written, phase.backup.targets) == ("old", ("leader", "old"))
    assert phase.baseline is not None
    assert (phase.baseline.lock_timeout_ms, phase.baseline.statement_timeout_ms) == (5_000, 60_000)


def test_every_key_of_prisma_and_schema_is_read(tmp_path: Path) -> None:
    phase = read(
        tmp_path,
        HEAD
        + PRISMA
        + 'settle = ["1_a", "2_b"]\naccept = [{ migration = "0_x", why = "another team\'s" }]\n'
        + '[schema]\nfrom = "migrations"\nignore = [{ object = "public.pghero_*", why = "operations" }]\n',
    )
    assert phase.prisma is not None
    assert phase.prisma.settle == ("1_a", "2_b")
    assert phase.prisma.accept == (AcceptedMigration(migration="0_x", why="another team's"),)
    ignored = Ignored(object="public.pghero_*", why="operations")
    assert phase.ignored("relation", "public.pghero_stats") == ignored
    assert phase.ignored("index", "public.pghero_stats_key") == ignored
    assert phase.ignored("relation", "app.pghero_stats") is None


def test_a_pattern_may_name_the_kind(tmp_path: Path) -> None:
    phase = read(tmp_path, HEAD + '[schema]\nignore = [{ object = "trigger public.*", why = "audit" }]\n')
    assert phase.ignored("trigger", "public.t.audit") is not None
    assert phase.ignored("index", "public.t.audit") is None


def test_a_schema_has_a_file_whose_content_is_the_phases(tmp_path: Path) -> None:
    one = HEAD.replace(
        'old = { service = "small_old", role = "primary"', 'old = { service = "o", role = "standby"'
    )
    assert one != HEAD
    phase = read(tmp_path, one.replace('"old" }', '"shop" }') + '[schema]\nfile = "schema.sql"\n')
    assert (phase.schema.file, phase.schema.target, phase.written) == ("schema.sql", "leader", None)
    (box,) = phase.checklist
    assert box.checks == ("migration_objects_stand",)
    with_prisma = read(tmp_path, HEAD + PRISMA + BASELINE + '[schema]\nfile = "schema.sql"\n')
    assert (with_prisma.schema.target, with_prisma.schema.source) == ("leader", SchemaSource.MIGRATIONS)
    (tmp_path / "SMALL" / "schema.sql").write_text("CREATE TABLE t (id int);\n")
    assert load_phase(str(tmp_path / "SMALL")).digest != with_prisma.digest


@pytest.mark.parametrize(
    ("texts", "language", "said"),
    [
        ({"de": "Ja", "fr": "Oui", "en": "Yes"}, "fr", "Oui"),
        ({"de": "Ja", "en": "Yes"}, "fr", "Yes"),
        ({"de": "Ja", "it": "Sì"}, "fr", "Ja"),
        ({"und": "Ja"}, "en", "Ja"),
    ],
)
def test_a_text_is_told_in_the_language_that_there_is(
    texts: dict[str, str], language: str, said: str
) -> None:
    assert Text(by_language=texts).in_(language) == said


def test_objects_need_a_name_alone_and_tables_may_be_named_without_being_declared(tmp_path: Path) -> None:
    phase = read(
        tmp_path,
        HEAD
        + '[[tables]]\nname = "app.Order"\nrows = 7\n[[enums]]\nname = "app.Colour"\n[[indexes]]\nname = "app.i"\n'
        + '[[seeds]]\ntable = "app.Other"\nkey = ["id"]\nrows = [{ id = 1 }]\n',
    )
    (table,), (enum,), (index,), (seeds,) = phase.tables, phase.enums, phase.indexes, phase.seeds
    assert (table.owner, table.columns, table.primary_key, table.rows) == (None, None, None, 7)
    assert (enum.owner, enum.labels, index.table, index.definition) == (None, None, None, None)
    assert seeds.allows_others


@pytest.mark.parametrize(
    ("tenant", "exact", "others"),
    [("", "", True), ("", "exact = true\n", False), ("", "exact = false\n", True),
     ('tenant = "t"\n', "", False), ('tenant = "t"\n', "exact = false\n", True)],
)  # fmt: skip
def test_seeds_say_whether_other_rows_are_allowed(
    tmp_path: Path, tenant: str, exact: str, others: bool
) -> None:
    seeds = '[[seeds]]\ntable = "app.T"\nkey = ["id"]\nrows = [{ id = 1, t = "x" }]\n'
    assert read(tmp_path, HEAD + seeds + tenant + exact).seeds[0].allows_others is others


@pytest.mark.parametrize(
    ("more", "expected"),
    [
        ('[prisma]\ntarget = "lead"\n', 'prisma.target: names no target: "lead"; did you mean "leader"?'),
        (PRISMA + 'settle = "some"\n',
         'prisma.settle: is the string "some"; accepted is "all" or an array, each entry a string'),
        (PRISMA + "settle = []\n", 'prisma.settle: is empty; accepted is an array, each entry a string, at least 1'),
        (PRISMA + 'settle = ["a", "a"]\n', 'prisma.settle[1]: repeats prisma.settle[0], "a"; each may stand once'),
        (PRISMA + 'accept = [{ migration = "a" }]\n', "prisma.accept[0].why: is missing; accepted is a string"),
        (PRISMA + '[schema]\nfrom = "prisma"\n',
         'schema.from: is the string "prisma"; accepted is "migrations"'),
        ('[schema]\nfrom = "migrations"\n',
         'schema.from: is "migrations", and the phase has no prisma section; say [prisma] target = …, or leave it out'),
        ('[schema]\nsource = "migrations"\n', "schema.source: is an unknown key; accepted: from, file, target, ignore"),
        ('[schema]\nfrom = "migrations"\nfile = "schema.sql"\n' + PRISMA,
         "schema.file: is given beside schema.from; say what must stand by one of them"),
        ('[schema]\ntarget = "leader"\nfile = "absent.sql"\n',
         'schema.file: is "absent.sql", which cannot be read: No such file or directory; accepted is'),
        ('[schema]\ntarget = "leader"\nfile = "../schema.sql"\n',
         'schema.file: is "../schema.sql"; accepted is the name of a file'),
        ('[schema]\ntarget = "leader"\nfile = "out.sql"\n',
         'schema.file: is "out.sql", which cannot be read: it is a link that leads out of its folder'),
        ('[schema]\ntarget = "leader"\nfile = "latin.sql"\n',
         'schema.file: is "latin.sql", which cannot be read: it is not UTF-8'),
        ('[schema]\nfile = "schema.sql"\ntarget = "lead"\n', 'schema.target: names no target: "lead"; did you mean'),
        ('[schema]\ntarget = "leader"\n', "schema.target: is given without schema.file; leave it out"),
        ('[schema]\nfile = "schema.sql"\n',
         "schema.target: is missing, and several primaries are declared; accepted is the name of the target in which"),
        ('[schema]\nignore = [{ object = "a" }]\n', "schema.ignore[0].why: is missing; accepted is a string"),
        (PRISMA + '[migration]\nname = "a"\ntarget = "leader"\n',
         "migration: is given beside prisma, which says the same today; leave migration out"),
        ('[[tables]]\nname = "a.b"\ncolumns = []\n',
         "tables[0].columns: is empty; accepted is an array, each entry a table with name, type, at least 1"),
        ('[[indexes]]\nname = "a.i"\ndefinition = "btree (x)"\n', 'indexes[0].definition: is "btree (x)"; accepted is'),
        ('[[indexes]]\nname = "a.i"\ntable = "a.t"\ndefinition = "CREATE INDEX i ON a.u USING btree (x)"\n',
         'indexes[0].definition: speaks of "a.u"; indexes[0].table is "a.t"'),
        ('[[seeds]]\ntable = "a.t"\nkey = ["id"]\nrows = [{ x = 1 }]\n',
         "seeds[0].rows[0].id: is missing; each row has id"),
        ('[[next_steps]]\n', "next_steps[0]: is empty; accepted is a string, or a table of it by language"),
    ],
)  # fmt: skip
def test_a_mistake_of_a_new_key_is_named_by_its_path(tmp_path: Path, more: str, expected: str) -> None:
    with pytest.raises(SpecError) as caught:
        read(tmp_path, HEAD + more)
    (mistake,) = caught.value.mistakes
    assert mistake.startswith(expected)


# --- older files ---------------------------------------------------------------------------------------------------

OLD = (
    HEAD.replace("spec_version = 3", "spec_version = 2")
    .replace('"Klein"\n', '{ fr = "x", en = "x" }\nobjective = { fr = "x", en = "x" }\n')
    + BASELINE
    + '[owners]\ndefault = "o"\n[backup]\ntargets = ["leader", "old"]\n[migration]\nname = "1_a"\ntarget = "leader"\n'
    + '[[tables]]\nname = "public.t"\nprimary_key = []\ncolumns = [{ name = "id", type = "text" }]\n'
    + '[[seeds]]\ntable = "public.t"\nkey = ["id"]\nrows = [{ id = "a" }]\n'
)  # fmt: skip
ACCEPT = '[[accept]]\nobject = "trigger public.t.a[1]*"\nwhy = "audit"\n'


def test_an_older_file_means_what_it_meant(tmp_path: Path) -> None:
    phase = read(tmp_path, OLD)
    assert phase.prisma is not None
    assert (phase.prisma.target, phase.prisma.settle) == ("leader", ("1_a",))
    assert not phase.seeds[0].allows_others


def test_what_an_older_file_accepts_is_that_very_object(tmp_path: Path) -> None:
    phase = read(tmp_path, OLD.replace("spec_version = 2", "spec_version = 3") + ACCEPT)
    assert phase.prisma is not None
    assert phase.prisma.settle == ("1_a",)
    assert phase.ignored("trigger", "public.t.a[1]*") is not None
    assert phase.ignored("trigger", "public.t.a1b") is None


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ('target = "leader"\n[[', 'target = "lead"\n[[', 'migration.target: names no target: "lead"; did you mean'),
        ('key = ["id"]', 'exact = false\nkey = ["id"]',
         "seeds[0].exact: is a key of spec_version 3; say spec_version = 3"),
        ("[owners]", "[schema]\n[owners]", ""),
        ("[owners]", '[schema]\nignore = []\n[owners]', "schema: is a key of spec_version 3; say"),
        ('[backup]\ntargets = ["leader", "old"]\n', "", "backup: is missing; only from spec_version 3 on it may be"),
    ],
)  # fmt: skip
def test_a_mistake_of_an_older_file(tmp_path: Path, old: str, new: str, expected: str) -> None:
    assert old in OLD
    if not expected:
        assert read(tmp_path, OLD.replace(old, new)).prisma is not None
        return
    with pytest.raises(SpecError) as caught:
        read(tmp_path, OLD.replace(old, new))
    assert any(each.startswith(expected) for each in caught.value.mistakes), caught.value.mistakes


# --- a checklist of its own ----------------------------------------------------------------------------------------


def test_a_phase_without_a_checklist_has_a_box_for_what_it_declares(tmp_path: Path) -> None:
    boxes = read(tmp_path, HEAD + PRISMA + BASELINE + '[[tables]]\nname = "a.b"\nrows = 1\n').checklist
    assert [(box.text.in_("en"), box.steps, box.checks) for box in boxes] == [
        ("The declared tables exist", ("report",), ("has_table",)),
        ("The baseline is applied", ("baseline_migration",), ("baseline_is_applied",)),
        ("Prisma migrate status: up to date", ("prisma_resolve",), ("prisma_is_up_to_date",)),
        ("The tables hold as many rows as declared", ("seed_verification",), ("row_count_is",)),
    ]
    assert boxes[0].text.in_("fr") == "Les tables déclarées existent"
    assert read(tmp_path, HEAD).checklist == ()


def test_a_declared_checklist_is_the_only_one(tmp_path: Path) -> None:
    box = '[[checklist]]\ntext = "Seen"\nmanual = true\nreason = "by hand"\n'
    assert [item.text.in_("en") for item in read(tmp_path, HEAD + PRISMA + box).checklist] == ["Seen"]


# --- long and many -------------------------------------------------------------------------------------------------


ROUTE = '[[routes]]\nmethod = "GET"\npath = "/"\nwhy = "w"\n'


@pytest.mark.parametrize(
    "more",
    [
        f'[prisma]\ntarget = "{"x" * 2**20}"\n',
        f'[services.lead]\nurl_env = "A"\n{ROUTE}services = ["{"lead" * 2**18}"]\n',
        f'[[tables]]\nname = "public.{"x." * 2**19}"\n',
        f"{'y' * 2**20} = 1\n",
    ],
    ids=["target", "service", "table", "key"],
)
def test_a_name_of_a_megabyte_keeps_nobody_waiting(tmp_path: Path, more: str) -> None:
    began = time.process_time()
    content = more + HEAD if more.startswith("y") else HEAD + more
    with pytest.raises(SpecError) as caught:
        read(tmp_path, content)
    assert time.process_time() - began < 5
    assert all(len(mistake) < 1000 for mistake in caught.value.mistakes)


def test_not_every_name_of_thousands_is_printed(tmp_path: Path) -> None:
    targets = "".join(
        f'[targets.t{n}]\nservice = "s"\nrole = "primary"\ndatabase = "d"\n' for n in range(3000)
    )
    with pytest.raises(SpecError) as caught:
        read(tmp_path, HEAD + targets + '[prisma]\ntarget = "zzz"\n')
    (mistake,) = caught.value.mistakes
    assert mistake.endswith(" and 2982 more")


def test_indexes_that_are_built_concurrently_are_part_of_the_phase(tmp_path: Path) -> None:
    concurrently = 'concurrently = "indexes.sql"\n'
    with pytest.raises(SpecError, match=r"baseline.concurrently: is \"indexes.sql\", which cannot be read"):
        read(tmp_path, HEAD + BASELINE + concurrently)
    file = tmp_path / "SMALL" / "indexes.sql"
    file.write_text("CREATE INDEX CONCURRENTLY IF NOT EXISTS i ON t (a);")
    phase = read(tmp_path, HEAD + BASELINE + concurrently)
    assert phase.baseline is not None
    assert phase.baseline.concurrently == "indexes.sql"
    file.write_text("CREATE INDEX CONCURRENTLY IF NOT EXISTS i ON t (b);")
    assert read(tmp_path, HEAD + BASELINE + concurrently).digest != phase.digest
