"""One colour for each verdict, on pages and in notebooks, that can be read on light and on dark ground."""

from __future__ import annotations

import pytest

from runbooks_lib.findings import Verdict
from runbooks_lib.notebook.style import STYLE
from runbooks_lib.report.templates import source
from runbooks_lib.report.verdicts import TONES, variables

AA = 4.5
LIGHT = ("#ffffff", "#f5f7f9")  # of the pages; JupyterLab's is white
DARK = ("#12161b", "#1b2128", "#111111", "#212121")  # of the pages, of JupyterLab


def contrast(one: str, other: str) -> float:
    """Source: https://www.w3.org/TR/WCAG22/#dfn-contrast-ratio"""
    darker, lighter = sorted(map(luminance, (one, other)))
    return (lighter + 0.05) / (darker + 0.05)


def luminance(colour: str) -> float:
    parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    red, green, blue = (p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def test_the_measure_itself() -> None:
    assert contrast("#000000", "#ffffff") == pytest.approx(21)
    assert contrast("#777777", "#ffffff") < AA < contrast("#767676", "#ffffff")


@pytest.mark.parametrize("verdict", Verdict)
def test_a_verdict_can_be_read(verdict: Verdict) -> None:
    tone = TONES[verdict]
    assert min(contrast(tone.light, ground) for ground in (*LIGHT, tone.light_tint)) >= AA
    assert min(contrast(tone.dark, ground) for ground in (*DARK, tone.dark_tint)) >= AA


def test_there_is_one_definition() -> None:
    assert STYLE.count(variables(dark=False)) == STYLE.count(variables(dark=True)) == 1
    assert [v for v in Verdict if f".{v}{{color:var(--{v.lower()})}}" not in STYLE] == []
    assert "--pass:#0b6650;--pass-bg:#d3efe4;" in variables(dark=False)
    assert "--pass:#6fdcc0;" in variables(dark=True)
    assert [v for v in Verdict if f"--{v.lower()}:" in source("page.css")] == []
