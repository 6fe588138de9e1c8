"""HTML of an output, reduced to what our tables are made of: whatever else is in it becomes text, or is left out."""

from __future__ import annotations

from html import escape
from html.parser import HTMLParser

from runbooks_lib.report.templates import breakable
from runbooks_lib.visible import visible_lines

_TABLE = frozenset(("table", "thead", "tbody", "tr", "th", "td"))
_KEPT = _TABLE | frozenset(("p", "b", "strong", "em", "code", "pre", "br", "ul", "ol", "li"))
_LEFT_OUT = frozenset(("style", "script", "template", "title"))  # with what is in them


def cleaned(html: str) -> str:
    """Return only the text and the plain elements of some HTML, without attributes and with the text escaped.

    Long names in tables may be broken over lines: they would make the page wider than the window.
    The result is built of our own tags: no script, link, picture or style of the input can be in it.
    """
    cleaner = _Cleaner()
    cleaner.feed(html)
    cleaner.close()
    return "".join(cleaner.parts)


class _Cleaner(HTMLParser):
    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.parts: list[str] = []
        self._inside: str | None = None

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if self._inside is None and tag in _LEFT_OUT:
            self._inside = tag
        elif self._inside is None and tag in _KEPT:
            self.parts.append(f"<{tag}>")

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if self._inside is None and tag == "br":
            self.parts.append("<br>")

    def handle_endtag(self, tag: str) -> None:
        if tag == self._inside:
            self._inside = None
        elif self._inside is None and tag in _KEPT and tag != "br":
            self.parts.append(f"</{tag}>")

    def handle_data(self, data: str) -> None:
        if self._inside is None:
            in_table = self.parts and self.parts[-1] in ("<td>", "<th>")
            self.parts.append(str(breakable(data)) if in_table else escape(visible_lines(data), quote=False))
