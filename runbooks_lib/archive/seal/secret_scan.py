"""The last look before the seal: does any file of a run hold a secret that we can know?"""

from __future__ import annotations

import gzip
import html
import json
import os
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, BinaryIO
from urllib.parse import unquote

from runbooks_lib.archive import reader
from runbooks_lib.archive.manifest import names
from runbooks_lib.archive.masking.forms import squeezed
from runbooks_lib.archive.masking.mask import MASK, holds, redact
from runbooks_lib.archive.masking.sources import known_secrets
from runbooks_lib.archive.run import Run
from runbooks_lib.errors import EvidenceError

CHUNK_BYTES = 4 << 20
OVERLAP_CHARACTERS = 4096
SHORTEST_STRONG = (
    8  # a shorter one of letters and digits only is looked for as a word: any digest may contain it
)
_GZIP = b"\x1f\x8b"
_CODE_POINT = re.compile(r"\\+(?:u([0-9a-fA-F]{4})|x([0-9a-fA-F]{2}))")


def scan(run: Run) -> None:
    """Look for every secret that can be known, in every form, in every file of a run, and in the files' names.

    One that is an ordinary word is not looked for: whoever runs this is warned of it.
    Raises EvidenceError with the file's name and where the secret comes from; the secret itself is not in it.
    """
    sources = dict(known_secrets().strong)
    found = sorted({(name, source) for name in names(run.path) for source in _found(run.path, name, sources)})
    if found:
        said = "; ".join(f"{redact(name)} holds that of {source}" for name, source in found)
        raise EvidenceError(
            f"The run is not sealed, since secrets stand in its folder {run.path}: {said}.",
            "Delete the folder, or the file; find what wrote it there, and change the secret. One that is the name of "
            "something in the database cannot be told from that name: choose a better one.",
        )


def _found(folder: Path, name: str, sources: dict[str, str]) -> Iterator[str]:
    left = dict(sources)
    for text, words in _texts(folder, name):
        layers = _layers(text)
        for secret in [secret for secret in left if _stands_in(layers, words, secret)]:
            yield left.pop(secret)


def _stands_in(layers: Iterable[tuple[str, bytes]], words: str, secret: str) -> bool:
    """Tell whether a secret is in a text; a weak one must be a word, and of JSON only the strings count."""
    if secret == MASK:
        return False
    if len(secret) < SHORTEST_STRONG and secret.isalnum():
        return re.search(rf"(?<![\w.-]){re.escape(secret)}(?![\w-])", words) is not None
    return any(holds(text, small, secret) for text, small in layers)


def _layers(text: str) -> list[tuple[str, bytes]]:
    """Return the text as it is and with one and two layers of escaping taken off, each with itself squeezed."""
    once = _decoded(text)
    return [(each, squeezed(each)) for each in dict.fromkeys((text, once, _decoded(once)))]


def _decoded(text: str) -> str:
    """Return the text with one layer of HTML's, URLs' and JSON's escaping taken off."""
    plain = html.unescape(text) if "&" in text else text
    plain = unquote(plain) if "%" in plain else plain
    return _CODE_POINT.sub(lambda m: chr(int(m[1] or m[2], 16)), plain)


def _texts(folder: Path, name: str) -> Iterator[tuple[str, str]]:
    """Yield a file's name and its text, piece by piece, each with the words that count in it."""
    yield name, name
    path = folder / name
    if path.is_symlink():
        yield (target := os.readlink(path)), target
        return
    with reader.opened(folder, name) as raw:
        packed = raw.read(2) == _GZIP
        raw.seek(0)
        if packed:
            with gzip.open(raw) as stream:
                yield from _pieces(stream)
            return
        if path.suffix in (".json", ".ipynb"):
            text = raw.read().decode("utf-8", "replace")
            yield text, _strings(text)
            return
        yield from _pieces(raw)


def _pieces(stream: BinaryIO | gzip.GzipFile) -> Iterator[tuple[str, str]]:
    before = ""
    while octets := stream.read(CHUNK_BYTES):
        text = before + octets.decode("utf-8", "replace")
        yield text, text
        before = text[-OVERLAP_CHARACTERS:]


def _strings(text: str) -> str:
    found: list[str] = []

    def collect(value: Any) -> None:
        if isinstance(value, str):
            found.append(value)
        elif isinstance(value, list):
            for each in value:
                collect(each)
        elif isinstance(value, dict):
            for key, each in value.items():
                found.append(key)
                collect(each)

    try:
        collect(json.loads(text))
    except (ValueError, RecursionError):
        return text
    return "\n".join(found)
