"""No trace of a password: in no form, in no file, on no terminal, in no process's arguments, in no server's log."""

from __future__ import annotations

import html
import json
from base64 import b64encode
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote, quote_plus

import pytest

from runbooks_lib.archive.run import Run
from runbooks_lib.archive.seal.attestation import read_envelope
from runbooks_lib.archive.seal.verify import verify


def written(secret: str) -> Iterator[str]:
    """Yield the ways to write a secret, by the functions that write so: not by the code that masks."""
    for text in (secret, quote(secret, safe=""), quote(secret), quote_plus(secret)):
        yield from (text, json.dumps(text)[1:-1], json.dumps(text, ensure_ascii=False)[1:-1])
        yield from (
            html.escape(text),
            html.escape(json.dumps(text)[1:-1]),
            repr(text)[1:-1],
            ascii(text)[1:-1],
        )
        yield json.dumps(html.escape(text))[1:-1]
        yield text.encode().hex()
        for shift in range(
            3
        ):  # wherever it begins in what was encoded; digits that its neighbours change left out
            digits = b64encode(b"x" * shift + text.encode()).decode()
            yield digits[(0, 2, 3)[shift] : len(digits) // 4 * 4 - 4]


def traces(text: str, secrets: tuple[str, ...]) -> list[str]:
    return [form for secret in secrets for form in written(secret) if form in text]


@pytest.fixture(params=["plan", "apply"])
def folder(request: pytest.FixtureRequest, odd_runs: Any) -> Path:
    return {"plan": odd_runs.plan, "apply": odd_runs.apply}[request.param]


def test_no_file_has_a_trace(folder: Path, odd_runs: Any) -> None:
    files = [path for path in folder.rglob("*") if path.is_file()]
    assert len(files) > 25
    for path in files:
        assert traces(path.read_bytes().decode("utf-8", "replace"), odd_runs.secrets) == [], path.name
        assert traces(path.name, odd_runs.secrets) == []


def test_the_attestation_s_payload_has_no_trace(folder: Path, odd_runs: Any) -> None:
    envelope, _ = read_envelope(folder)
    assert traces(envelope.payload.decode(), odd_runs.secrets) == []


@pytest.mark.parametrize("where", ["terminal", "command_lines", "server_logs"])
def test_nothing_outside_the_folder_has_a_trace(where: str, odd_runs: Any) -> None:
    text = getattr(odd_runs, where)
    if where != "server_logs":
        assert text  # a server may have nothing to say
    assert traces(text, odd_runs.secrets) == []


def test_the_command_lines_were_really_seen(odd_runs: Any) -> None:
    assert "runbooks run" in odd_runs.command_lines
    assert "prisma" in odd_runs.command_lines
    assert "pg_dump" in odd_runs.command_lines


def test_the_runs_did_their_work_with_these_passwords(folder: Path, odd_runs: Any) -> None:
    found = verify(folder, key=odd_runs.public, chain=True)
    assert found.problems == ()
    assert found.manifest is not None
    assert found.manifest.complete
    record = Run.open(folder).record_json("prisma_resolve")
    assert record is not None
    assert record["verdict"] in ("PASS", "SKIP", "OPEN")
