"""phase.toml: every kind of mistake is named by its path, and the shipped phase holds its report's facts."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from dataclasses import fields, replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runbooks_lib.errors import SpecError
from runbooks_lib.names import parts
from runbooks_lib.phase import Phase, Role, Text, load_phase, shipped_ids
from runbooks_lib.phase.seed_values import as_text

PH15 = "PH15-AMAZON-DB-FOUNDATION-01"

SMALL = """\
spec_version = 1
id = "SMALL"
title = { fr = "Petite", en = "Small" }
objective = { fr = "Un but", en = "An aim" }

[targets]
leader = { service = "small_leader", role = "primary", database = "shop" }
replica = { service = "small_replica", role = "standby", database = "shop", max_lag_bytes = 1_000 }
old = { service = "small_old", role = "primary", database = "old", data = false }

[owners]
default = "shop_owner"

[[enums]]
name = "public.Colour"
labels = ["RED", "GREEN"]

[[tables]]
name = "public.Item"
rows = 1
primary_key = ["id"]
columns = [
  { name = "id", type = "integer", not_null = true },
  { name = "colour", type = 'public."Colour"', default = "'RED'" },
]

[[tables]]
name = "public.shelf"
owner = "shelf_owner"
primary_key = ["code"]
columns = [{ name = "code", type = "text", not_null = true }]

[[indexes]]
name = "public.item_colour_idx"
table = "public.Item"
definition = 'CREATE INDEX item_colour_idx ON public."Item" USING btree (colour)'

[backup]
targets = ["leader", "old"]

[baseline]
file = "baseline.sql"
target = "old"
lock_timeout_ms = 100
statement_timeout_ms = 1_000

[migration]
name = "20250101000000_items"
target = "leader"

[[seeds]]
table = "public.Item"
key = ["id"]
tenant = "colour"
rows = [{ id = 1, colour = "RED" }, { id = 2, colour = "GREEN" }]

[services.api]
url_env = "SMALL_API_URL"

[[routes]]
method = "GET"
path = "/items"
services = ["api"]
table = ["public.Item"]
why = { fr = "Pour lire", en = "To read" }

[[checklist]]
text = { fr = "Tables", en = "Tables" }
steps = ["report"]
checks = ["has_table"]
targets = ["leader"]

[[checklist]]
text = { fr = "Écran", en = "Screen" }
manual = true
reason = { fr = "à la main", en = "by hand" }

[[files]]
path = "docs/report.md"
text = { fr = "Le rapport", en = "The report" }
"""

Write = Callable[[str], Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Write a phase named SMALL and return its file."""

    def _write(content: str) -> Path:
        return write_small(tmp_path, content)

    return _write


def write_small(folder: Path, content: str) -> Path:
    folder = folder / "SMALL"
    folder.mkdir(exist_ok=True)
    (folder / "baseline.sql").write_text("SELECT 1;\n", encoding="utf-8")
    file = folder / "phase.toml"
    file.write_text(content, encoding="utf-8")
    return file


def changed(old: str, new: str) -> str:
    """Return the small phase with the first `old` replaced."""
    assert old in SMALL, f"{old!r} is not in the small phase"
    return SMALL.replace(old, new, 1)


def mistakes_of(file: Path) -> tuple[str, ...]:
    with pytest.raises(SpecError) as caught:
        load_phase(str(file))
    assert caught.value.exit_code == 3
    return caught.value.mistakes


def test_the_small_phase_is_read_by_file_and_by_folder(write: Write) -> None:
    file = write(SMALL)
    phase = load_phase(str(file))
    assert load_phase(str(file.parent)) == phase
    assert phase.folder == file.parent.resolve()
    assert phase.title == Text(by_language={"fr": "Petite", "en": "Small"})
    assert phase.targets["replica"].primary == "leader"
    assert phase.targets["replica"].role is Role.STANDBY
    assert phase.targets["old"].data is False
    assert [table.owner for table in phase.tables] == ["shop_owner", "shelf_owner"]
    assert phase.enums[0].owner == "shop_owner"
    assert phase.tables[1].rows is None
    assert phase.seeds[0].rows == ({"id": 1, "colour": "RED"}, {"id": 2, "colour": "GREEN"})
    assert phase.background is None
    assert phase.next_steps == ()


