"""How a verdict looks: a symbol and a colour, and the word beside them."""

from __future__ import annotations

from runbooks_lib.findings import Verdict

SYMBOLS = {Verdict.PASS: "✔", Verdict.OPEN: "◌", Verdict.FAIL: "✘", Verdict.ERROR: "‼", Verdict.SKIP: "–"}
# Dark enough on white and distinct without colour vision; the symbol and the word say the same.
COLOURS = {
    Verdict.PASS: "#00663d",
    Verdict.OPEN: "#8a5a00",
    Verdict.FAIL: "#b3001b",
    Verdict.ERROR: "#7a0099",
}
