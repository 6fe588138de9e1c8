"""What a session leaves behind is found: conftest.py fails the session then."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from ..leftovers import MARK, folders, left_behind


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="the environment of processes is read from /proc")
def test_a_process_is_found_by_its_mark(monkeypatch: pytest.MonkeyPatch) -> None:
    """One of another session is not ours."""
    monkeypatch.setenv(MARK, "test_leftovers")
    command = [sys.executable, "-c", "print(flush=True); input()", "psql-of-a-test"]
    theirs = {**os.environ, MARK: "another session"}
    before = folders()
    for env, found in ((dict(os.environ), 1), (theirs, 0)):
        with subprocess.Popen(command, env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
            assert process.stdout
            process.stdout.readline()
            lines = [line for line in left_behind(before, patience_s=0) if "psql-of-a-test" in line]
            assert len(lines) == found
            process.communicate(b"\n")


def test_a_folder_is_found_unless_a_process_works_in_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """And one that was there before is not ours; nor need one be that comes up beside another session's tests."""
    before = folders()
    monkeypatch.setattr("psutil.Process.environ", lambda process: {})
    with tempfile.TemporaryDirectory(prefix="runbooks-") as folder:
        assert folder in left_behind(before, patience_s=0)
        assert folder not in left_behind(folders(), patience_s=0)
        command = [sys.executable, "-c", "print(flush=True); input()", folder]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
            assert process.stdout
            process.stdout.readline()
            assert folder not in left_behind(before, patience_s=0)
            process.communicate(b"\n")
        monkeypatch.setattr("psutil.Process.environ", lambda process: {MARK: "another session"})
        assert left_behind(before, patience_s=0) == []
