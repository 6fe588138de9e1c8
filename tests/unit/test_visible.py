"""What somebody else wrote is shown, and does nothing: on the terminal, in notebooks, in reports and pages."""

from __future__ import annotations

import ast
import io
import json
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.table import Table

from runbooks_lib import cli
from runbooks_lib.cli import main, terminal
from runbooks_lib.errors import GateClosed, RunbookError
from runbooks_lib.findings import Finding, Verdict, gate
from runbooks_lib.notebook.tables import bundle_of, prose
from runbooks_lib.report.markdown import code, escaped
from runbooks_lib.report.templates import _environment as environment
from runbooks_lib.report.templates import breakable, in_language
from runbooks_lib.visible import visible, visible_html, visible_json, visible_lines

HOSTILE = {
    "a colour": "\x1b[31mred",
    "a title": "\x1b]0;owned\x07",
    "a link": "\x1b]8;;https://evil.example\x1b\\click\x1b]8;;\x1b\\",
    "one octet": "\x9b31m",
    "a line cleared": "\x1b[2K\rPASS",
    "backspaces": "FAIL\b\b\b\bPASS",
    "a line more": "x\n20260101T000000Z-000000  PH15  apply  PASS",
    "reordered": "\u202egpj.exe\u202c",
    "isolated": "\u2067abc\u2069",
    "no width": "ad\u200bmin\ufeff",
    "unseen": "\u3164\u115f",
    "tags": "\U000e0041\U000e0042",
    "a line of Unicode": "a\u2028b\u0085c",
    "half a character": "caf\udce9",
    "a noncharacter": "a\ufffeb",
    "NUL": "a\0b",
}
PLAIN = [
    "Fondation de la base de données",
    "№ 5 — “ok”",
    "日本語",
    "💚",
    "C:\\new",
    "a\u00a0b",
    "[bold]x[/bold] :smile:",
]
FORBIDDEN = re.compile(
    "[\0-\x08\x0b-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff\ud800-\udfff"
    "\ufffe\u3164\u115f\U000e0000-\U000e007f]"
)


def harmless(text: str) -> bool:
    return not FORBIDDEN.search(text)


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE.keys())
def test_every_character_is_seen(text: str) -> None:
    assert harmless(visible(text))
    assert "\n" not in visible(text)
    assert harmless(visible_lines(text))
    assert harmless(visible_html(text))
    assert harmless(visible_json([text]))
    assert json.loads(visible_json([text])) == [text]


@pytest.mark.parametrize("text", PLAIN)
def test_what_can_be_seen_stays_as_it_is(text: str) -> None:
    assert visible(text) == visible_lines(text) == text


@given(st.text(st.characters(codec=None)))
def test_any_text(text: str) -> None:
    assert harmless(visible(text))
    assert visible(visible(text)) == visible(text)
    assert visible_lines(text).count("\n") == text.count("\n")
    assert json.loads(visible_json({text: text})) == {text: text}


@pytest.mark.parametrize("text", [*HOSTILE.values(), *PLAIN])
def test_a_notebook_a_report_and_a_page_show_it(text: str) -> None:
    bundle = bundle_of([{"object": text}])
    shown = [*bundle.values(), *prose(f"**{text}**").values(), escaped(text), code(text)]
    template = environment().from_string("<p title='{{ text }}'>{{ text }}{{ text | clip(99) }}</p>")
    shown += [str(breakable(text)), template.render(text=text, **in_language("en"))]
    shown += RunbookError(text, text)._render_traceback_()
    assert all(map(harmless, shown))


def test_names_break_where_a_reader_would_and_words_never() -> None:
    shown = {
        "public.MarketplaceSyncState": "public.|Marketplace|Sync|State",
        "oauth_states_tenantId_idx": "oauth_|states_|tenant|Id_|idx",
        "/var/lib/PostgreSQL/internationalization": "/var/|lib/|PostgreSQL/|internationalization",
        "OAuthState in keybuzz": "OAuth|State in keybuzz",
    }
    assert {text: str(breakable(text)).replace("<wbr>", "|") for text in shown} == shown


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE.keys())
def test_a_closed_gate_has_a_line_for_each_finding(text: str) -> None:
    finding = Finding(check="c", target="t", object=text, have=text, want="w", verdict=Verdict.FAIL)
    with pytest.raises(GateClosed) as caught:
        gate([finding])
    lines = caught.value.what_happened.split("\n")
    assert len(lines) == 2
    assert harmless(lines[1])


