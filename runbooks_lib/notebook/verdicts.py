"""How a verdict looks in a notebook: as on every page."""

from __future__ import annotations

from runbooks_lib.report.verdicts import SYMBOLS, TONES

__all__ = ["COLOURS", "SYMBOLS"]

COLOURS = {verdict: tone.light for verdict, tone in TONES.items()}
