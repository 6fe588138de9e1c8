"""A simulated fleet run of a small size holds: linear, sealed, and what docs/fleet.md says of its shape."""

from __future__ import annotations

from pathlib import Path

import pytest

from runbooks_lib.archive.manifest import read
from runbooks_lib.archive.seal.verify import file_problems

from ..benchmarks.fleet_simulation import simulate


def test_a_simulated_fleet_costs_so_much_a_database_and_no_more(tmp_path: Path) -> None:
    few, _ = simulate(200, 10, tmp_path / "few")
    many, folder = simulate(600, 10, tmp_path / "many")
    record = folder.read()
    assert len(record.failed) == 3
    assert record.verdict == "FAIL"
    assert list(file_problems(read(folder.path))) == []
    for size in ("folder_bytes", "fleet_json_bytes", "page_bytes"):
        assert many[size] < 3.2 * few[size]
    assert many["folder_bytes"] / 600 < 4_000
    assert many["answer_bytes"] < 1_000
    assert many["handing_out_s"] < 12 * max(few["handing_out_s"], 0.01)


def test_a_fleet_of_hundreds_folds_what_came_to_its_end(tmp_path: Path) -> None:
    _, folder = simulate(400, 10, tmp_path)
    page = (folder.path / "report.html").read_text()
    assert page.count("<details ") == 1
    assert page.index("server_0/tenant_200") < page.index("<details ") < page.index("server_1/tenant_1<")


@pytest.mark.parametrize("lang", ["fr", "en"])
def test_the_report_says_all_in_the_language(tmp_path: Path, lang: str) -> None:
    _, folder = simulate(3, 1, tmp_path)
    said = (folder.path / f"report.{lang}.md").read_text()
    assert ("3 bases : 2 menées à bien" if lang == "fr" else "3 databases: 2 done") in said
