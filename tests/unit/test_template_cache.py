"""Compiled templates are kept for the next process, anew when anything changed, and not needed."""

from __future__ import annotations

from pathlib import Path

import pytest
from jinja2 import DictLoader, Environment

from runbooks_lib.report.template_cache import compiled


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("RUNBOOKS_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "templates"


def filled(template: str, *depends_on: str | Path) -> str:
    environment = Environment(loader=DictLoader({"t": template}), bytecode_cache=compiled(*depends_on))
    return environment.get_template("t").render(name="x")


def test_what_was_compiled_is_kept_and_private(cache: Path) -> None:
    assert filled("a {{ name }}") == filled("a {{ name }}") == "a x"
    assert len(list(cache.iterdir())) == 1
    assert cache.stat().st_mode & 0o777 == 0o700


def test_another_text_or_version_is_compiled_anew(cache: Path, tmp_path: Path) -> None:
    assert filled("a {{ name }}") == "a x"
    assert filled("b {{ name }}") == "b x"
    source = tmp_path / "code.py"
    source.write_text("1", encoding="utf-8")
    for content in ("1", "2"):
        source.write_text(content, encoding="utf-8")
        assert filled("b {{ name }}", "1.0", source) == "b x"
    assert len(list(cache.iterdir())) == 3


def test_without_a_cache_it_is_compiled_all_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("", encoding="utf-8")
    monkeypatch.setenv("RUNBOOKS_CACHE", str(tmp_path / "file"))
    assert compiled("1") is None
    assert filled("a {{ name }}") == "a x"


def test_a_cache_that_cannot_be_written_is_done_without(cache: Path) -> None:
    found = compiled("1")
    assert found is not None
    cache.rmdir()
    environment = Environment(loader=DictLoader({"t": "a {{ name }}"}), bytecode_cache=found)
    assert environment.get_template("t").render(name="x") == "a x"
