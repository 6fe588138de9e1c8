"""How fast is it, against what one would use otherwise? Ratios of medians, measured by turns in one run.

    python tests/benchmarks/bench.py [PART …] [--pairs N] [--quick] [--json] [--out DIR]

Seconds are true of this machine and this hour only; ratios carry over.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
import time
from pathlib import Path
from typing import Any

import archive
import catalogue
import cells
import curves
import fleet_plans
import headless
import history
import lab_start
import preflight
import replays
import seeds
import targets
from measure import Figure

PARTS = {
    "headless": lambda pairs, quick: headless.measure(pairs, quick=quick),
    "lab": lambda pairs, quick: lab_start.measure(pairs),
    "catalogue": lambda pairs, quick: catalogue.measure(pairs, (20, 60) if quick else (100, 1_000, 10_000)),
    "preflight": lambda pairs, quick: preflight.measure(pairs, (20, 60) if quick else (1_000, 10_000)),
    "cells": lambda pairs, quick: cells.measure(pairs, (2, 6) if quick else (10, 30, 100)),
    "seeds": lambda pairs, quick: (
        seeds.measure(pairs, (50, 150), (300,))
        if quick
        else seeds.measure(pairs, (1_000, 100_000, 1_000_000), (10_000_000,))
    ),
    "replay": lambda pairs, quick: replays.measure(pairs, 30 if quick else 820),
    "history": lambda pairs, quick: history.measure(pairs, 30 if quick else 820),
    "fleet": lambda pairs, quick: fleet_plans.measure(pairs, (1, 2) if quick else (5, 20, 50)),
    "archive": lambda pairs, quick: archive.measure(pairs, (2, 4) if quick else (10, 100, 1_000)),
}
SIZES = ("tables", "preflight_tables", "cells", "rows", "runs", "databases")


def main() -> None:
    """Measure the chosen parts and print a table, or JSON."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"of {', '.join(PARTS)}; default: all")
    parser.add_argument("--pairs", type=int, default=5, help="measurements of each side (default: 5)")
    parser.add_argument("--quick", action="store_true", help="one pair, small sizes: does it run at all?")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--out", type=Path, metavar="DIR", help="folder for results.json and curves as SVG")
    chosen = parser.parse_args()
    if unknown := set(chosen.parts) - set(PARTS):
        parser.error(f"no such part: {', '.join(sorted(unknown))}")
    figures: list[Figure] = []
    for part in chosen.parts or PARTS:
        began = time.perf_counter()
        found = PARTS[part](1 if chosen.quick else max(chosen.pairs, 1), chosen.quick)
        print(f"{part}: measured in {time.perf_counter() - began:.0f} s", file=sys.stderr)
        figures += found
        if not chosen.json:
            for figure in found:
                _print(figure)
    growth = _growth(figures)
    content = {
        "figures": [figure.to_dict() for figure in figures],
        "growth": growth,
        "targets": targets.judge(figures, growth),
    }
    if chosen.json:
        print(json.dumps(content, indent=2))
    else:
        _print_targets(content)
    if chosen.out:
        _write(chosen.out, content, figures)


def _print(figure: Figure) -> None:
    row = figure.to_dict()
    if row["ratio"] is None:
        print(f"{row['name']:36} {row['ours_median_s']:.3f} s")
    else:
        print(
            f"{row['name']:36} {row['ratio']:6.2f} x as fast as {row['yardstick']} "
            f"({row['ours_median_s']:.3f} s : {row['yardstick_median_s']:.3f} s)"
        )
    for name, value in figure.more.items():
        if name not in SIZES:
            print(f"{'':36} {name} {value}")


def _print_targets(content: dict[str, Any]) -> None:
    for target in content["targets"]:
        says = "holds" if target["holds"] else "DOES NOT HOLD"
        print(f"{says:14} {target['target']}: {target['have']} (wanted: {target['want']})")


def _series(figures: list[Figure]) -> dict[str, dict[str, list[curves.Point]]]:
    """Return, for each size that was varied, the lines of ours and of each yardstick."""
    found: dict[str, dict[str, list[curves.Point]]] = {}
    for figure in figures:
        for size in SIZES:
            if size in figure.more:
                lines = found.setdefault(size, {})
                row = figure.to_dict()
                ours = (float(row[size]), row["ours_median_s"])
                if ours[0] not in [x for x, _ in lines.setdefault("ours", [])]:
                    lines["ours"].append(ours)
                if row["ratio"] is not None:
                    point = float(row[size]), row["yardstick_median_s"]
                    lines.setdefault(figure.yardstick, []).append(point)
    return found


def _growth(figures: list[Figure]) -> dict[str, dict[str, float]]:
    """Return the exponent with which each curve ends: 1 is linear."""
    return {
        size: {name: round(curves.exponent(line), 2) for name, line in lines.items()}
        for size, lines in _series(figures).items()
    }


def _write(folder: Path, content: dict[str, Any], figures: list[Figure]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "results.json").write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    for size, lines in _series(figures).items():
        name = re.sub(r"\W+", "_", size)
        (folder / f"{name}.svg").write_text(curves.svg(f"Seconds by {size}", size, lines), encoding="utf-8")


if __name__ == "__main__":
    main()
