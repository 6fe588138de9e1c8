"""What the figures should be, and whether they are."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from measure import Figure

LINEAR = 1.15  # the exponent with which a curve may end: noise allowed for


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """A bound for one value of a figure, which is found by its name and the beginning of its yardstick's."""

    what: str
    figure: str
    value: Callable[[Figure], Any]
    bound: float
    at_least: bool = False
    unit: str = ""
    yardstick: str = ""


def _more(key: str) -> Callable[[Figure], Any]:
    return lambda figure: figure.more.get(key)


def _share(figure: Figure) -> float:
    return 100 / (figure.ratio or 1)


def _ratio(figure: Figure) -> float | None:
    return figure.ratio


TARGETS = (
    Target(what="headless phase, against papermill's command line", figure="headless phase", value=_ratio,
           bound=5, at_least=True, unit=" x as fast"),
    Target(what="its overhead (less the floor), against that of papermill's command line",
           figure="headless phase", value=_more("overhead_ratio_wall_s"), bound=10, at_least=True,
           unit=" x smaller"),
    Target(what="headless phase, against its floor", figure="headless phase against its floor",
           value=_more("times_the_floor"), bound=1.4, unit=" x its floor"),
    Target(what="lab start to streaming standby", figure="lab start to streaming standby",
           value=lambda figure: figure.ours_median_s, bound=0.4, unit=" s"),
    Target(what="lab start, against the plain route", figure="lab start to streaming standby", value=_ratio,
           bound=3, at_least=True, unit=" x as fast"),
    Target(what="catalogue of 10,000 tables, against SQLAlchemy", figure="catalogue of 10,000 tables",
           yardstick="SQLAlchemy", value=_ratio, bound=2, at_least=True, unit=" x as fast"),
    Target(what="catalogue of 10,000 tables, against the bare queries", figure="catalogue of 10,000 tables",
           yardstick="the bare queries", value=_more("times_the_yardstick"), bound=1.3,
           unit=" x as long"),
    Target(what="preflight of 10,000 tables, against its queries alone", figure="preflight of 10,000 tables",
           value=_more("times_the_yardstick"), bound=1.3, unit=" x as long"),
    Target(what="seed verification of 1,000,000 rows, against pandas",
           figure="seed verification of 1,000,000 rows", value=_ratio, bound=1, at_least=True,
           unit=" x as fast"),
    Target(what="memory of the seed verification of 10,000,000 rows",
           figure="seed verification of 10,000,000 rows", value=_more("ours_peak_mb"), bound=200, unit=" MB"),
    Target(what="replay of 820 migrations, against psql", figure="replay of migrations",
           value=_more("times_the_yardstick"), bound=1.3, unit=" x as long"),
    Target(what="replay of 820 migrations from the cache, as a share of it",
           figure="replay of migrations, kept", value=_more("percent"), bound=5, unit=" %"),
    Target(what="plan of 820 migrations, against its replay and its queries",
           figure="plan of a long history", value=_more("times_the_yardstick"), bound=1.5, unit=" x as long"),
    Target(what="a database in a fleet of 50, against a run of its own", figure="fleet of 50 databases, each",
           value=_ratio, bound=3, at_least=True, unit=" x as fast"),
    Target(what="a fleet of 50 on two processors, against one worker", figure="fleet of 50 databases, each",
           value=_more("times_one_worker"), bound=1.8, at_least=True, unit=" x as fast"),
    Target(what="archive and report, as a share of the run", figure="archive and report", value=_share,
           bound=25, unit=" %"),
)  # fmt: skip


def judge(figures: Sequence[Figure], growth: Mapping[str, Mapping[str, float]]) -> list[dict[str, Any]]:
    """Return, for each target whose figure was measured, what is wanted, what there is, and whether it holds."""
    found = []
    for target in TARGETS:
        for figure in figures:
            if figure.name == target.figure and figure.yardstick.startswith(target.yardstick):
                have = target.value(figure)
                holds = have >= target.bound if target.at_least else have <= target.bound
                want = f"{'at least' if target.at_least else 'at most'} {target.bound:g}{target.unit}"
                found.append(
                    {"target": target.what, "have": f"{have:.2f}{target.unit}", "want": want, "holds": holds}
                )
    for size, lines in growth.items():
        have = lines["ours"]
        flat = size == "databases"  # whose figures are for each
        want = "flat: 0, and noise" if flat else "at most linear: 1, and noise"
        found.append(
            {
                "target": f"growth by {size}",
                "have": f"exponent {have}",
                "want": want,
                "holds": have <= LINEAR - flat,
            }
        )
    return found
