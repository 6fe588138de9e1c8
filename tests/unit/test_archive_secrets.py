"""Secrets: where they are known from, the forms in which they are found, and the last look before the seal."""

from __future__ import annotations

import gzip
import html
import json
import random
import shlex
import time
from base64 import b64encode
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runbooks_lib.archive.masking.forms import forms, squeezed
from runbooks_lib.archive.masking.mask import MASK, Masker, redact, redact_notebook
from runbooks_lib.archive.masking.sources import known_secrets
from runbooks_lib.archive.run import Run
from runbooks_lib.archive.seal.secret_scan import scan
from runbooks_lib.errors import EvidenceError


def secret_sources() -> dict[str, str]:
    known = known_secrets()
    return {**known.strong, **known.weak}


ODD = "p@ss/w:rd'\"$é\\x"
STRONG = "kX8djj2kslqpzmDSJKx1"


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty home, and an empty environment."""
    import os

    for name in list(os.environ):
        if name not in ("PATH", "TMPDIR"):
            monkeypatch.delenv(name)
    folder = tmp_path / "home"
    folder.mkdir()
    monkeypatch.setenv("HOME", str(folder))
    return folder


@pytest.mark.parametrize(
    ("name", "value", "known"),
    [
        ("DATABASE_URL", "postgresql://u:p%40ss%2Fw@h/d", {"p%40ss%2Fw", "p@ss/w"}),
        ("ANY", "see https://x.org and amqp://u:secret-1@h:1/v", {"secret-1"}),
        ("JDBC", "jdbc:postgresql://h/d?user=u&password=secret-2&ssl=1", {"secret-2"}),
        ("PROXY", "http://h:8080/a", set()),
        ("DB_PASSWORD", "secret-3", {"secret-3"}),
        ("MY_API_KEY", "secret-4", {"secret-4"}),
        ("GITHUB_TOKEN", "secret-5", {"secret-5"}),
        ("DB_PASS", "secret-6", {"secret-6"}),
        ("USE_TOKEN", "true", set()),
        ("TOKEN_TTL", "secret-7", set()),
        ("PASSWORD_RETRIES", "3", set()),
        ("PGPASSFILE", "/none/pgpass", set()),
        ("SECRET_FILE", "/none/file", set()),
        ("PWD", "/somewhere", set()),
        (
            "SHOP_HEADERS",
            "Accept: a/b\nAuthorization: Bearer secret-8\nX-Api-Key:secret-9",
            {"Bearer secret-8", "secret-8", "secret-9"},
        ),
        ("MONKEY", "banana", set()),
    ],
    ids=lambda value: "",  # pytest puts a test's id into the environment
)
def test_what_the_environment_tells(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, known: set[str]
) -> None:
    monkeypatch.setenv(name, value)
    found = secret_sources()
    assert set(found) == known
    assert all(source == f"environment variable {name}" for source in found.values())


def test_the_path_of_something_is_no_secret(monkeypatch: pytest.MonkeyPatch, home: Path) -> None:
    monkeypatch.setenv("SOME_SECRET", str(home))
    assert secret_sources() == {}


def test_what_files_tell(monkeypatch: pytest.MonkeyPatch, home: Path, tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("export DATABASE_URL=\"postgres://u:in-env@h/d\"\nX_TOKEN='quoted'\nA=b\n")
    monkeypatch.setenv("RUNBOOKS_PRISMA_PROJECT", str(tmp_path))
    (home / ".kube").mkdir()
    (home / ".kube" / "config").write_text("users:\n- name: a\n  user:\n    token: in-kubeconfig\n")
    (tmp_path / "key").write_text("-----BEGIN PRIVATE KEY-----\nin-the-key\n-----END PRIVATE KEY-----\n")
    monkeypatch.setenv("RUNBOOKS_SIGNING_KEY", str(tmp_path / "key"))
    assert set(secret_sources()) == {"in-env", "quoted", "in-kubeconfig", "in-the-key"}


@pytest.mark.parametrize("named", ["api", "api/src/db/schema.prisma"])
def test_what_a_prisma_projects_env_files_tell(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, named: str
) -> None:
    """Prisma reads the one beside the package.json, whatever is named, and the one beside the schema."""
    for folder, secret in {
        "": "above",
        "api": "beside-package",
        "api/prisma": "usual",
        "api/src/db": "beside-schema",
    }.items():
        (tmp_path / folder).mkdir(parents=True, exist_ok=True)
        (tmp_path / folder / ".env").write_text(f"DATABASE_URL=postgres://u:{secret}@h/d\n")
    for file in ("api/package.json", "api/src/db/schema.prisma"):
        (tmp_path / file).touch()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("RUNBOOKS_PRISMA_PROJECT", named)
    other = "usual" if named == "api" else "beside-schema"
    assert set(secret_sources()) == {"beside-package", other}


def written(secret: str) -> dict[str, str]:
    """Return a secret as those write it who put it into a text: not by the code that masks."""
    lines = "\n".join([secret[:4], secret[4:]])
    return {
        "HTML with entities": "".join(f"&#{ord(c)};" if not c.isalnum() else c for c in secret),
        "HTML in HTML": html.escape(html.escape(secret)),
        "JSON in JSON": json.dumps(json.dumps(secret)),
        "JSON in HTML": html.escape(json.dumps(secret)),
        "percent, small": "".join(p.lower() if p.startswith("%") else p for p in quote(secret, safe="")),
        "percent twice": quote(quote(secret, safe=""), safe=""),
        "shell": shlex.quote(secret),
        "shell, escaped": "'" + secret.replace("'", "'\\''") + "'",
        "libpq": "'" + secret.replace("\\", "\\\\").replace("'", "\\'") + "'",
        "pass file": secret.replace("\\", "\\\\").replace(":", "\\:"),
        "octets": repr(secret.encode()),
        "SQL identifier": secret.replace('"', '""'),
        "over two lines": lines,
        "over two lines, indented": lines.replace("\n", "\r\n    "),
        "continued": lines.replace("\n", "\\\n"),
        "over two lines of JSON": json.dumps(lines),
        "coloured": f"{secret[:4]}\x1b[39m\x1b[38;5;28m{secret[4:]}",
        "coloured, in JSON": json.dumps(f"{secret[:4]}\x1b[39m{secret[4:]}"),
        "hexadecimal": secret.encode().hex(),
        "base64": b64encode(secret.encode()).decode(),
        "base64 of user and password": b64encode(f"u:{secret}".encode()).decode(),
        "base64 in a URL": b64encode(f"us:{secret}:x".encode()).decode().replace("+", "-").replace("/", "_"),
        "base64 over lines": "\n".join(
            b64encode(f"user:{secret}".encode()).decode()[n : n + 8] for n in range(0, 64, 8)
        ),
    }


@pytest.mark.parametrize("secret", [ODD, STRONG, "é€ü:😀/x y", "a+b=c&d%e"])
@pytest.mark.parametrize("form", written(ODD))
def test_a_secret_is_masked_however_it_is_written(
    monkeypatch: pytest.MonkeyPatch, secret: str, form: str
) -> None:
    monkeypatch.setenv("PGPASSWORD", secret)
    assert MASK in redact(f"before {written(secret)[form]} after")


@settings(deadline=None, max_examples=30)
@given(
    secret=st.text(st.characters(exclude_categories=("Cs", "Cc")), min_size=4, max_size=20), data=st.data()
)
def test_any_secret_is_found_in_any_form(secret: str, data: st.DataObject) -> None:
    """Also those that begin with what separates: backslashes, blanks."""
    encoders = [str, html.escape, json.dumps, lambda s: quote(s, safe=""), repr, ascii, shlex.quote]
    text = data.draw(st.sampled_from(encoders))(secret)
    small = squeezed(text)
    possible = [f for f in forms(secret) if f.core in small]
    assert any(f.pattern.search(text) for f in possible)


@pytest.mark.parametrize("secret", ["000\\", "a\\bc", "\\abc", "ab\\\\c"])
def test_a_short_secret_with_a_backslash_is_found(secret: str) -> None:
    for text in (secret, json.dumps(secret), repr(secret)):
        assert any(f.pattern.search(text) for f in forms(secret)), text


COLOURS = ["\x1b[0;31m", "\\u001b[0m", "\\x1b[m", "\\033[1m"]
BETWEEN = ["", "\\", "\\\\", "\n", "\r\n  ", " \n\t", "\\n", "\\\\n  ", "\\r\\n", " ", *COLOURS]


@settings(deadline=None, max_examples=80)
@given(
    secret=st.text("abnrx01!é/ \\", min_size=4, max_size=12),
    between=st.lists(st.lists(st.sampled_from(BETWEEN), max_size=3), min_size=12, max_size=12),
)
def test_what_a_pattern_finds_is_never_passed_over(secret: str, between: list[list[str]]) -> None:
    """Looking for a form's core is only a quick way to see that its pattern cannot match."""
    pairs = zip(secret, between[: len(secret)], strict=True)
    text = "nr" + "".join(c + "".join(separators) for c, separators in pairs) + "\\nr"
    for form in forms(secret):
        assert form.core in squeezed(text) or not form.pattern.search(text)


