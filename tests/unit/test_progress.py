"""Progress is told to who listens, in units and time left, and costs nothing when nobody does."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import pytest

from runbooks_lib import progress
from runbooks_lib.notebook.progress_line import LONG_S, ProgressLine, in_words
from runbooks_lib.progress import Progress, growing, listening, report, size_of

KIB, MIB, GIB = 1 << 10, 1 << 20, 1 << 30


def news(done: int, total: int | None, unit: str = "bytes") -> Progress:
    return Progress(what="dump", done=done, total=total, unit=unit)


def test_nobody_listens_and_nothing_is_started(tmp_path: Path) -> None:
    before = threading.active_count()
    with growing("dump", tmp_path):
        assert threading.active_count() == before
        report("rows", done=1, total=2, unit="tables")


def test_what_is_reported_is_heard_inside_the_block_only() -> None:
    heard: list[Progress] = []
    with listening(heard.append):
        report("rows", done=1, total=2, unit="tables")
    report("rows", done=2, total=2, unit="tables")
    assert heard == [Progress(what="rows", done=1, total=2, unit="tables")]


def test_a_growing_folder_is_looked_at_until_the_block_ends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(progress, "LOOK_S", 0.005)
    heard: list[Progress] = []
    with listening(heard.append), growing("dump", tmp_path / "not yet", total_bytes=100):
        (tmp_path / "not yet").mkdir()
        (tmp_path / "not yet" / "one").write_bytes(b"x" * 60)
        deadline = time.monotonic() + 10
        while not any(each.done == 60 for each in heard):
            assert time.monotonic() < deadline
            time.sleep(0.005)
    seen = len(heard)
    time.sleep(0.02)
    assert len(heard) == seen
    assert heard[-1] == Progress(what="dump", done=60, total=100, unit="bytes")


def test_the_size_of_what_is_not_there_is_nothing(tmp_path: Path) -> None:
    assert size_of(tmp_path / "nothing") == 0


@pytest.mark.parametrize(
    ("told", "elapsed_s", "words"),
    [
        (news(512, None), 1.0, "dump: 512 bytes"),
        (news(3 * KIB // 2, None), 1.0, "dump: 1.5 KiB"),
        (news(MIB, 4 * MIB), 10.0, "dump: 1.0 MiB of 4.0 MiB, 30 s left"),
        (news(GIB, 11 * GIB), 12.0, "dump: 1.0 GiB of 11.0 GiB, 2 min 0 s left"),
        (news(4, 4, "tables"), 10.0, "dump: 4 tables of 4 tables"),
        (news(0, 4, "tables"), 10.0, "dump: 0 tables of 4 tables"),
        (news(1, 4, "tables"), 0.0, "dump: 1 tables of 4 tables"),
    ],
)
def test_progress_in_words(told: Progress, elapsed_s: float, words: str) -> None:
    assert in_words(told, elapsed_s) == words


def test_a_line_shows_itself_only_when_work_is_long(monkeypatch: pytest.MonkeyPatch) -> None:
    moments = iter([0.0, 0.1, LONG_S + 0.1, LONG_S + 0.2])
    monkeypatch.setattr("runbooks_lib.notebook.progress_line.time.monotonic", lambda: next(moments))
    monkeypatch.setattr("runbooks_lib.notebook.progress_line.display", lambda box: None)
    line = ProgressLine()
    line.tell(news(MIB, 4 * MIB))
    assert line.box is None
    line.tell(news(2 * MIB, 4 * MIB))
    bar, words = line.box.children
    assert (bar.value, words.value) == (0.5, "dump: 2.0 MiB of 4.0 MiB, 0 s left")
    line.close()
