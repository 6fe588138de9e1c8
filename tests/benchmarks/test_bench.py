"""The benchmarks run, and their curves are drawn; what they measure is not judged here: other work disturbs it."""

from __future__ import annotations

import json
import subprocess
import sys
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

BENCH = Path(__file__).with_name("bench.py")


def bench(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(BENCH), *arguments], capture_output=True, text=True, check=False
    )


@pytest.mark.parametrize(
    ("part", "names"),
    [
        ("headless", {"headless phase", "headless phase against its floor"}),
        ("lab", {"lab start to streaming standby"}),
        ("catalogue", {"catalogue of 20 tables", "catalogue of 60 tables"}),
        ("preflight", {"preflight of 20 tables", "preflight of 60 tables"}),
        ("cells", {"notebook of 2 cells", "notebook of 6 cells"}),
        ("seeds", {f"seed verification of {rows} rows" for rows in (50, 150, 300)}),
        ("replay", {"replay of migrations", "replay of migrations, kept"}),
        ("history", {"plan of a long history"}),
        ("fleet", {"fleet of 1 databases, each", "fleet of 2 databases, each"}),
        ("archive", {"archive and report", "index of 2 runs", "index of 4 runs"}),
    ],
)
def test_a_part_runs(part: str, names: set[str], tmp_path: Path) -> None:
    done = bench(part, "--quick", "--json", "--out", str(tmp_path))
    assert done.returncode == 0, done.stderr
    content = json.loads(done.stdout)
    assert {figure["name"] for figure in content["figures"]} == names
    for figure in content["figures"]:
        assert figure["ratio"] is None or figure["ratio"] > 0
        assert len(figure["ours_s"]) == 1
        assert len(figure["yardstick_s"]) == (0 if figure["ratio"] is None else 1)
    assert content["targets"]
    assert all(isinstance(target["holds"], bool) for target in content["targets"])
    assert json.loads((tmp_path / "results.json").read_text(encoding="utf-8")) == content
    for size, lines in content["growth"].items():
        assert "ours" in lines
        ET.parse(tmp_path / f"{size}.svg")


def test_a_part_that_is_none() -> None:
    done = bench("speed")
    assert done.returncode == 2
    assert "no such part: speed" in done.stderr


def test_the_floor_loads_nothing_that_only_shows() -> None:
    loads = (
        "import sys, floor; floor._silence(); print(sys.modules.keys() & {'pandas', 'IPython'} or 'nothing')"
    )
    done = subprocess.run(
        [sys.executable, "-c", loads], cwd=BENCH.parent, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "nothing"
