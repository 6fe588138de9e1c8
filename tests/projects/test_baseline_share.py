"""How much of a real project's migrations the generator writes, and whether all of them squash into one script."""

from __future__ import annotations

import importlib.util
from pathlib import Path

from runbooks_lib.drafting.baseline import write_baseline
from runbooks_lib.drafting.squash import squash
from runbooks_lib.postgres.script.script import parse_script
from runbooks_lib.prisma.history import read_scripts

WANTED = 0.89


def test_most_migrations_are_written_whole_and_all_of_them_squash() -> None:
    found = importlib.util.find_spec("litellm_proxy_extras")
    assert found is not None
    assert found.origin is not None
    scripts, _ = read_scripts(str(Path(found.origin).parent / "migrations"))
    written = write_baseline(scripts)
    assert [each.refused for each in parse_script(written.sql) if each.refused] == []
    left = {each.migration for each in written.left}
    assert 1 - len(left) / len(scripts) >= WANTED
    assert 1 - len({each.migration for each in written.left if not each.changes_rows}) / len(scripts) >= 0.97
    whole = squash(scripts)
    assert all(each.changes_rows for each in whole.left)