@pytest.mark.parametrize("text", [*HOSTILE.values(), *PLAIN])
def test_the_terminal_gets_nothing_else(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    terminal.say(text)
    terminal.say(text, err=True)
    terminal.say_lines(f"{text}\n")
    terminal.say_json({"a": text})
    terminal.say_page(f"# {text}\n")
    table = Table(box=None)
    table.add_row(terminal.shown(text))
    terminal.console(width=500).print(terminal.shown(text), table)
    out, err = capsys.readouterr()
    assert harmless(out)
    assert harmless(err)
    if text in PLAIN:
        assert out.count(text) >= 5  # markup and emoji are no such here


def test_a_terminal_that_knows_ascii_only(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    monkeypatch.setattr("sys.stdout", stream)
    terminal.say("données — \x1b")
    stream.flush()
    assert stream.buffer.getvalue() == b"donn\\xe9es \\u2014 \\x1b\n"  # type: ignore[attr-defined]


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE.keys())
def test_commands_say_what_a_run_holds(
    text: str, archive_of: Any, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """run.json and the records of a run that somebody else made, sealed."""
    runs, folder = archive_of(text)
    text = text.replace("\0", "\x01")  # no argument of a process has a NUL
    for words in (
        ["runs", "list", "--runs", runs],
        ["runs", "list", "--runs", runs, "--json"],
        ["runs", "show", folder],
        ["runs", "show", folder, "--json"],
        ["runs", "diff", folder, folder],
        ["verify", folder],
        ["verify", folder, "--json"],
        ["explain", text],
        ["phase", "check", text],
        ["runs", "show", text, "--runs", runs],
        ["runs", "list", "--runs", runs, "--phase", text],
        ["lab", "status", "--dir", text],
        ["verify", text],
    ):
        said = _main([str(word) for word in words], capsys, monkeypatch)
        assert harmless(said.replace("\r\n", "\n")), words
        assert "Traceback" not in said
        if words[:2] == ["runs", "list"] and len(words) == 4:
            assert said.count("\n") == 2  # a heading and one run


def _main(words: list[str], capsys: pytest.CaptureFixture[str], patch: pytest.MonkeyPatch) -> str:
    """Run a command line; return what it printed on both streams."""
    patch.setattr("sys.argv", ["runbooks", *words])
    with pytest.raises(SystemExit):
        main()
    return "".join(capsys.readouterr())


@pytest.fixture
def archive_of(tmp_path: Path) -> Any:
    from runbooks_lib.archive.files import write_bytes
    from runbooks_lib.archive.manifest import canonical, digests

    def make(text: str) -> tuple[Path, Path]:
        folder = tmp_path / "runs" / "PH" / "20260107T174759Z-3f9c2a"
        folder.mkdir(parents=True)
        safe = text.encode("utf-8", "replace").decode()
        finding = {
            "check": safe,
            "target": safe,
            "object": safe,
            "have": safe,
            "want": safe,
            "verdict": "FAIL",
            "hint": safe,
        }
        answer = {
            "started_at": "2026-01-07T17:47:59Z",
            "duration_s": 1,
            "verdict": "FAIL",
            "findings": [finding],
            "facts": {},
        }
        record = {
            "schema_version": 1, "step": "preflight", "run": safe, "phase": safe, "mode": "plan", "code": safe,
            "started_at": "2026-01-07T17:47:59Z", "finished_at": None, "duration_s": None, "verdict": "FAIL",
            "answers": {safe: answer},
        }  # fmt: skip
        header = {
            "schema_version": 1, "id": safe, "phase": {"id": safe, "digest": safe, "title": {"en": safe}, "ref": safe},
            "mode": "plan", "started_at": "2026-01-07T17:47:59Z", "finished_at": None, "verdict": "FAIL",
            "operator": {"user": safe, "host": safe}, "versions": {safe: safe},
            "targets": [{"name": safe, "service": safe, "role": safe, "database": safe}],
        }  # fmt: skip
        (folder / "run.json").write_text(json.dumps(header))
        (folder / "01_preflight.json").write_text(json.dumps(record))
        manifest = {
            "schema_version": 1, "run": folder.name, "phase": safe, "previous": {"run": safe, "sha256": "0" * 64},
            "sealed_at": "2026-01-07T17:47:59Z", "verdict": "FAIL", "complete": False, "files": digests(folder),
        }  # fmt: skip
        write_bytes(folder / "manifest.json", canonical(manifest))
        return tmp_path / "runs", folder

    return make


def test_the_commands_print_through_that_door_alone() -> None:
    """No module of the command line has another way to print."""
    for file in sorted(Path(cli.__file__).parent.glob("*.py")):
        if file.name in ("terminal.py", "streams.py"):  # the door, and what it leads to
            continue
        for node in ast.walk(ast.parse(file.read_text("utf-8"))):
            said = ast.unparse(node) if isinstance(node, ast.Attribute | ast.Name) else ""
            other = said in (
                "click.echo",
                "click.secho",
                "print",
                "sys.stdout",
                "sys.stderr",
                "Console",
                "Text",
            )
            assert not other, f"{file.name}, line {node.lineno}: {said}"