def test_a_relative_path_has_its_folder_too(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(write(SMALL).parent)
    assert load_phase("phase.toml") == load_phase(".")


def test_the_digest_covers_the_phase_and_the_baseline(write: Write) -> None:
    file = write(SMALL)
    first = load_phase(str(file)).digest
    assert re.fullmatch("[0-9a-f]{64}", first)
    assert load_phase(str(file)).digest == first
    (file.parent / "baseline.sql").write_text("SELECT 2;\n", encoding="utf-8")
    second = load_phase(str(file)).digest
    file.write_text(SMALL + "# a comment\n", encoding="utf-8")
    assert len({first, second, load_phase(str(file)).digest}) == 3


# what is replaced, by what, and the one mistake that must follow
MISTAKES = {
    "unknown key": (
        "rows = 1\n",
        "rows = 1\nrowz = 2\n",
        'tables[0].rowz: is an unknown key; did you mean "rows"?',
    ),
    "misspelt key that is required": (
        'labels = ["RED", "GREEN"]',
        'Label = ["RED", "GREEN"]',
        'enums[0].Label: is an unknown key; did you mean "labels"?',
    ),
    "unknown key, none near": (
        "[backup]\n",
        "[backup]\nzzz = 1\n",
        "backup.zzz: is an unknown key; accepted: targets, data",
    ),
    "unknown table": (
        "[backup]\n",
        "[owner]\nx = 1\n[backup]\n",
        'owner: is an unknown key; did you mean "owners"?',
    ),
    "missing key": ('name = "public.Item"\n', "", "tables[0].name: is missing; accepted is schema.relation"),
    "missing key of a column": (
        'name = "id", type = "integer"',
        'name = "id"',
        "tables[0].columns[0].type: is missing; accepted is a string",
    ),
    "missing table": (
        '[migration]\nname = "20250101000000_items"\ntarget = "leader"\n',
        "",
        "migration: is missing; only from spec_version 3 on it may be left out",
    ),
    "missing owner": ('default = "shop_owner"', "", "owners.default: is missing; accepted is a string"),
    "a language that is none": (
        'en = "Small"',
        'English = "Small"',
        "title.English: is an unknown key; accepted is a language: two or three small letters, such as fr",
    ),
    "number for a string": (
        'type = "integer"',
        "type = 4",
        "tables[0].columns[0].type: is 4; accepted is a string",
    ),
    "string for a number": (
        "rows = 1",
        'rows = "1"',
        'tables[0].rows: is the string "1"; accepted is an integer',
    ),
    "boolean for a number": ("rows = 1", "rows = true", "tables[0].rows: is true; accepted is an integer"),
    "number for a boolean": (
        "not_null = true",
        "not_null = 1",
        "tables[0].columns[0].not_null: is 1; accepted is true or false",
    ),
    "string for an array": (
        'services = ["api"]',
        'services = "api"',
        'routes[0].services: is the string "api"; accepted is an array, each entry a string',
    ),
    "number for a text": (
        'title = { fr = "Petite", en = "Small" }',
        "title = 4",
        "title: is 4; accepted is a string, or a table of it by language",
    ),
    "array in a seed row": (
        'colour = "GREEN" }]',
        'colour = ["GREEN"] }]',
        "seeds[0].rows[1].colour: is an array; accepted is a string, a number, a date or time",
    ),
    "table for a string": (
        'default = "shop_owner"',
        "default = { x = 1 }",
        "owners.default: is a table; accepted is a string",
    ),
    "empty string": (
        'database = "old"',
        'database = ""',
        "targets.old.database: is empty; accepted is a string",
    ),
    "empty array": (
        'labels = ["RED", "GREEN"]',
        "labels = []",
        "enums[0].labels: is empty; accepted is an array, each entry a string, at least 1",
    ),
    "too small": (
        "lock_timeout_ms = 100",
        "lock_timeout_ms = 0",
        "baseline.lock_timeout_ms: is 0; accepted is an integer, at least 1",
    ),
    "negative count": ("rows = 1", "rows = -1", "tables[0].rows: is -1; accepted is an integer, at least 0"),
    "bad role": (
        'role = "standby"',
        'role = "replica"',
        'targets.replica.role: is the string "replica"; accepted is "primary" or "standby"',
    ),
    "bad method": (
        'method = "GET"',
        'method = "get"',
        'routes[0].method: is "get"; accepted is an HTTP method in capitals',
    ),
    "bad path": (
        'path = "/items"',
        'path = "items"',
        "routes[0].path: is \"items\"; accepted is a path that begins with '/'",
    ),
    "bad environment name": (
        '"SMALL_API_URL"',
        '"small-url"',
        'services.api.url_env: is "small-url"; accepted is the name of an environment variable',
    ),
    "name without schema": (
        'name = "public.Colour"',
        'name = "Colour"',
        'enums[0].name: is "Colour"; accepted is schema.relation',
    ),
    "quoted name": (
        'name = "public.Colour"',
        "name = 'public.\"Colour\"'",
        'enums[0].name: is "public."Colour""; accepted is schema.relation without quotes',
    ),
    "name too long": (
        'name = "public.Colour"',
        f'name = "public.{"x" * 64}"',
        'enums[0].name: is "public.xxx',
    ),
    "duplicate table": (
        'name = "public.shelf"',
        'name = "public.Item"',
        'tables[1].name: repeats tables[0].name, "public.Item"; each may stand once',
    ),
    "index named as a table": (
        'name = "public.item_colour_idx"',
        'name = "public.shelf"',
        'indexes[0].name: repeats tables[1].name, "public.shelf"',
    ),
    "duplicate label": (
        '["RED", "GREEN"]',
        '["RED", "RED"]',
        'enums[0].labels[1]: repeats enums[0].labels[0], "RED"',
    ),
    "duplicate column": (
        'name = "colour", type',
        'name = "id", type',
        'tables[0].columns[1].name: repeats tables[0].columns[0].name, "id"',
    ),
    "duplicate route": (
        "[[checklist]]\n",
        '[[routes]]\nmethod = "GET"\npath = "/items"\nservices = ["api"]\nwhy = { fr = "x", en = "x" }\n'
        "[[checklist]]\n",
        'routes[1]: repeats routes[0], "GET /items"',
    ),
    "duplicate seed row": ("{ id = 2,", "{ id = 1,", "seeds[0].rows[1]: has the same id as seeds[0].rows[0]"),
    "index of no table": (
        'table = "public.Item"\ndefinition',
        'table = "public.item"\ndefinition',
        'indexes[0].table: names no table: "public.item"; did you mean "public.Item"?',
    ),
    "definition of another index": (
        "INDEX item_colour_idx ON",
        "INDEX item_color_idx ON",
        'indexes[0].definition: speaks of "public.item_color_idx"; indexes[0].name is "public.item_colour_idx"',
    ),
    "definition on another table": (
        'ON public."Item"',
        "ON public.shelf",
        'indexes[0].definition: speaks of "public.shelf"; indexes[0].table is "public.Item"',
    ),
    "no definition": (
        "'CREATE INDEX item_colour_idx ON public.\"Item\" USING btree (colour)'",
        '"btree (colour)"',
        'indexes[0].definition: is "btree (colour)"; accepted is what pg_get_indexdef prints',
    ),
    "seeds of no table": (
        'table = "public.Item"\nkey',
        'table = "public.Itme"\nkey',
        'seeds[0].table: names no table: "public.Itme"; did you mean "public.Item"?',
    ),
    "key of no column": (
        'primary_key = ["id"]',
        'primary_key = ["ID"]',
        'tables[0].primary_key[0]: names no column of the table: "ID"; did you mean "id"?',
    ),
    "seed of no column": (
        '{ id = 1, colour = "RED" }',
        '{ id = 1, colour = "RED", colours = "RED" }',
        'seeds[0].rows[0].colours: names no column of public.Item: "colours"; did you mean "colour"?',
    ),
    "seed without tenant": (
        '{ id = 1, colour = "RED" }',
        "{ id = 1 }",
        "seeds[0].rows[0].colour: is missing; each row has id, colour",
    ),
    "tenant of no column": (
        'tenant = "colour"',
        'tenant = "shop"',
        'seeds[0].tenant: names no column of public.Item: "shop"; accepted: id, colour',
    ),
    "no backup of what is written": (
        'targets = ["leader", "old"]',
        'targets = ["leader"]',
        'backup.targets: lacks "old", which baseline.target writes to; each target that is written has a dump',
    ),
    "a standby's backup for its primary's": (
        'targets = ["leader", "old"]',
        'targets = ["replica", "old"]',
        'backup.targets: lacks "leader", which migration.target writes to; each target that is written has a dump of'
        " its own; no standby stands in for it",
    ),
    "backup of no target": (
        'targets = ["leader", "old"]',
        'targets = ["leader", "odl"]',
        'backup.targets[1]: names no target: "odl"; did you mean "old"?',
    ),
    "rows of no target of the backup": (
        'targets = ["leader", "old"]',
        'targets = ["leader", "old"]\ndata = ["replica"]',
        'backup.data[0]: names no target of the backup: "replica"; accepted: leader, old',
    ),
    "rows of a target twice": (
        'targets = ["leader", "old"]',
        'targets = ["leader", "old"]\ndata = ["old", "old"]',
        'backup.data[1]: repeats backup.data[0], "old"',
    ),
    "baseline on no target": (
        'target = "old"',
        'target = "legacy"',
        'baseline.target: names no target: "legacy"; accepted: leader, replica, old',
    ),
    "migration on no target": (
        '_items"\ntarget = "leader"',
        '_items"\ntarget = "leeder"',
        'migration.target: names no target: "leeder"; did you mean "leader"?',
    ),
    "migration on a standby": (
        '_items"\ntarget = "leader"',
        '_items"\ntarget = "replica"',
        'migration.target: is "replica", a standby; accepted is a target that can be written',
    ),
    "route at no service": (
        'services = ["api"]',
        'services = ["apo"]',
        'routes[0].services[0]: names no service: "apo"; did you mean "api"?',
    ),
    "route for no table": (
        'table = ["public.Item"]',
        'table = ["public.Items"]',
        'routes[0].table[0]: names no table: "public.Items"; did you mean "public.Item"?',
    ),
    "checklist of no target": (
        'targets = ["leader"]',
        'targets = ["leaders"]',
        'checklist[0].targets[0]: names no target: "leaders"; did you mean "leader"?',
    ),
    "checklist of no step": (
        'steps = ["report"]',
        'steps = ["reports"]',
        'checklist[0].steps[0]: names no step: "reports"; did you mean "report"?',
    ),
    "checklist of no check": (
        'checks = ["has_table"]\n',
        'checks = ["has_tabel"]\n',
        'checklist[0].checks[0]: names no check: "has_tabel"; did you mean "has_table"?',
    ),
    "item without checks": (
        'checks = ["has_table"]\n',
        "",
        "checklist[0].checks: is missing; accepted is a non-empty array, or manual = true",
    ),
    "manual item without reason": (
        'reason = { fr = "à la main", en = "by hand" }\n',
        "",
        "checklist[1].reason: is missing; a manual item says why",
    ),
    "manual item with checks": (
        "manual = true",
        'manual = true\nchecks = ["has_table"]',
        "checklist[1].checks: is given for a manual item",
    ),
    "standby of no primary": (
        "max_lag_bytes",
        'primary = "old", max_lag_bytes',
        'targets.replica.primary: names no primary with the database "shop": "old"; accepted: leader',
    ),
    "standby without primary": (
        'role = "standby", database = "shop"',
        'role = "standby", database = "shelf"',
        'targets.replica.primary: is missing, and 0 primaries have the database "shelf"',
    ),
    "lag of a primary": (
        "data = false",
        "max_lag_bytes = 1",
        "targets.old.max_lag_bytes: is given for a primary; leave it out",
    ),
    "bad target name": ("old = {", '"o l d" = {', 'targets."o l d": is no name'),
    "accept in an old version": (
        "[backup]\n",
        '[[accept]]\nobject = "trigger public.Item.t"\nwhy = "audit"\n[backup]\n',
        "accept: is a key of spec_version 3; say spec_version = 3",
    ),
    "accept without a reason": (
        "[backup]\n",
        '[[accept]]\nobject = "trigger public.Item.t"\n[backup]\n',
        "accept[0].why: is missing; accepted is a string",
    ),
    "accept of an unknown key": (
        "[backup]\n",
        '[[accept]]\nobject = "trigger public.Item.t"\nwhy = "audit"\nuntil = "x"\n[backup]\n',
        "accept[0].until: is an unknown key",
    ),
    "accept twice": (
        "[backup]\n",
        '[[accept]]\nobject = "a"\nwhy = "b"\n[[accept]]\nobject = "a"\nwhy = "c"\n[backup]\n',
        'accept[1].object: repeats accept[0].object, "a"; each may stand once',
    ),
    "spec_version 4": (
        "spec_version = 1",
        "spec_version = 4",
        "spec_version: is 4; this version of runbooks reads spec_version 1 to 3",
    ),
    "id of another folder": (
        'id = "SMALL"',
        'id = "LARGE"',
        'id: is "LARGE", but the folder is "SMALL"; they are equal',
    ),
    "no baseline file": (
        '"baseline.sql"',
        '"basline.sql"',
        'baseline.file: is "basline.sql", which cannot be read: No such file or directory',
    ),
    "baseline elsewhere": (
        '"baseline.sql"',
        '"../baseline.sql"',
        'baseline.file: is "../baseline.sql"; accepted is the name of a file in the folder of phase.toml',
    ),
    "dsn as service": (
        'service = "small_old"',
        'service = "postgresql://u:hunter2@h/db"',
        "targets.old.service: says how to connect, and phase files are archived and shared; "
        'accepted is service = "NAME" alone',
    ),
    "keyword dsn": (
        'database = "shop", max',
        'database = "dbname=shop password=hunter2", max',
        "targets.replica.database: says how to connect",
    ),
    "dsn for the target": (
        'old = { service = "small_old", role = "primary", database = "old", data = false }',
        'old = "postgresql://u:hunter2@h/db"',
        "targets.old: says how to connect",
    ),
    "password key": ("data = false", 'password = "hunter2"', "targets.old.password: says how to connect"),
}

# These bring others with them, since other parts of the file then fit no more.
WITH_MORE = {
    "missing language": 2,  # and en is missing
    "index named as a table": 2,  # its definition names the index
    "duplicate column": 4,  # the seeds have the column that is gone
    "accept without a reason": 2,  # and the version is too old
    "accept of an unknown key": 2,
    "accept twice": 2,
    "bad target name": 3,  # backup and baseline name the target as it was
}


@pytest.mark.parametrize("case", MISTAKES)
def test_a_mistake_is_named_by_its_path(case: str, write: Write) -> None:
    old, new, expected = MISTAKES[case]
    mistakes = mistakes_of(write(changed(old, new)))
    assert any(mistake.startswith(expected) for mistake in mistakes), mistakes
    assert len(mistakes) == WITH_MORE.get(case, 1), mistakes


@pytest.mark.parametrize("case", [c for c in MISTAKES if "hunter2" in MISTAKES[c][1]])
def test_a_secret_in_the_file_is_never_shown(case: str, write: Write) -> None:
    old, new, _ = MISTAKES[case]
    with pytest.raises(SpecError) as caught:
        load_phase(str(write(changed(old, new))))
    assert "hunter2" not in f"{caught.value!s} {caught.value!r} {caught.value.mistakes}"


def test_a_secret_outside_targets_or_in_a_key_is_never_shown(write: Write) -> None:
    content = changed('url_env = "SMALL_API_URL"', 'url_env = "https://u:hunter2@h"')
    content = content.replace("old = {", '"postgresql://u:hunter2@h/x" = {', 1)
    mistakes = mistakes_of(write(content))
    assert any(m.startswith("services.api.url_env: is a connection string;") for m in mistakes)
    assert any(m.startswith("targets.a connection string: is no name;") for m in mistakes)
    assert "hunter2" not in str(mistakes)


def test_five_mistakes_are_named_at_once(write: Write) -> None:
    content = SMALL
    for old, new in (
        ("rows = 1\n", "rows = 1\nrowz = 2\n"),
        ('role = "standby"', 'role = "replica"'),
        ('name = "code", type = "text"', 'name = "code"'),
        ('table = ["public.Item"]', 'table = ["public.Items"]'),
        ("not_null = true", "not_null = 1"),
    ):
        assert old in content
        content = content.replace(old, new, 1)
    file = write(content)
    with pytest.raises(SpecError) as caught:
        load_phase(str(file))
    mistakes = caught.value.mistakes
    assert {mistake.split(":")[0] for mistake in mistakes} == {
        "tables[0].rowz",
        "targets.replica.role",
        "tables[1].columns[0].type",
        "routes[0].table[0]",
        "tables[0].columns[0].not_null",
    }
    assert len(mistakes) == 5
    lines = str(caught.value).splitlines()
    assert lines[0] == f"The phase file {file} has 5 mistakes:"
    assert [line.split(".")[0].strip() for line in lines[1:6]] == ["1", "2", "3", "4", "5"]
    assert lines[6] == "Correct the file and run the command again."


def test_an_empty_file_lacks_every_required_key(write: Write) -> None:
    lacking = {mistake.split(":")[0] for mistake in mistakes_of(write(""))}
    assert lacking == {
        *("spec_version", "id", "title", "objective", "targets", "owners"),
        *("tables", "backup", "baseline", "migration"),
    }


def test_a_syntax_error_has_its_line_and_column(write: Write) -> None:
    with pytest.raises(SpecError, match=r"is no valid TOML: .*\(at line 2, column 6\)") as caught:
        load_phase(str(write("spec_version = 1\nid = SMALL\n")))
    assert caught.value.mistakes == ()


def test_a_file_that_is_not_utf_8_is_refused_with_its_line(write: Write) -> None:
    file = write(SMALL)
    file.write_bytes(SMALL.replace("Écran", "Ecran").encode() + "# é".encode("latin-1"))
    with pytest.raises(SpecError, match=rf"is not UTF-8 \(line {SMALL.count(chr(10)) + 1}\)"):
        load_phase(str(file))


@pytest.mark.parametrize(
    ("ref", "near"), [(PH15.lower(), f"Did you mean {PH15}? "), ("/nowhere/phase.toml", "")]
)
def test_an_unknown_phase_lists_the_shipped_ids(ref: str, near: str) -> None:
    with pytest.raises(SpecError, match="There is no phase") as caught:
        load_phase(ref)
    assert (
        caught.value.what_to_do
        == f"{near}Shipped are: {', '.join(shipped_ids())}; runbooks phase new FOLDER begins one."
    )


def test_an_endless_path_is_refused_in_a_short_sentence() -> None:
    with pytest.raises(SpecError) as caught:
        load_phase("x" * 5_000)
    assert len(str(caught.value)) < 400


@pytest.mark.skipif(not Path("/proc/self/mem").exists(), reason="needs a file that even root cannot read")
def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    (tmp_path / "phase.toml").symlink_to("/proc/self/mem")
    with pytest.raises(SpecError, match=r"phase\.toml cannot be read: Input/output error"):
        load_phase(str(tmp_path))


def test_a_folder_or_file_behind_a_link_keeps_its_id(write: Write, tmp_path: Path) -> None:
    file = write(SMALL)
    (tmp_path / "current").symlink_to(file.parent)
    assert load_phase(str(tmp_path / "current")).id == "SMALL"
    file.rename(tmp_path / "elsewhere.toml")
    file.symlink_to(tmp_path / "elsewhere.toml")
    assert load_phase(str(file)).folder == file.parent.resolve()


def test_a_folder_without_phase_toml_is_no_phase(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match="There is no phase"):
        load_phase(str(tmp_path))


@settings(deadline=None, max_examples=60)
@given(data=st.data())
def test_any_value_in_any_place_is_read_or_refused_with_its_path(
    data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Whatever stands where: a phase or a SpecError with paths, no other exception."""
    lines = SMALL.splitlines()
    number = data.draw(st.sampled_from([n for n, line in enumerate(lines) if re.match(r"\w+ = ", line)]))
    value = data.draw(
        st.sampled_from(["1", "1.5", '""', '"x"', "[]", "[[]]", "[1]", "{}", "true", "{ a = {} }"])
    )
    lines[number] = f"{lines[number].split(' = ')[0]} = {value}"
    if lines[number + 1 :] and lines[number + 1].startswith("  {"):
        lines[number + 1 : lines.index("]", number) + 1] = []
    file = write_small(tmp_path_factory.mktemp("phase"), "\n".join(lines))
    try:
        mistakes = () if isinstance(load_phase(str(file)), Phase) else ("no phase",)
    except SpecError as error:
        mistakes = error.mistakes or ("no mistake named",)
    assert all(re.match(r'[\w."\[\]-]+: .+; .+', mistake) for mistake in mistakes), mistakes


# -- the shipped phase ------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def ph15() -> Phase:
    return load_phase(PH15)


def test_the_phase_is_shipped(ph15: Phase) -> None:
    assert PH15 in shipped_ids()
    assert ph15.id == ph15.folder.name == PH15
    used = {field.name for field in fields(ph15) if getattr(ph15, field.name)}
    assert {field.name for field in fields(ph15)} == used


def test_ph15_is_read_from_any_place(ph15: Phase, tmp_path: Path) -> None:
    copy = shutil.copytree(ph15.folder, tmp_path / PH15)
    assert load_phase(str(copy)).digest == ph15.digest
    shutil.move(copy, tmp_path / "OTHER")
    assert mistakes_of(tmp_path / "OTHER") == (f'id: is "{PH15}", but the folder is "OTHER"; they are equal',)


def test_ph15_targets(ph15: Phase) -> None:
    assert {(t.name, t.service, t.role.value, t.database, t.data) for t in ph15.targets.values()} == {
        ("leader", "keybuzz_leader", "primary", "keybuzz_backend", True),
        ("replica", "keybuzz_replica", "standby", "keybuzz_backend", True),
        ("legacy", "keybuzz_legacy", "primary", "keybuzz", False),
    }
    assert ph15.targets["replica"].primary == "leader"


def test_ph15_tables_and_enums(ph15: Phase) -> None:
    assert [(table.name, table.rows) for table in ph15.tables] == [
        ("public.MarketplaceConnection", 2),
        ("public.OAuthState", 5),
        ("public.inbound_connections", 2),
        ("public.inbound_addresses", 5),
        ("public.MarketplaceSyncState", 0),
    ]
    assert {owned.owner for owned in (*ph15.tables, *ph15.enums)} == {ph15.owner} == {"kb_backend"}
    assert [(enum.name, " ".join(enum.labels)) for enum in ph15.enums] == [
        ("public.MarketplaceType", "AMAZON FNAC CDISCOUNT OTHER"),
        ("public.MarketplaceConnectionStatus", "PENDING CONNECTED ERROR DISABLED"),
        ("public.InboundConnectionStatus", "DRAFT WAITING_EMAIL WAITING_AMAZON READY DEGRADED ERROR"),
        ("public.InboundValidationStatus", "PENDING VALIDATED FAILED"),
    ]


def test_ph15_indexes(ph15: Phase) -> None:
    assert [index.name.removeprefix("public.") for index in ph15.indexes] == [
        "marketplace_connections_tenantId_type_idx",
        "inbound_connections_tenantId_marketplace_key",
        "inbound_connections_status_idx",
        "inbound_addresses_tenantId_marketplace_country_key",
        "inbound_addresses_validationStatus_lastInboundAt_idx",
        "inbound_addresses_pipelineStatus_marketplaceStatus_idx",
        "oauth_states_state_key",
        "oauth_states_state_idx",
        "oauth_states_tenantId_idx",
        "oauth_states_connectionId_idx",
        "oauth_states_expiresAt_idx",
    ]
    assert [index.name for index in ph15.indexes if index.unique] == ["public.oauth_states_state_key"]


def test_ph15_actions(ph15: Phase) -> None:
    assert ph15.backup.targets == ("leader", "legacy")
    assert ph15.backup.data == ()
    assert (ph15.baseline.file, ph15.baseline.target) == ("baseline.sql", "legacy")
    assert ph15.baseline.published_as == "keybuzz-infra/docs/sql/PH15_AMAZON_BASELINE_TABLES.sql"
    assert (ph15.prisma.settle[0], ph15.prisma.target) == ("20251220235148_add_oauth_state_table", "leader")


def test_ph15_seed_rows(ph15: Phase) -> None:
    seeds = {seeds.table: [tuple(row.values()) for row in seeds.rows] for seeds in ph15.seeds}
    test_dev, kbz = "tenant_test_dev", "kbz_test"
    domain = "@inbound.keybuzz.io"
    assert seeds == {
        "public.inbound_addresses": [
            (test_dev, "AMAZON", "DE", f"amazon.tenant_test_dev.de.97lo14{domain}", "VALIDATED"),
            (test_dev, "AMAZON", "FR", f"amazon.tenant_test_dev.fr.6v8gqm{domain}", "VALIDATED"),
            (test_dev, "AMAZON", "UK", f"amazon.tenant_test_dev.uk.2hpmad{domain}", "VALIDATED"),
            (kbz, "AMAZON", "DE", f"amazon.kbz_test.de.k9m2de{domain}", "VALIDATED"),
            (kbz, "AMAZON", "FR", f"amazon.kbz_test.fr.x7p4fr{domain}", "VALIDATED"),
        ],
        "public.MarketplaceConnection": [
            ("mpc_amazon_tenant_test_dev", test_dev, "AMAZON", "CONNECTED"),
            ("cmjecdiqj0000p0fvgljq171d", kbz, "AMAZON", "CONNECTED"),
        ],
    }
    assert {seeds.tenant for seeds in ph15.seeds} == {"tenantId"}
    assert not any(seeds.allows_others for seeds in ph15.seeds)


def test_ph15_asserts_nothing_that_its_report_does_not_say(ph15: Phase) -> None:
    assert ph15.spec_version == 3
    assert not any(table.columns or table.primary_key for table in ph15.tables)
    assert not any(index.definition or index.table for index in ph15.indexes)
    assert {target.max_lag_bytes for target in ph15.targets.values()} == {None}
    assert ph15.schema.source == "migrations"
    assert [seeds.anywhere for seeds in ph15.seeds] == [("emailAddress",), ()]


def test_ph15_of_version_1_means_what_it_meant(ph15: Phase) -> None:
    """The file as it was before: all of today's, and columns that were guessed."""
    old = load_phase(str(Path(__file__).parents[1] / "phases" / PH15))
    assert old.spec_version == 1
    assert (old.folder / "baseline.sql").read_bytes() == (ph15.folder / "baseline.sql").read_bytes()
    assert [(t.name, t.owner, t.rows) for t in old.tables] == [(t.name, t.owner, t.rows) for t in ph15.tables]
    assert [index.name for index in old.indexes] == [index.name for index in ph15.indexes]
    assert old.indexes[0].definition == (
        'CREATE INDEX "marketplace_connections_tenantId_type_idx" ON public."MarketplaceConnection" '
        'USING btree ("tenantId", type)'
    )
    same = (
        "id",
        "title",
        "objective",
        "owner",
        "enums",
        "backup",
        "prisma",
        "routes",
        "services",
        "files",
    )
    assert ph15.baseline is not None
    assert old.baseline == replace(ph15.baseline, source=None)
    for name in (*same, "background", "next_steps", "route_options", "schema"):
        assert getattr(old, name) == getattr(ph15, name), name


def test_ph15_routes(ph15: Phase) -> None:
    assert [f"{route.method} {route.path}" for route in ph15.routes] == [
        "GET /api/v1/inbound-email/connections",
        "GET /api/v1/marketplaces/amazon/status",
        "POST /api/v1/marketplaces/amazon/oauth/start",
        "GET /api/v1/marketplaces/amazon/oauth/callback",
    ]
    assert {route.services for route in ph15.routes} == {("keybuzz-api", "keybuzz-backend")}
    assert not any(route.blocking for route in ph15.routes)
    assert {table for route in ph15.routes for table in route.table} == {table.name for table in ph15.tables}
    urls = {name: service.url_env for name, service in ph15.services.items()}
    assert urls == {"keybuzz-api": "KEYBUZZ_API_URL", "keybuzz-backend": "KEYBUZZ_BACKEND_URL"}


def test_ph15_checklist_and_texts(ph15: Phase) -> None:
    assert [(item.text.in_("fr"), *item.steps) for item in ph15.checklist] == [
        ("Tables DB existent sur `keybuzz_backend`", "report"),
        ("Enums PostgreSQL créés", "report"),
        ("Prisma migrate status: up to date", "prisma_resolve"),
        ("Données tenant_test_dev présentes", "seed_verification"),
        ("Données kbz_test présentes", "seed_verification"),
        ("Routes API Amazon accessibles", "api_routes"),
        ("Admin UI lit données réelles",),
    ]
    assert [item.manual for item in ph15.checklist] == [False] * 6 + [True]
    assert len(ph15.next_steps) == 3
    assert len(ph15.route_options) == 2
    assert [file.path for file in ph15.files] == [
        "keybuzz-infra/docs/sql/PH15_AMAZON_BASELINE_TABLES.sql",
        "keybuzz-infra/docs/PH15-AMAZON-DB-FOUNDATION-01-REPORT.md",
    ]
    assert ph15.background is not None
    assert "PH-RESTORE" in ph15.background.in_("fr")


# --- seeds in a file ---------------------------------------------------------------------------------------------


def test_a_name_with_a_dot_stands_in_quotes_and_is_told_from_another(write: Write) -> None:
    content = SMALL.replace('"public.Item"', '\'"s.t"."my item"\'')
    content = content.replace('"public.item_colour_idx"', "'\"s.t\".item_colour_idx'")
    content = content.replace('public."Item"', '"s.t"."my item"')
    phase = load_phase(str(write(content)))
    assert phase.tables[0].name == phase.indexes[0].table == phase.seeds[0].table == '"s.t".my item'
    assert parts(phase.tables[0].name) == ("s.t", "my item")
    shelf = content.replace('ON "s.t"."my item"', 'ON s."t.my item"')
    assert mistakes_of(write(shelf)) == (
        'indexes[0].definition: speaks of "s."t.my item""; indexes[0].table is ""s.t".my item"',
    )


IN_A_FILE = changed('rows = [{ id = 1, colour = "RED" }, { id = 2, colour = "GREEN" }]', 'file = "items.csv"')
IN_A_FILE = IN_A_FILE.replace("spec_version = 1", "spec_version = 2")


def write_with_rows(write: Write, rows: str, content: str = IN_A_FILE) -> Path:
    file = write(content)
    (file.parent / "items.csv").write_text(rows, encoding="utf-8")
    return file


def test_seeds_may_stand_in_a_file_which_the_digest_covers(write: Write) -> None:
    file = write_with_rows(write, "id,colour\n1,RED\n")
    phase = load_phase(str(file))
    assert (phase.seeds[0].file, phase.seeds[0].rows) == ("items.csv", ())
    (file.parent / "items.csv").write_text("id,colour\n1,GREEN\n", encoding="utf-8")
    assert load_phase(str(file)).digest != phase.digest


@pytest.mark.parametrize(
    ("old", "new", "rows", "expected"),
    [
        ("", "", None, "seeds[0].file: is \"items.csv\": The file"),
        ("", "", "id,colours\n", 'seeds[0].file: names no column of public.Item in its header: "colours"; did you'),
        ("", "", "id,colour\n", 'seeds[0].file: has no row: "items.csv"; declare rows, or leave these seeds out'),
        ("", "", "id\n", 'seeds[0].file: has no column "colour"; key and tenant are columns of the file'),
        ("", "", "id,id\n", "seeds[0].file: is \"items.csv\": The header of items.csv has id twice"),
        ("spec_version = 2", "spec_version = 1", "id,colour\n", "seeds[0].file: is a key of spec_version 2"),
        ("items.csv", "../items.csv", "", "seeds[0].file: is \"../items.csv\"; accepted is the name of a file"),
        ('file = "items.csv"', 'file = "items.csv"\nrows = [{ id = 1, colour = "RED" }]', "id,colour\n",
         "seeds[0].file: is given beside rows; leave out one of them"),
        ('file = "items.csv"', "", "", "seeds[0].rows: is missing; accepted is an array, each entry a table; or file"),
    ],
)  # fmt: skip
def test_a_mistake_about_a_file_of_seeds(
    write: Write, old: str, new: str, rows: str | None, expected: str
) -> None:
    file = write(IN_A_FILE.replace(old, new, 1))
    if rows is not None:
        (file.parent / "items.csv").write_text(rows, encoding="utf-8")
    assert [m for m in mistakes_of(file) if m.startswith(expected)], mistakes_of(file)


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ('"NULL"', "NULL"),
        ('""', ""),
        ("true", "true"),
        ("1_000", "1000"),
        ("0x1F", "31"),
        ("12345678901234567890.123456789", "12345678901234567890.123456789"),
        ("1.10", "1.10"),
        ("1e-7", "1E-7"),
        ("nan", "NaN"),
        ("-nan", "NaN"),
        ("-inf", "-Infinity"),
        ("2026-01-07", "2026-01-07"),
        ("07:32:00.5", "07:32:00.500000"),
        ("2026-01-07T17:47:59.123456Z", "2026-01-07T17:47:59.123456+00:00"),
        ("2026-01-07 17:47:59", "2026-01-07T17:47:59"),
    ],
)
def test_a_declared_value_becomes_the_text_that_postgresql_reads(
    write: Write, written: str, read: str
) -> None:
    (seeds,) = load_phase(
        str(write(changed('{ id = 1, colour = "RED" }', f"{{ id = 1, colour = {written} }}")))
    ).seeds
    assert as_text(seeds.rows[0]["colour"]) == read
