"""Seed rows in a file beside phase.toml: CSV as PostgreSQL's COPY writes and reads it, or TSV by the same rules.

The header names the columns. An empty value without quotes is NULL, with quotes the empty text. Files may have
millions of rows: nothing here holds more than one of them, but for the sorted copy, which is made on disk.

Source: https://www.postgresql.org/docs/current/sql-copy.html
"""

from __future__ import annotations

import codecs
import hashlib
import heapq
import re
import tempfile
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from functools import cached_property
from io import BufferedReader
from itertools import chain, islice
from pathlib import Path
from typing import Any

from runbooks_lib.errors import SpecError
from runbooks_lib.given import open_given

SORTED_IN_MEMORY = 100_000  # rows
BLOCK = 2**20  # bytes
LONGEST_RECORD = 64 * 2**20  # bytes: beyond that, a quote was not closed

Fields = list[str | None]
Key = Callable[[bytes], Any]


@dataclass(frozen=True)
class SeedFile:
    """A file of seed rows. Every method raises SpecError when the file is not what it should be."""

    path: Path

    @cached_property
    def separator(self) -> bytes:
        """Return the byte between two values: a tab in .tsv files, else a comma."""
        return b"\t" if self.path.suffix.lower() == ".tsv" else b","

    @cached_property
    def columns(self) -> tuple[str, ...]:
        """Return the names in the header."""
        with self._open() as file:
            header = next(records_of(file), b"").removeprefix(codecs.BOM_UTF8)
        if header.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
            raise SpecError(f"{self.path.name} is UTF-16.", "Save it as UTF-8.")
        header = header.removesuffix(b"\n").removesuffix(b"\r") + b"\n"
        names = self.parse(header)
        columns = tuple(name for name in names if name)
        if len(set(columns)) != len(names):
            twice = next((name for name in columns if columns.count(name) > 1), None)
            what = f"{twice} twice" if twice else "a column without a name"
            raise SpecError(
                f"The header of {self.path.name} has {what}: {_shown(header)}",
                "The first line names the columns of the table, each once.",
            )
        if len(columns) == 1 and (other := next((c for c in ";\t|," if c in columns[0]), None)):
            raise SpecError(
                f"The header of {self.path.name} is one name that holds {other!r}: {_shown(header)}",
                f"Values of a {self.path.suffix} file stand between {self.separator.decode()!r}: write it so.",
            )
        return columns

    def digest(self) -> str:
        """Return the SHA-256 (hex) of the file."""
        with self._open() as file:
            return hashlib.file_digest(file, "sha256").hexdigest()

    def records(self) -> Iterator[bytes]:
        """Yield each row as it stands, ended by a line feed; line ends within quotes belong to the row."""
        return chain.from_iterable(self._blocks())

    def sorted_records(self, key: Key, folder: Path) -> Iterator[bytes]:
        """Yield each row in the order of `key`, by way of sorted parts of the file in `folder`."""
        return sorted_records(self.records(), key, folder)

    def values_of(self, column: str) -> Counter[str | None]:
        """Return each value of a column and how many rows have it."""
        place, separator = self.columns.index(column), self.separator
        plain: Counter[bytes] = Counter()
        found: Counter[str | None] = Counter()
        for block in self._blocks():
            try:
                if b'"' in b"".join(block):
                    found.update([self.parse(record)[place] for record in block])
                else:
                    plain.update([record.split(separator, place + 1)[place] for record in block])
            except IndexError:
                for record in block:
                    self.row(record)  # says what is wrong
                raise
        for raw, rows in plain.items():
            found[self._text(raw.rstrip(b"\n")) or None] += rows
        return found

    def parse(self, record: bytes) -> Fields:
        """Return the values of a row; None is NULL."""
        fields: Fields = []
        position = 0
        while position < len(record):
            match = _FIELDS[self.separator].match(record, position)
            if match is None:
                raise SpecError(
                    f"{self.path.name} has a row that is no CSV: {_shown(record)}",
                    "A value that holds a quote, the separator or a line end stands in quotes, its quotes doubled: "
                    "COPY … TO … WITH (FORMAT csv, HEADER) writes such files.",
                )
            quoted, plain, end = match.groups()
            if quoted is not None:
                fields.append(self._text(quoted.replace(b'""', b'"')))
            else:
                fields.append(self._text(plain) if plain else None)
            position = match.end()
            if end == b"\n":
                break
        return fields

    def row(self, record: bytes) -> dict[str, str | None]:
        """Return the values of a row by the names of their columns."""
        fields = self.parse(record)
        if len(fields) != len(self.columns):
            raise SpecError(
                f"{self.path.name} has a row of {len(fields)} values under a header of {len(self.columns)}: "
                f"{_shown(record)}",
                "Each row has as many values as the header has names.",
            )
        return dict(zip(self.columns, fields, strict=True))

    def record(self, fields: Fields) -> bytes:
        """Return values as a row of the file, as COPY writes it."""
        return self.separator.join(map(_written, fields)) + b"\n"

    def _blocks(self) -> Iterator[list[bytes]]:
        """Yield the rows after the header, many at a time: what happens once a block costs nothing for a row."""
        with self._open() as file:
            next(records_of(file), b"")  # the header
            while lines := file.readlines(BLOCK):
                block = b"".join(lines)
                if b'"' in block:
                    lines = list(records_of(lines, file))
                if b"\r" in block or not block.endswith(b"\n"):
                    lines = [line.removesuffix(b"\n").removesuffix(b"\r") + b"\n" for line in lines]
                yield lines

    def _open(self) -> BufferedReader:
        try:
            return open_given(self.path)
        except OSError as error:
            raise SpecError(
                f"The file {self.path} cannot be read: {error.strerror}.", "Make it readable for this user."
            ) from error

    def _text(self, raw: bytes) -> str:
        if b"\0" in raw:
            raise SpecError(f"{self.path.name} holds a NUL character: {_shown(raw)!r}", "Take it out.")
        try:
            return raw.decode("utf-8")
        except UnicodeDecodeError as error:
            raise SpecError(f"{self.path.name} is not UTF-8: {_shown(raw)}", "Save it as UTF-8.") from error


