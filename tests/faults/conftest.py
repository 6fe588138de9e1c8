"""A lab of a file's own, in which commands are disturbed; see stage.py."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from .stage import Stage, stage


@pytest.fixture(scope="module")
def scene() -> Iterator[Stage]:
    with stage() as made, pytest.MonkeyPatch.context() as patch:
        for name, value in made.lab.env().items():
            patch.setenv(name, value)
        yield made


@pytest.fixture
def reset(scene: Stage) -> Iterator[None]:
    """Take back what the test applied."""
    yield
    scene.reset()
