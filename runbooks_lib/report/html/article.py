"""The report's Markdown as HTML, with pictures, links to the evidence, and no markup that came from data."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from urllib.parse import quote, unquote

from markdown_it import MarkdownIt
from markdown_it.token import Token
from markupsafe import Markup, escape

from runbooks_lib.report.markdown import headings, slug

_REFERENCE = re.compile(r"\((\w+(?:, \w+)*) · (\w+(?:, \w+)*)\)")
_BOX = re.compile(r"\[([ x])\] ")
# What is an emoji in Markdown: not every machine has a font for it, and its colours are not for everybody.
_ICONS = {
    **dict.fromkeys(("✅", "🟢"), ("pass", "✔")),
    **dict.fromkeys(("⚠️", "🟠"), ("open", "◌")),
    **dict.fromkeys(("❌", "🔴"), ("fail", "✘")),
    **dict.fromkeys(("⏸️", "➖", "🔵", "🛑"), ("skip", "–")),
}
_CLAIM = "📄"
_ICON = re.compile("|".join(map(re.escape, (*_ICONS, _CLAIM))))
_DECORATION = re.compile(r"^[^\w`]+(?=\S)")
_BREAKABLE = re.compile(r"(?<=[/_.@:,=-])(?=[^\s/_.@:,=-])|(?<=[0-9a-f]{32})(?=[0-9a-f]{32})")
_UNBROKEN = 24  # characters
_LONG = 30  # rows: a longer table is folded
Words = Callable[..., str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Article:
    """A report in one language as HTML, and its sections: their anchors and titles."""

    lang: str
    html: Markup
    sections: tuple[tuple[str, str], ...]


def article(
    text: str,
    lang: str,
    *,
    words: Words,
    files: Iterable[str],
    evidence: Callable[[str, str], str | None],
    pictures: Mapping[str, Markup],
) -> Article:
    """Return the report's Markdown as HTML.

    `words` translates; `files` are the files of the run, which are linked where the text names them; `evidence`
    returns the address of the finding that a step's check left, None when there is none; `pictures` are put
    below the titles that are their keys.
    """
    parser = MarkdownIt("commonmark", {"html": False}).enable("table").disable("image")
    tokens: list[Token] = []
    sections: list[tuple[str, str]] = []
    linked, after = frozenset(files), Markup("")
    addresses = {f"#{slug(title)}": f"#{lang}-{n}" for n, title in enumerate(headings(text), start=1)}
    parsed = parser.parse(text)
    for number, token in enumerate(parsed):
        if token.type == "inline":
            for child in token.children or ():
                if child.type == "link_open" and (within := addresses.get(unquote(str(child.attrs["href"])))):
                    child.attrs["href"] = within
            title = token.content
            if tokens and tokens[-1].type == "heading_open" and token.children:
                token.children[0].content = _DECORATION.sub("", token.children[0].content)
            token.children = _inline(token.children or [], words, linked, evidence)
            if tokens and tokens[-1].type == "heading_open" and tokens[-1].tag == "h2":
                anchor = f"{lang}-{len(sections) + 1}"
                tokens[-1].attrs["id"] = anchor
                sections.append((anchor, title))
        if token.type == "table_open":
            end = next(
                n for n, each in enumerate(parsed[number:], start=number) if each.type == "table_close"
            )
            before, after = _boxed(parsed[number:end], words)
            tokens.append(_html("html_block", before))
        tokens.append(token)
        if token.type == "table_close":
            tokens.append(_html("html_block", after))
        if token.type == "heading_close" and token.tag == "h2" and sections[-1][1] in pictures:
            tokens.append(_html("html_block", pictures[sections[-1][1]]))
    html = Markup(parser.renderer.render(tokens, parser.options, {}))
    return Article(lang=lang, html=html, sections=tuple((a, _DECORATION.sub("", t)) for a, t in sections))


def _boxed(table: list[Token], words: Words) -> tuple[Markup, Markup]:
    """Return what stands before and after a table: a box that scrolls, folded where it is long and all passed."""
    box = Markup('<div class="scroll" tabindex="0" role="group" aria-label="{}">').format(words("Table"))
    rows = sum(token.type == "tr_open" for token in table) - 1  # without the head
    if rows <= _LONG:
        return box, Markup("</div>\n")
    said = "".join(token.content for token in table if token.type == "inline")
    passed = not any(sign in said for sign, (verdict, _) in _ICONS.items() if verdict != "pass")
    fold = Markup('<details class="rows"{}><summary>{}</summary>\n{}')
    summary = words("Table of %(num)s rows", num=rows)
    return fold.format(Markup("" if passed else " open"), summary, box), Markup("</div></details>\n")


def _inline(
    children: list[Token], words: Words, files: frozenset[str], evidence: Callable[[str, str], str | None]
) -> list[Token]:
    found: list[Token] = []
    rest = children
    if rest and rest[0].type == "text" and (box := _BOX.match(rest[0].content)):
        found.append(_box(box[1] == "x", words))
        rest[0].content = rest[0].content[box.end() :]
    while rest:
        token, *rest = rest
        if (
            token.type == "em_open"
            and len(rest) > 1
            and (reference := _REFERENCE.fullmatch(rest[0].content))
            and rest[1].type == "em_close"
        ):
            found.append(_reference(reference[1].split(", "), reference[2].split(", "), evidence))
            rest = rest[2:]
        elif token.type == "code_inline":
            found.append(_code(token.content, files))
        elif token.type == "text":
            found.extend(_icons(token.content, words))
        else:
            found.append(token)
    return found


def _box(ticked: bool, words: Words) -> Token:
    box = Markup('<span class="tick {}" role="img" aria-label="{}">{}</span> ')
    said = words("ticked") if ticked else words("not ticked")
    return _html("html_inline", box.format("yes" if ticked else "no", said, "☑" if ticked else "☐"))


def _reference(steps: list[str], checks: list[str], evidence: Callable[[str, str], str | None]) -> Token:
    """Return a reference with each check linked to what it left in the first of the steps that made it."""

    def linked(check: str) -> Markup:
        address = next(filter(None, (evidence(step, check) for step in steps)), None)
        return Markup('<a href="{}">{}</a>').format(address, check) if address else Markup("{}").format(check)

    said = Markup(", ").join(map(linked, checks))
    return _html("html_inline", Markup('<span class="ref">({} · {})</span>').format(", ".join(steps), said))


def _code(text: str, files: frozenset[str]) -> Token:
    """Return a code span that may be broken where a reader would; the name of a file of the run leads to it."""
    parts = _BREAKABLE.split(text) if len(text) > _UNBROKEN else [text]
    code = Markup("<code>{}</code>").format(Markup("<wbr>").join(map(escape, parts)))
    if text in files:
        code = Markup('<a href="{}">{}</a>').format(quote(text), code)
    return _html("html_inline", code)


def _icons(text: str, words: Words) -> Iterable[Token]:
    """Yield a text with its signs in the style of the page."""
    at = 0
    icon = Markup('<span class="icon v-{}">{}</span>')
    claim = Markup('<span class="claim" role="img" aria-label="{}">§</span>').format(
        words("claim of the phase file")
    )
    for match in _ICON.finditer(text):
        yield _text(text[at : match.start()])
        sign = match[0]
        yield _html("html_inline", claim if sign == _CLAIM else icon.format(*_ICONS[sign]))
        at = match.end()
    yield _text(text[at:])


def _text(content: str) -> Token:
    return Token("text", "", 0, content=content)


def _html(kind: str, content: Markup) -> Token:
    return Token(kind, "", 0, content=str(content))