def sorted_records(records: Iterator[bytes], key: Key, folder: Path) -> Iterator[bytes]:
    """Yield rows in the order of `key`, by way of sorted parts in `folder`; its files are ours to name."""
    parts: list[Path] = []
    while part := sorted(islice(records, SORTED_IN_MEMORY), key=key):
        descriptor, name = tempfile.mkstemp(dir=folder)
        with open(descriptor, "wb") as file:
            file.writelines(part)
        parts.append(Path(name))
    with ExitStack() as stack:
        files = [stack.enter_context(part.open("rb")) for part in parts]
        yield from heapq.merge(*map(records_of, files), key=key)


def records_of(lines: Iterable[bytes], more: Iterable[bytes] = ()) -> Iterator[bytes]:
    """Yield the rows of which these are the lines: a line each, and several where a line end stands within quotes.

    The last row is completed from `more`. Raises SpecError when a quote is not closed.
    """
    lines = iter(lines)
    for line in lines:
        yield line if b'"' not in line or line.count(b'"') % 2 == 0 else _whole(line, chain(lines, more))


def _whole(line: bytes, lines: Iterator[bytes]) -> bytes:
    parts, size = [line], len(line)
    for more in lines:
        parts.append(more)
        size += len(more)
        if more.count(b'"') % 2:
            return b"".join(parts)
        if size > LONGEST_RECORD:
            break
    raise SpecError(
        f"There is a quote that is not closed: {_shown(line)}", "Close it, or double it within quotes."
    )


_FIELDS = {
    separator: re.compile(rb'(?:"((?:[^"]|"")*)"|([^"\n' + separator + rb"]*))(" + separator + rb"|\n)")
    for separator in (b",", b"\t")
}


def _written(text: str | None) -> bytes:
    if text is None:
        return b""
    quoted = text == "" or text == "\\." or any(c in text for c in '",\n\r\t')
    return ('"' + text.replace('"', '""') + '"' if quoted else text).encode()


def _shown(record: bytes) -> str:
    return record[:100].decode("utf-8", "replace").rstrip("\n")
