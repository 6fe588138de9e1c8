"""The lab for tests: one for the session, and fresh ones for tests that break theirs."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from runbooks_lib.lab.lab import Lab, running


@pytest.fixture(scope="session")
def lab() -> Iterator[Lab]:
    """The session's lab, with its variables in the environment. Do not break it: see `fresh_lab`."""
    with running() as started:
        before = {name: os.environ.get(name) for name in started.env()}
        os.environ.update(started.env())
        try:
            yield started
        finally:
            for name, value in before.items():
                if value is None:
                    os.environ.pop(name, None)
                else:
                    os.environ[name] = value


@pytest.fixture
def fresh_lab(monkeypatch: pytest.MonkeyPatch) -> Iterator[Lab]:
    """A lab of the test's own, with its variables in the environment."""
    with running() as started:
        for name, value in started.env().items():
            monkeypatch.setenv(name, value)
        yield started
