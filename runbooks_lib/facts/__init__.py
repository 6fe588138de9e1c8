"""The facts of every question, as the report and later steps read them: one type for each question that has some."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from runbooks_lib.facts import contents, databases, writing
from runbooks_lib.facts.base import Facts

# By step and question.
FACTS: Mapping[tuple[str, str], type[Facts]] = MappingProxyType(
    {
        kind.QUESTION: kind
        for module in (databases, writing, contents)
        for kind in vars(module).values()
        if isinstance(kind, type) and issubclass(kind, Facts) and "QUESTION" in vars(kind)
    }
)
