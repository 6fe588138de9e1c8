"""Markdown that a value from a database cannot break: everything is escaped unless it is marked as Markdown."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence

from runbooks_lib.visible import visible

NOTHING = "—"
_SPECIAL = re.compile(r"[\\*{}\[\]|#~$]|(?<![^\W_])_|_(?![^\W_])")  # an underscore within a word is none
_ENTITIES = str.maketrans(
    {"&": "&amp;", "<": "&lt;", ">": "&gt;", "`": "&#96;"}
)  # no code begins by accident
_CODE_SPAN = re.compile(r"`([^`\n]+)`")
_LINE_END = re.compile(r"[\r\n\t\u2028\u2029]")
_NUMBER = re.compile(r"\d+")


class Markdown(str):
    """Text that is Markdown already and is not escaped again."""

    __slots__ = ()

    def __html__(self) -> str:
        """Tell Jinja2 that nothing is left to be escaped."""
        return self


def one_line(value: object) -> str:
    """Return a value as text of one line, in which every character is seen."""
    return visible(_LINE_END.sub(" ", str(value)))


def escaped(value: object) -> Markdown:
    """Return a value so that Markdown, HTML, tables and formulas show it as it is. None is a dash."""
    if hasattr(value, "__html__"):  # Markdown, or what a macro of the template returned
        return Markdown(value)
    if value is None:
        return Markdown(NOTHING)
    return Markdown(_SPECIAL.sub(r"\\\g<0>", one_line(value)).translate(_ENTITIES))


def code(value: object) -> Markdown:
    """Return a value as a code span; plainly escaped where a span, or a table around it, could not hold it."""
    text = one_line(NOTHING if value is None else value).strip()
    if text in ("", NOTHING) or "`" in text or "|" in text:
        return escaped(text or NOTHING)
    return Markdown(f"`{text}`")


def sentence(text: str) -> Markdown:
    """Return a text of ours with what it has between backticks as code."""
    pieces = text.split("`")
    paired = len(pieces) % 2
    return (
        Markdown("".join((escaped, code)[n % 2](piece) for n, piece in enumerate(pieces)))
        if paired
        else escaped(text)
    )


def codes(values: Iterable[object]) -> Markdown:
    """Return values as code spans, separated by commas; a dash when there are none."""
    return Markdown(", ".join(code(value) for value in values) or NOTHING)


def authored(text: str) -> Markdown:
    """Return a text of the phase file, whose author may use Markdown, but neither HTML nor table cells."""
    return Markdown(one_line(text).strip().replace("<", "&lt;").replace("|", r"\|"))


def short(name: str) -> str:
    """Return a relation's name without the schema, where that is public."""
    return name.removeprefix("public.")


def formatted(message: str, variables: Mapping[str, object]) -> Markdown:
    """Return a message of the catalogue, which is Markdown, with its variables escaped."""
    return Markdown(message % {name: escaped(value) for name, value in variables.items()})


def headings(text: str) -> tuple[str, ...]:
    """Return the titles of a document's sections, in order."""
    return tuple(line[3:] for fenced, line in _lines(text) if not fenced and line.startswith("## "))


def slug(title: str) -> str:
    """Return the address of a section within its document, as GitHub makes it of the title."""
    return re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-")


def figures(text: str, left_out: Sequence[str]) -> Counter[str]:
    """Return what a document says irrespective of its language, and how often: code, and numbers in its prose.

    `left_out` are the passages that each language words for itself, once for each time that they were printed.
    """
    lines = list(_lines(text))
    for passage in sorted(left_out, key=len, reverse=True):
        _leave_out(lines, passage)
    found: Counter[str] = Counter()
    for fenced, line in lines:
        if fenced:
            found[line] += 1
        else:
            found.update(_CODE_SPAN.findall(line))
            found.update(_NUMBER.findall(_CODE_SPAN.sub(" ", line)))
    return found


def _leave_out(lines: list[tuple[bool, str]], passage: str) -> None:
    """Take a passage out where it first stands by itself: in no code, and in no longer word or number."""
    first, last = (r"(?<!\w)" if passage[:1].isalnum() else ""), (r"(?!\w)" if passage[-1:].isalnum() else "")
    alone = re.compile(f"{first}{re.escape(passage)}{last}")
    for number, (fenced, line) in enumerate(lines):
        if fenced or passage not in line:
            continue
        spans = [span.span() for span in _CODE_SPAN.finditer(line)]
        for found in alone.finditer(line):
            if not any(begin < found.start() < end for begin, end in spans):
                lines[number] = fenced, f"{line[: found.start()]} {line[found.end() :]}"
                return


def _lines(text: str) -> Iterator[tuple[bool, str]]:
    """Yield each line, and whether it stands in a fenced block; the fences themselves are left out."""
    fenced = False
    for line in text.splitlines():
        if line.startswith("```"):
            fenced = not fenced
        else:
            yield fenced, line
