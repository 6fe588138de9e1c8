"""The picture of the standbys' lag, where a run sampled it more than once."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from markupsafe import Markup

from runbooks_lib.evidence import Evidence
from runbooks_lib.facts.databases import Sample
from runbooks_lib.report.templates import in_language, render

WIDTH, LEFT, RIGHT, TOP, BOTTOM = 860, 110, 20, 48, 34
HEIGHT = 160  # of the curve


@dataclass(frozen=True, slots=True, kw_only=True)
class Curve:
    """A target's lag over the run: time in seconds since the first sample, bytes, and the points in pixels."""

    target: str
    samples: tuple[tuple[float, int], ...]
    points: tuple[tuple[float, float], ...]


def lag_curve(evidence: Evidence, lang: str) -> Markup | None:
    """Return the picture as SVG in a language; None when no target was sampled twice, and when none was behind."""
    found: dict[str, list[tuple[float, int]]] = {}
    for target, second, size in _samples(evidence):
        found.setdefault(target, []).append((second, size))
    several = {target: sorted(samples) for target, samples in found.items() if len(samples) > 1}
    most = max((size for samples in several.values() for _, size in samples), default=0)
    if not most:
        return None
    first = min(samples[0][0] for samples in several.values())
    length_s = max(max(samples[-1][0] for samples in several.values()) - first, 1e-3)
    curves = tuple(
        Curve(
            target=target,
            samples=tuple((round(second - first, 1), size) for second, size in samples),
            points=tuple((_x((s - first) / length_s), _y(size / most)) for s, size in samples),
        )
        for target, samples in several.items()
    )
    words = in_language(lang)
    return Markup(
        render("lag.svg.j2", words, curves=curves, most=most, length_s=round(length_s, 1),
               width=WIDTH, height=TOP + HEIGHT + BOTTOM, left=LEFT, top=TOP, floor=TOP + HEIGHT)
    )  # fmt: skip


def _samples(evidence: Evidence) -> Iterator[tuple[str, float, int]]:
    """Yield target, moment (seconds since the epoch) and bytes of every sample that the run's answers have."""
    for record in evidence.records.values():
        for answer in record.answers.values():
            for target, lag in answer.lags.items():
                for each in lag.samples or (Sample(at=answer.started_at, lag_bytes=lag.lag_bytes),):
                    yield target, each.at.seconds, each.lag_bytes


def _x(share: float) -> float:
    return round(LEFT + share * (WIDTH - LEFT - RIGHT), 1)


def _y(share: float) -> float:
    return round(TOP + (1 - share) * HEIGHT, 1)
