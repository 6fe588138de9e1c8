"""How a verdict looks, on every screen: a symbol, the word beside it, and one colour on light and one on dark ground.

Each colour can be read on its own tint and on the ground of a page or of JupyterLab (WCAG AA), and the colours can
be told apart without colour vision.
"""

from __future__ import annotations

from dataclasses import dataclass

from runbooks_lib.findings import Verdict

SYMBOLS = {Verdict.PASS: "✔", Verdict.OPEN: "◌", Verdict.FAIL: "✘", Verdict.ERROR: "‼", Verdict.SKIP: "–"}


@dataclass(frozen=True, slots=True)
class Tone:
    """The colour of a verdict's text, and the tint behind it, on light and on dark ground."""

    light: str
    light_tint: str
    dark: str
    dark_tint: str


TONES = {
    Verdict.PASS: Tone("#0b6650", "#d3efe4", "#6fdcc0", "#0d4034"),
    Verdict.OPEN: Tone("#7d5200", "#fdf0cf", "#f0c060", "#43330b"),
    Verdict.FAIL: Tone("#a8181f", "#fbe0df", "#ff9a94", "#541c1c"),
    Verdict.ERROR: Tone("#7a0099", "#f3e2f8", "#e0a6f5", "#44194f"),
    Verdict.SKIP: Tone("#57606a", "#eaedf0", "#a3adb8", "#2a313a"),
}


def variables(*, dark: bool) -> str:
    """Return the colours as CSS variables, to be put in a rule: `--pass`, and `--pass-bg` for the tint."""
    shown = {
        verdict: (tone.dark, tone.dark_tint) if dark else (tone.light, tone.light_tint)
        for verdict, tone in TONES.items()
    }
    return "".join(
        f"--{verdict.lower()}:{ink};--{verdict.lower()}-bg:{tint};" for verdict, (ink, tint) in shown.items()
    )
