"""Rewrites an older phase.toml as one of today's version that means the same; comments and order are kept."""

from __future__ import annotations

import glob
from typing import Any

import tomlkit
from tomlkit.container import Container
from tomlkit.items import DottedKey, InlineTable, Item, SingleKey, Table

from runbooks_lib.phase.model import SPEC_VERSION


def upgraded(text: str) -> str:
    """Return the text of a phase file that `load_phase` reads, in today's version; unchanged if it is that already."""
    document: Any = tomlkit.parse(text)
    if document["spec_version"] < SPEC_VERSION:
        document["spec_version"] = SPEC_VERSION
        for seeds in document.get("seeds", ()):
            if "tenant" not in seeds:
                _append(seeds.value, "exact", tomlkit.item(True))  # until then it was so
    if "migration" in document:
        migration = document["migration"]
        if isinstance(migration, Table | InlineTable):
            _replace(migration.value, "name", "settle", [migration["name"]])
            _replace(document, "migration", "prisma")
        else:  # migration.name = …, migration.target = …: there is no table to be renamed
            prisma = {"target": str(migration["target"]), "settle": [str(migration["name"])]}
            del document["migration"]
            document["prisma"] = prisma
    if "accept" in document:
        for accepted in document["accept"]:
            accepted["object"] = glob.escape(accepted["object"])
        _replace(document, "accept", "schema.ignore")
    return tomlkit.dumps(document)


def _replace(container: Container, old: str, new: str, value: object = None) -> None:
    """Give an entry of a table another key, and another value if there is one; what is written beside it stays."""
    for place, (key, item) in enumerate(container.body):
        if key is None or key.key != old:
            continue
        if isinstance(item, Table):
            item.display_name = None  # the header as it was written
        if value is not None:
            trivia, item = item.trivia, tomlkit.item(value)
            item.trivia.comment_ws, item.trivia.comment = trivia.comment_ws, trivia.comment
            item.trivia.indent, item.trivia.trail = trivia.indent, trivia.trail
        container.body[place] = (_key(new), item)


def _append(container: Container, key: str, item: Item) -> None:
    """Add an entry after the last one; comments below that speak of what follows the table."""
    last = max(place for place, (known, _) in enumerate(container.body) if known is not None)
    item.trivia.trail = "\n"
    container.body.insert(last + 1, (_key(key), item))


def _key(name: str) -> SingleKey | DottedKey:
    keys = [SingleKey(part) for part in name.split(".")]
    return keys[0] if len(keys) == 1 else DottedKey(keys)