def test_masking_stays_quick_where_nothing_matches(monkeypatch: pytest.MonkeyPatch) -> None:
    """Texts that almost match at every place, and are full of what may stand between."""

    for secret in ("nnnn" * 6 + "!", "\\" * 9 + "a!", "'" * 9 + "a!", "ab cd ef!", "é€" * 6 + "!a"):
        monkeypatch.setenv("PGPASSWORD", secret)
        almost = [
            secret[:-1],
            *secret[:4],
            "\\n",
            "n\\n",
            "n\n  ",
            "nnnn\\\\",
            " \t",
            "\n",
            "\\",
            "\\u",
            "\\x",
            "&amp;",
            "''",
        ]
        for text in almost:
            began = time.process_time()
            redact(text * 3000 + "a")
            assert time.process_time() - began < 2


@settings(deadline=None, max_examples=60)
@given(
    form=st.sampled_from(sorted(written(STRONG))),
    around=st.lists(st.text(max_size=6), max_size=3),
    data=st.data(),
)
def test_a_value_is_masked_as_its_texts_are_one_by_one(
    form: str, around: list[str], data: st.DataObject
) -> None:
    """Looking at all of them at once, first, overlooks nothing, whatever stands beside a secret."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PGPASSWORD", STRONG)
        mask = Masker()
    place = data.draw(st.integers(0, len(around)))
    texts = [*around[:place], written(STRONG)[form], *around[place:]]
    for each in (texts, {text: [1, None, {"a": text}] for text in texts}, {"a": texts}):
        assert mask.value(each) == _each(each, mask)
        assert MASK in json.dumps(mask.value(each))


def _each(value: Any, mask: Masker) -> Any:
    if isinstance(value, str):
        return mask(value)
    if isinstance(value, list):
        return [_each(each, mask) for each in value]
    return {mask(key): _each(each, mask) for key, each in value.items()} if isinstance(value, dict) else value


def test_a_notebook_is_masked_over_its_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PGPASSWORD", STRONG)
    one, two = STRONG[:7], STRONG[7:]
    cell = {
        "cell_type": "code",
        "metadata": {},
        "execution_count": 1,
        "source": [f"x = '{one}", f"{two}'"],
        "outputs": [
            {"output_type": "stream", "name": "stdout", "text": one},
            {"output_type": "stream", "name": "stdout", "text": [two, " and more\n"]},
            {"output_type": "stream", "name": "stderr", "text": "other\n"},
            {"output_type": "display_data", "metadata": {}, "data": {"text/plain": [one, two]}},
            {"output_type": "error", "ename": "E", "evalue": STRONG, "traceback": ["a", one, two, "b"]},
        ],
    }
    notebook = {"cells": [cell], "metadata": {"papermill": {"parameters": {"p": STRONG}}}, "nbformat": 4}
    masked = redact_notebook(notebook)
    outputs = masked["cells"][0]["outputs"]
    assert [o.get("text") for o in outputs[:2]] == [f"{MASK} and more\n", "other\n"]
    assert outputs[2]["data"] == {"text/plain": MASK}
    assert outputs[3]["traceback"] == ["a", MASK, "b"]
    assert masked["cells"][0]["source"] == f"x = '{MASK}'"
    assert masked["metadata"]["papermill"]["parameters"] == {"p": MASK}
    assert cell["outputs"][0]["text"] == one  # the original is left alone


@pytest.fixture
def run(tmp_path: Path) -> Run:
    folder = tmp_path / "20260107T174759Z-3f9c2a"
    (folder / "backup").mkdir(parents=True)
    (folder / "run.json").write_text('{"a": 1234, "b": "word"}')
    return Run(folder)


def refused(run: Run) -> str:
    with pytest.raises(EvidenceError) as caught:
        scan(run)
    return str(caught.value)


@pytest.mark.parametrize("form", written(ODD))
def test_the_scan_names_file_and_source_and_not_the_secret(
    monkeypatch: pytest.MonkeyPatch, run: Run, form: str
) -> None:
    monkeypatch.setenv("MY_SECRET", ODD)
    scan(run)
    (run.path / "backup" / "a.sql").write_text(f"-- {written(ODD)[form]}", "utf-8")
    said = refused(run)
    assert "backup/a.sql" in said
    assert "environment variable MY_SECRET" in said
    assert ODD not in said
    assert "ss/w" not in said


def test_the_scan_looks_into_names_links_and_packed_files(
    monkeypatch: pytest.MonkeyPatch, run: Run, tmp_path: Path
) -> None:
    monkeypatch.setenv("MY_SECRET", STRONG)
    named = run.path / f"dump_{STRONG}.sql"
    named.write_text("")
    assert STRONG not in refused(run)
    named.unlink()
    (run.path / "link").symlink_to(f"/tmp/{STRONG}")
    assert "link" in refused(run)
    (run.path / "link").unlink()
    (run.path / "backup" / "1.dat.gz").write_bytes(gzip.compress(f"row {STRONG}".encode()))
    assert "backup/1.dat.gz" in refused(run)


def test_a_secret_over_the_edge_of_two_chunks_is_found(monkeypatch: pytest.MonkeyPatch, run: Run) -> None:
    monkeypatch.setenv("MY_SECRET", STRONG)
    monkeypatch.setattr("runbooks_lib.archive.seal.secret_scan.CHUNK_BYTES", 5000)
    filler = "".join(random.Random(1).choices("abc \n", k=4990))
    (run.path / "big.sql").write_text(f"{filler}{STRONG}{filler}")
    assert "big.sql" in refused(run)


@pytest.mark.parametrize(
    ("secret", "found"),
    [("1234567", False), ("w0rd-1", True), ("word", False), ("null", False), ("w0rd1x", False)],
)
def test_a_weak_secret_counts_as_a_word_of_a_text(
    monkeypatch: pytest.MonkeyPatch, run: Run, secret: str, found: bool
) -> None:
    """Numbers of JSON, and digests that happen to contain it, are not the secret."""
    monkeypatch.setenv("PGPASSWORD", secret)
    (run.path / "a.json").write_text(json.dumps({"sha256": f"ab{secret}cd", "n": None}))
    if found:
        refused(run)
    else:
        scan(run)
