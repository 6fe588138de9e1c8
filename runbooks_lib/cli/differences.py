"""`runbooks runs diff`: the summary first, then what got worse, what changed, what is better."""

from __future__ import annotations

from collections.abc import Iterator

from runbooks_lib.amounts import counted, lasted, moment
from runbooks_lib.findings import Verdict
from runbooks_lib.report.diff import About, Changed, Difference, OfOne, Seconds

SHORT = 64  # characters of a fact's value
_RANK = {verdict: rank for rank, verdict in enumerate(Verdict)}


def told(found: Difference, *, everything: bool) -> Iterator[str]:
    """Yield a difference as lines: the summary, findings by their verdict now, the worst first, then the facts."""
    a, b, findings = found.a, found.b, found.findings
    yield f"{a.verdict or 'no verdict'} -> {b.verdict or 'no verdict'}: " + (
        "no difference"
        if found.same
        else f"{counted(len(findings.changed), 'finding')} changed, {len(findings.new)} new, "
        f"{len(findings.vanished)} vanished, {counted(len(found.facts), 'other fact')}"
    )
    for name, run in (("a", a), ("b", b)):
        yield f"{name}: {run.id} {run.phase} {run.mode}, begun {moment(run.started_at)}"
    lines = sorted(_findings(found), key=lambda line: -_RANK[line[0]])
    hidden = 0
    for verdict, text in lines:
        if verdict is Verdict.PASS and not everything:
            hidden += 1
        else:
            yield text
    if hidden:
        yield f"{counted(hidden, 'difference')} with PASS on both sides not shown: --all"
    for fact in found.facts:
        yield f"{fact.fact}: {_short(fact.a)} -> {_short(fact.b)}"
    if seconds := ", ".join(map(_took, found.durations_s)):
        yield f"durations: {seconds}"


def _findings(found: Difference) -> Iterator[tuple[Verdict, str]]:
    """Yield each finding that differs, with the worse of its verdicts."""
    for each in found.findings.changed:
        yield max(each.a.verdict, each.b.verdict, key=_RANK.__getitem__), _changed(each)
    for kind, ones in (("new", found.findings.new), ("vanished", found.findings.vanished)):
        yield from ((one.verdict, _of_one(kind, one)) for one in ones)


def _changed(each: Changed) -> str:
    return (
        f"{each.a.verdict} -> {each.b.verdict}  {_about(each)}\n"
        f"    a: found {each.a.have}, expected {each.a.want}\n"
        f"    b: found {each.b.have}, expected {each.b.want}"
    )


def _of_one(kind: str, one: OfOne) -> str:
    return f"{kind} {one.verdict}  {_about(one)}: found {one.have}, expected {one.want}"


def _about(each: About) -> str:
    return f"{each.step}.{each.question} {each.check} {each.target} {each.object}"


def _took(each: Seconds) -> str:
    before, after = ("-" if s is None else lasted(s) for s in (each.a, each.b))
    return f"{each.step} {before} -> {after}"


def _short(value: object) -> str:
    text = "none" if value is None else str(value)
    return text if len(text) <= SHORT else text[: SHORT - 1] + "…"
