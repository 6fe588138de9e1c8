"""Names are told apart and read back, whatever characters they hold."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runbooks_lib.names import parts, qualified

ANY = st.lists(st.text("as.\"' é", max_size=5), min_size=1, max_size=3)


@pytest.mark.parametrize(
    ("given", "name"),
    [
        (("public", "OAuthState"), "public.OAuthState"),
        (("s.t", "u"), '"s.t".u'),
        (("s", "t.u"), 's."t.u"'),
        (("s", 'a"b'), 's."a""b"'),
        (("s", ""), 's.""'),
        (("s", "two words"), "s.two words"),
        (("s", "t", "c.d"), 's.t."c.d"'),
    ],
)
def test_only_what_needs_quotes_is_quoted(given: tuple[str, ...], name: str) -> None:
    assert qualified(*given) == name
    assert parts(name) == given


@given(one=ANY, other=ANY)
def test_names_are_equal_when_their_parts_are(one: list[str], other: list[str]) -> None:
    assert parts(qualified(*one)) == tuple(one)
    assert (qualified(*one) == qualified(*other)) is (one == other)


@pytest.mark.parametrize("text", ["", ".", "a.", ".a", 'a"b', '"a', '"a"b', '"a"".b', "a..b"])
def test_what_is_no_name_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is no name"):
        parts(text)
