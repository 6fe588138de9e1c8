"""The picture of the run's time: steps and their questions, how long each took, and its verdict."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from markupsafe import Markup

from runbooks_lib.evidence import Answered, Evidence, Record
from runbooks_lib.report.templates import in_language, render

WIDTH, LEFT, RIGHT = 860, 230, 96
PAUSE_WIDTH = 120.0  # of what is said of a pause
SHORTEST_BAR = 2.0
LONGEST_GAP_SHARE = (
    0.1  # a longer pause between steps (a run that was continued) is drawn as this share of the work
)
LONGEST_GAP_S = 3.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Bar:
    """A step (`question` None) or one of its questions; x and width in pixels."""

    step: str
    question: str | None
    verdict: str | None
    duration_s: float | None
    x: float
    width: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Pause:
    """A pause that is drawn shorter than it was; x in pixels. What is said of it stands in a line where it has room."""

    x: float
    duration_s: float
    line: int


@dataclass(frozen=True, slots=True, kw_only=True)
class _Span:
    """A step's record with the times of its beginning and end, in seconds since the epoch."""

    step: str
    record: Record
    begin: float
    end: float


def timeline(evidence: Evidence, lang: str) -> Markup:
    """Return the picture as SVG in a language."""
    bars, pauses = layout(evidence)
    return Markup(
        render(
            "timeline.svg.j2",
            in_language(lang),
            bars=bars,
            pauses=pauses,
            width=WIDTH,
            left=LEFT,
            total_s=sum(bar.duration_s or 0 for bar in bars if bar.question is None),
        )
    )


def layout(evidence: Evidence) -> tuple[tuple[Bar, ...], tuple[Pause, ...]]:
    """Place every step and question on one axis, on which long pauses between steps are shortened."""
    spans = sorted(
        (_span(step, record) for step, record in evidence.records.items()), key=lambda span: span.begin
    )
    if not spans:
        return (), ()
    work_s = sum(span.end - span.begin for span in spans)
    longest = max(LONGEST_GAP_S, work_s * LONGEST_GAP_SHARE)
    position, starts, pauses = 0.0, [], []
    for number, span in enumerate(spans):
        gap = max(span.begin - spans[number - 1].end, 0.0) if number else 0.0
        if gap > longest:
            pauses.append((position + longest / 2, gap))
        position += min(gap, longest)
        starts.append(position)
        position += span.end - span.begin
    scale = (WIDTH - LEFT - RIGHT) / (position or 1.0)
    bars = tuple(bar for span, start in zip(spans, starts, strict=True) for bar in _bars(span, start, scale))
    return bars, tuple(_in_lines((LEFT + at * scale, round(gap, 1)) for at, gap in pauses))


def _in_lines(pauses: Iterable[tuple[float, float]]) -> Iterator[Pause]:
    """Put each pause, from left to right, into the first line in which it is said beside the one before."""
    ends: list[float] = []
    for x, duration_s in pauses:
        line = next((n for n, end in enumerate(ends) if end <= x - PAUSE_WIDTH / 2), len(ends))
        ends[line : line + 1] = [x + PAUSE_WIDTH / 2]
        yield Pause(x=x, duration_s=duration_s, line=line)


def _span(step: str, record: Record) -> _Span:
    begin = record.started_at.seconds
    ends = [each.started_at.seconds + (each.duration_s or 0) for each in record.answers.values()]
    return _Span(step=step, record=record, begin=begin, end=max((begin + (record.duration_s or 0), *ends)))


def _bars(span: _Span, start: float, scale: float) -> list[Bar]:
    def bar(question: str | None, answer: Answered | Record, begin: float, length: float) -> Bar:
        return Bar(
            step=span.step,
            question=question,
            verdict=answer.verdict,
            duration_s=answer.duration_s,
            x=round(LEFT + (start + begin - span.begin) * scale, 1),
            width=round(max(length * scale, SHORTEST_BAR), 1),
        )

    questions = [
        bar(name, answer, answer.started_at.seconds, answer.duration_s or 0)
        for name, answer in span.record.answers.items()
    ]
    return [bar(None, span.record, span.begin, span.end - span.begin), *questions]
