"""Pictures of large runs with long names: every text stays in its box, whatever the names are made of."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from runbooks_lib.evidence import Evidence
from runbooks_lib.phase import STEPS, Phase, load_phase
from runbooks_lib.report.pictures.matrix import matrix
from runbooks_lib.report.pictures.timeline import timeline
from runbooks_lib.report.pictures.topology import topology
from runbooks_lib.report.templates import source

if TYPE_CHECKING:
    from playwright.sync_api import Browser

STORED = Path(__file__).parents[1] / "unit" / "evidence" / "applied"
PHASE = load_phase("PH15-AMAZON-DB-FOUNDATION-01")
NAMES = (
    "WMWMWMWM@%MWMWMWMWMWMWM",
    "tenant_database_of_the_very_long_name",
    "数据库数据库数据库数据库数据库数据库",
    "illiIil",
)
OVERLAPS = """() => {
  const boxes = [...document.querySelectorAll("svg text")].map(t => [t.textContent.trim(), t.getBoundingClientRect()]);
  const frame = document.querySelector("svg").getBoundingClientRect();
  const wrong = boxes.filter(([, b]) => b.left < frame.left - 1 || b.right > frame.right + 1).map(([t]) => "out: " + t);
  for (const [i, [one, a]] of boxes.entries())
    for (const [other, b] of boxes.slice(i + 1))
      if (a.left < b.right - 1 && b.left < a.right - 1 && a.top < b.bottom - 4 && b.top < a.bottom - 4)
        wrong.push(one + " <> " + other);
  for (const rect of document.querySelectorAll("rect.box")) {
    const room = rect.getBoundingClientRect();
    for (const text of rect.parentElement.querySelectorAll("text"))
      if (text.getBoundingClientRect().right > room.right) wrong.push("out of its box: " + text.textContent.trim());
  }
  return wrong;
}"""


def large() -> tuple[Phase, Evidence]:
    """The stored run, as if it had seven targets of long names, big tables and many other databases."""
    records: Any = {
        step: json.loads((STORED / f"{n:02d}_{step}.json").read_text("utf-8"))
        for n, step in enumerate(STEPS, start=1)
    }
    leader = PHASE.targets["leader"]
    targets = {**PHASE.targets}
    first = records["preflight"]["answers"]
    whos, held = first["targets"]["facts"]["targets"], first["schema"]["facts"]["targets"]
    last = records["report"]["answers"]["last_look"]["facts"]["targets"]
    for number, name in enumerate((*NAMES, *NAMES)[:6]):
        target = f"{name}{number}"
        targets[target] = replace(leader, name=target, database=name)
        whos[target] = {
            **whos["leader"],
            "database": name,
            "server": f"{name}.example.internal:{65432 + number}",
        }
        held[target], last[target] = held["leader"], last["leader"]
    for look in (held, last):
        for table in look["leader"]["tables"].values():
            table["rows"] = 123_456_789_012
    for line in first["find_objects"]["facts"]["matrix"]:
        server = whos["leader"]["server"]
        for number in range(40):
            line["places"][f"{server} {NAMES[number % 4]}{number}"] = "there (x)"
            line["states"][f"{server} {NAMES[number % 4]}{number}"] = "there"
    tables = tuple(replace(t, name=f"public.{NAMES[n % 4] * 3}{n}") for n, t in enumerate(PHASE.tables))
    header = json.loads((STORED / "run.json").read_text("utf-8"))
    return replace(PHASE, targets=targets, tables=(*PHASE.tables, *tables)), Evidence.from_json(
        header, records, STORED
    )


@pytest.mark.parametrize("lang", ["fr", "en"])
@pytest.mark.parametrize("picture", ["topology", "matrix", "timeline"])
def test_every_text_stays_in_its_box(browser: Browser, picture: str, lang: str) -> None:
    phase, seen = large()
    drawn = {
        "topology": lambda: topology(phase, seen, lang),
        "matrix": lambda: matrix(phase, seen, lang),
        "timeline": lambda: timeline(seen, lang),
    }[picture]()
    page = browser.new_page(viewport={"width": 1400, "height": 900})
    page.set_content(f"<style>{source('page.css')}</style><main>{drawn}</main>")
    assert page.locator("svg text").count() > 10
    assert page.evaluate(OVERLAPS) == []
    page.close()
