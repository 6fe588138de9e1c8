"""What Prisma's command line said, and what of it can be compared with what we have read ourselves."""

from __future__ import annotations

import re
from dataclasses import dataclass

from runbooks_lib.facts.writing import Said

UP_TO_DATE = "Database schema is up to date!"

_ANSI = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\))")
_CODE = re.compile(r"\bError(?: code)?:?\s+(P\d{4})\b")
_DATASOURCE = re.compile(r'Datasource "[^"]*": PostgreSQL database "(.*?)", schemas? "(.*?)" at "(.*?)"')
_COUNT = re.compile(r"^(\d+|No) migrations? found in ", re.MULTILINE)
_LISTS = {
    "pending": re.compile(r" have not yet been applied:\n(.*?)(?:\n\n|\Z)", re.DOTALL),
    "failed": re.compile(r"^Following migrations? have failed:\n(.*?)(?:\n\n|\Z)", re.DOTALL | re.MULTILINE),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Datasource:
    """Where Prisma says it works: the database, the schemas as it prints them, and host:port."""

    database: str
    schemas: str
    server: str


class CliResult(Said):
    """One run of Prisma's command line, and what its words mean."""

    @property
    def up_to_date(self) -> bool:
        """Return whether Prisma said so; by its own standards, which are milder than ours."""
        return self.exit_code == 0 and UP_TO_DATE in self.output

    @property
    def migrations(self) -> int | None:
        """Return how many migrations Prisma found in the folder; None where it did not get so far."""
        found = _COUNT.search(self.output)
        return None if found is None else 0 if found[1] == "No" else int(found[1])

    def listed(self, what: str) -> tuple[str, ...]:
        """Return the names that Prisma lists as `pending` or as `failed`, in its order."""
        found = _LISTS[what].search(self.output)
        return tuple(found[1].splitlines()) if found else ()

    @property
    def lines(self) -> tuple[str, ...]:
        """Return the lines of the output that are not empty."""
        return tuple(line.strip() for line in self.output.splitlines() if line.strip())

    @property
    def last_words(self) -> str:
        """Return the three lines that say what is wrong: from the first with an error on, or else the last ones."""
        lines = self.lines
        begin = next((n for n, line in enumerate(lines) if "Error" in line), max(0, len(lines) - 3))
        return " ".join(lines[begin : begin + 3]) or "Prisma said nothing."


def plain(raw: str) -> str:
    """Return what was printed, without colours."""
    return _ANSI.sub("", raw).strip()


def error_code(output: str) -> str | None:
    """Return Prisma's own code of an error, such as P3008."""
    found = _CODE.search(output)
    return found[1] if found else None


def datasource(output: str) -> Datasource | None:
    """Return where Prisma says it works; None where it did not get so far."""
    found = _DATASOURCE.search(output)
    return Datasource(database=found[1], schemas=found[2], server=found[3]) if found else None
