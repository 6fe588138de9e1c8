"""Files of seed rows: CSV as COPY has it, whatever stands in the values; what is no such file is named."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from runbooks_lib.errors import SpecError
from runbooks_lib.phase import seed_file
from runbooks_lib.phase.seed_file import SeedFile


def written(folder: Path, content: str | bytes, name: str = "rows.csv") -> SeedFile:
    path = folder / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return SeedFile(path)


def rows(file: SeedFile) -> list[dict[str, str | None]]:
    return [file.row(record) for record in file.records()]


def test_nulls_and_empty_texts_differ(tmp_path: Path) -> None:
    file = written(tmp_path, 'id,label\n1,\n2,""\n3,NULL\n')
    assert file.columns == ("id", "label")
    assert [row["label"] for row in rows(file)] == [None, "", "NULL"]


@pytest.mark.parametrize(
    "content",
    [
        b'a,b\n1,"x ""y"", z\nw"\n2,c\n',
        b'a,b\r\n1,"x ""y"", z\nw"\r\n2,c\r\n',
        b'\xef\xbb\xbfa,b\n1,"x ""y"", z\nw"\n2,c',
        b'"a","b"\n"1","x ""y"", z\nw"\n"2","c"\n',
    ],
    ids=["LF", "CRLF", "mark, no end", "all quoted"],
)
def test_other_ways_to_write_the_same(tmp_path: Path, content: bytes) -> None:
    file = written(tmp_path, content)
    assert file.columns == ("a", "b")
    assert rows(file) == [{"a": "1", "b": 'x "y", z\nw'}, {"a": "2", "b": "c"}]


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be"])
def test_utf_16_is_named(tmp_path: Path, encoding: str) -> None:
    with pytest.raises(SpecError, match=r"rows\.csv is UTF-16"):
        _ = written(tmp_path, "\ufeffa,b\n1,x\n".encode(encoding)).columns


def test_a_header_may_hold_a_line_end(tmp_path: Path) -> None:
    file = written(tmp_path, '"a\nb",c\r\n1,"2\r\n3"\r\n')
    assert rows(file) == [{"a\nb": "1", "c": "2\r\n3"}]


def test_what_is_no_regular_file_is_not_opened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "rows.csv")
    with pytest.raises(SpecError, match="no ordinary file"):
        _ = SeedFile(tmp_path / "rows.csv").columns


def test_tabs(tmp_path: Path) -> None:
    assert rows(written(tmp_path, 'a\tb\nx,y\t"p\tq"\n', "rows.tsv")) == [{"a": "x,y", "b": "p\tq"}]


def test_no_rows(tmp_path: Path) -> None:
    assert rows(written(tmp_path, "a,b\n")) == rows(written(tmp_path, "a,b")) == []


def copied(value: str | None) -> str:
    """Return a value as COPY writes it."""
    if value is None:
        return ""
    return '"' + value.replace('"', '""') + '"' if not value or set(value) & set('",\n\r') else value


texts = st.none() | st.text(st.characters(exclude_characters="\0", exclude_categories=("Cs",)), max_size=12)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60, deadline=None)
@given(st.lists(st.tuples(texts, texts), max_size=6))
def test_whatever_copy_writes_is_read(tmp_path: Path, values: list[tuple[str | None, str | None]]) -> None:
    lines = "".join(f"{copied(a)},{copied(b)}\n" for a, b in values)
    found = rows(written(tmp_path, "a,b\n" + lines))
    assert found == [{"a": a, "b": b} for a, b in values]


def test_rows_are_sorted_on_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(seed_file, "SORTED_IN_MEMORY", 2)
    file = written(tmp_path, "k,v\n" + "".join(f'{k},"a\n{k}"\n' for k in (5, 3, 9, 1, 7)))
    (tmp_path / "parts").mkdir()
    found = file.sorted_records(lambda record: file.row(record)["k"], tmp_path / "parts")
    assert [file.row(record)["v"] for record in found] == [f"a\n{k}" for k in (1, 3, 5, 7, 9)]


def test_values_of_a_column(tmp_path: Path) -> None:
    file = written(tmp_path, 'k,t\n1,a\n2,"a"\n3,\n4,""\n5,b\n')
    assert file.values_of("t") == {"a": 2, None: 1, "": 1, "b": 1}
    assert file.values_of("k") == dict.fromkeys("12345", 1)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("a,b\n1\n", "has a row of 1 values under a header of 2: 1"),
        ("a,b\n1,2,3\n", "has a row of 3 values"),
        ('a,b\n1,x"y"\n', 'is no CSV: 1,x"y"'),
        ('a,b\n1,"x\n2,y\n', 'a quote that is not closed: 1,"x'),
        (b"a,b\n1,\xff\n", "is not UTF-8"),
        ("a,b\n1,x\0y\n", "holds a NUL character"),
        ("a;b\n1;x\n", "is one name that holds ';': a;b"),
        ("a,b,a\n1,2,3\n", "has a twice: a,b,a"),
        ("a,b\n1,2\n\n", "has a row of 1 values under a header of 2"),
    ],
)
def test_what_is_no_such_file_is_named(tmp_path: Path, content: str | bytes, said: str) -> None:
    with pytest.raises(SpecError, match=said):
        rows(written(tmp_path, content))


@pytest.mark.parametrize("header", ["a,a\n", "a,\n", "\n", ""])
def test_a_header_names_each_column_once(tmp_path: Path, header: str) -> None:
    with pytest.raises(SpecError, match="header"):
        _ = written(tmp_path, header).columns


def test_a_row_that_is_too_short_for_its_tenant(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match="a row of 1 values"):
        written(tmp_path, "k,t\n1\n").values_of("t")


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match="cannot be read"):
        SeedFile(tmp_path / "gone.csv").digest()
