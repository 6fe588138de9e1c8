"""The settlement of migrations in words: findings of migrations, objects, statements that change rows, and extras."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

from runbooks_lib.checks import Check
from runbooks_lib.facts.writing import DataDone, SettledMigration, SettledStatement
from runbooks_lib.findings import MANY, Finding, Verdict, judge
from runbooks_lib.phase import Phase
from runbooks_lib.postgres.catalog.catalog import Key
from runbooks_lib.postgres.rows.done import Done, Judged
from runbooks_lib.prisma.effects import ObjectState, Origin
from runbooks_lib.prisma.settlement import DEPLOYED, DONE, Action, Settled, Settlement
from runbooks_lib.prisma.timeline import Stands
from runbooks_lib.steps.pending import judged_later

SCRIPT = "migration.sql"
LISTED = 12
SHOWN_LINES = 12  # of a statement's text
_RECORDED = {"no": "not recorded", "failed": "recorded as failed", "rolled back": "rolled back"}
_BRINGS_BACK = ("CREATE ", "ALTER ", "DROP ", "COMMENT ")
_SECRET = ("USER MAPPING", "ROLE", "USER ", "SUBSCRIPTION", "SERVER ", "PASSWORD")


@dataclass(frozen=True, slots=True, kw_only=True)
class MadeBy:
    """What makes objects, in words: what else there may be, and how a script of it is called."""

    nobody: str
    it: str
    scripts: str


MADE_BY_MIGRATIONS = MadeBy(
    nobody="No migration makes them.", it="The migrations make it so.", scripts=f"{{}}/{SCRIPT}"
)
MADE_BY_FILE = MadeBy(
    nobody="The schema's file does not make them.", it="The schema's file makes it so.", scripts="{}"
)


def some(items: Sequence[str], *, between: str = ", ") -> str:
    """Return a list in words that a person still reads; the facts have all of it."""
    more = len(items) - LISTED
    return between.join(items[:LISTED]) + (f" and {more} more" if more > 0 else "")


def place(migration: str, line: int) -> str:
    """Return file and line of a migration's statement."""
    return f"{migration}/{SCRIPT}:{line}"


def judge_migrations(target: str, settlement: Settlement) -> Iterator[Finding]:
    """Judge each migration that the phase settles and that is not recorded as applied: what stands, and what follows.

    SKIP: Prisma is to be told so, or to deploy it. FAIL: neither can be said.
    """
    for each in settlement.migrations:
        if each.action in (Action.NOTHING, Action.LEFT):
            continue
        refused = each.action is Action.REFUSE
        yield Finding(
            check=Check.MIGRATION_IS_SETTLED,
            target=target,
            object=each.migration,
            have=f"{_RECORDED[each.recorded]}; {what_stands(each)}",
            want="all of it stands and is recorded",
            verdict=Verdict.FAIL if refused else Verdict.SKIP,
            hint=_why_refused(each) if refused else f"With --apply this runs: {command_of(each)}",
        )


def command_of(each: Settled) -> str:
    """Return what is run for a migration, such as `prisma migrate resolve --applied NAME`."""
    return {
        Action.RESOLVE_APPLIED: f"prisma migrate resolve --applied {each.migration}",
        Action.DEPLOY: "prisma migrate deploy",
        Action.ROLL_BACK_AND_DEPLOY: f"prisma migrate resolve --rolled-back {each.migration}; prisma migrate deploy",
    }.get(each.action, "nothing")


def what_stands(each: Settled) -> str:
    """Say what of a migration stands, such as `statements 1-3 of 7 stand; not: line 9 CREATE INDEX on t`."""
    match each.stands:
        case Stands.ALL:
            said = "all that it makes stands"
        case Stands.NONE:
            said = "nothing of it stands"
        case Stands.NOTHING:
            said = "it leaves nothing that a catalogue shows"
        case _:
            said = _standing_words(each)
    undone = [one for one in each.data if one.done in (Done.NONE, Done.PART)]
    if undone and each.stands is not Stands.NONE:
        said += f"; rows not changed: {some([_data_words(one) for one in undone])}"
    if each.unseen and each.whole is Stands.NOTHING:
        said += f"; not to be seen: {some(each.unseen)}"
    return said + ("; the baseline makes the rest" if each.completed else "")


def _standing_words(each: Settled) -> str:
    others = [
        f"line {one.line} {one.words}" + ("" if one.stands is Stands.NONE else f" ({_IN_PART[one.stands]})")
        for one in each.statements
        if one.stands is not Stands.ALL
    ]
    standing = _ranges(each.standing)
    stand = (
        f"statement{'s' if len(each.standing) > 1 else ''} {standing} of {each.of} stand"
        if standing
        else (f"of {each.of} statements none stands as a whole")
    )
    return f"{stand}; not: {some(others)}"


_IN_PART = {Stands.PART: "a part of it", Stands.OTHER: "something else stands there"}


def _ranges(numbers: Sequence[int]) -> str:
    """Return numbers in short, such as `1-3, 5`; empty for none."""
    ends = [a for a, b in pairwise(numbers) if b != a + 1] + list(numbers[-1:])
    begins = list(numbers[:1]) + [b for a, b in pairwise(numbers) if b != a + 1]
    return ", ".join(str(a) if a == b else f"{a}-{b}" for a, b in zip(begins, ends, strict=True))


_NOT_DONE = {
    True: "prisma migrate resolve --rolled-back, then prisma migrate deploy",
    False: "prisma migrate deploy",
}


def _why_refused(each: Settled) -> str:
    if each.hindered:
        return (
            f"`prisma migrate deploy` runs all that is pending, {some(each.hindered)} too, which this phase does not "
            "name. Name them in prisma.settle, or settle them first."
        )
    if each.whole is Stands.NOTHING:
        return (
            "Nothing tells whether any of it was done. See for yourself. If it was: prisma migrate resolve --applied "
            f"{each.migration}; if it was not: {_NOT_DONE[each.recorded == 'failed']}. Then plan again."
        )
    return "Nothing is run. Let the baseline make what is missing, or finish or undo it by hand; then plan again."


def judge_objects(
    target: str,
    objects: Iterable[ObjectState],
    phase: Phase,
    *,
    others: frozenset[str] = frozenset(),
    made_by: MadeBy = MADE_BY_MIGRATIONS,
) -> Iterator[Finding]:
    """Judge each object: the target has it as the migrations that were run make it, or it is still to be made so.

    `others` are migrations that this phase does not settle: what those alone have to do with is OPEN. Of very many
    that are otherwise, it is said where they are made, and not shown how.
    """
    every = tuple(objects)
    shows = sum(not each.stands for each in every) <= MANY
    for each in every:
        ignored = phase.ignored(each.kind, each.name)
        have, want = each.words()
        finding = Finding(
            check=Check.MIGRATION_OBJECTS_STAND,
            target=target,
            object=each.label,
            have=have,
            want=want,
            verdict=Verdict.PASS,
            of=each.of,
        )
        if each.stands and not each.to_come:
            yield finding
        elif each.stands and not each.planned:
            yield _with(
                finding, Verdict.SKIP, have=f"before {', '.join(each.to_come)}", want="settled as planned"
            )
        elif each.planned and not (each.recorded and not each.stands):
            yield judged_later(finding)
        elif each.planned and (repair := phase.repaired({origin.migration for origin in each.origins})):
            yield _with(judged_later(finding), Verdict.SKIP, hint=f"made anew: {repair.why}")
        elif ignored:
            yield _with(finding, Verdict.SKIP, hint=f"ignored: {ignored.why}")
        elif not each.recorded and {origin.migration for origin in each.origins} <= others:
            yield _with(finding, Verdict.OPEN, hint=_hint(each, made_by, shows=shows))
        else:
            yield _with(finding, Verdict.FAIL, hint=_hint(each, made_by, shows=shows))


def all_in_one(target: str, object: str, found: Sequence[Finding], words: str, *, later: bool) -> Finding:
    """Judge in one finding how many objects are as they should be; `later`: some of them are still to be made so."""
    stand = sum(f.verdict is Verdict.PASS for f in found)
    wrong = sum(f.verdict is Verdict.FAIL for f in found)
    said = f"{stand} of {len(found)} {words}"
    finding = judge(
        Check.MIGRATION_OBJECTS_STAND,
        target,
        object,
        have=f"{said}, {wrong} otherwise",
        want=f"{said}, 0 otherwise",
        hint="They are named above, with the statement that makes them so.",
    )
    return judged_later(finding) if later and not wrong else finding


def _with(finding: Finding, verdict: Verdict, **words: str) -> Finding:
    return Finding(
        **{**{name: getattr(finding, name) for name in finding.__slots__}, "verdict": verdict, **words}
    )


def _hint(each: ObjectState, made_by: MadeBy, *, shows: bool) -> str:
    if not each.origins:
        return f"{made_by.it} Find out who changed it, and mend it or them."
    said = f"Made so by {some([_origin(one, made_by) for one in each.origins])}."
    if each.planned:
        return f"{said} {_REPAIR.format(each.origins[0].migration)}"
    back = [text for one in each.origins if shows and (text := shown(one))]
    return f"{said} It would be brought back by: {' '.join(back)}" if back else said


_REPAIR = (
    "The baseline would make it anew, though it is recorded: find out who took it away. If it is to come back, say so "
    "in the phase file: [baseline] repairs = [{{ migration = {!r}, why = … }}]."
)


def _origin(origin: Origin, made_by: MadeBy) -> str:
    file = made_by.scripts.format(origin.migration)
    statement = origin.statement
    return file if statement is None else f"{file}:{statement.line} ({statement.words})"


def shown(origin: Origin) -> str:
    """Return the text of a statement that makes an object, if it may be shown; empty where it may hold a secret."""
    text = origin.statement.text.strip() if origin.statement else ""
    begins = " ".join(text.upper().split())
    if not begins.startswith(_BRINGS_BACK) or any(word in begins for word in _SECRET):
        return ""
    lines = text.splitlines()
    return "\n".join(lines[:SHOWN_LINES]) + (" …" if len(lines) > SHOWN_LINES else "") + ";"


def judge_extras(
    target: str, extras: Sequence[Key], phase: Phase, *, made_by: MadeBy = MADE_BY_MIGRATIONS
) -> Iterator[Finding]:
    """Judge what no migration makes: OPEN, all in one finding, but for what the phase ignores."""
    ignored = {key: each for key in extras if (each := phase.ignored(*key))}
    named = [f"{kind} {name}" for kind, name in extras if (kind, name) not in ignored]
    yield judge(
        Check.NOTHING_IS_BEYOND_THE_MIGRATIONS,
        target,
        "other objects",
        have=f"{len(named)}: {some(named)}" if named else "none",
        want="none",
        hint=f"{made_by.nobody} Find out who did and why; drop them, or ignore them in the phase file: "
        "[schema] ignore = [{ object = …, why = … }].",
        blocking=False,
    )
    for pattern in dict.fromkeys(each.object for each in ignored.values()):
        these = [f"{kind} {name}" for (kind, name), each in ignored.items() if each.object == pattern]
        why = next(each.why for each in ignored.values() if each.object == pattern)
        yield Finding(
            check=Check.NOTHING_IS_BEYOND_THE_MIGRATIONS,
            target=target,
            object=pattern,
            have=f"{len(these)}: {some(these)}",
            want="none",
            verdict=Verdict.SKIP,
            hint=f"ignored: {why}",
        )


def judge_data(target: str, migrations: Sequence[Settled]) -> Iterator[Finding]:
    """Judge the statements that change rows, one finding each, file and line; of applied migrations those not done.

    Of an applied migration's they are OPEN: rows may have come later. Where there are many, one finding a migration.
    """
    applied = [each for each in migrations if each.action is Action.NOTHING]
    many = sum(one.done not in DONE for each in applied for one in each.rows) > LISTED
    for each in migrations:
        if each.action is Action.NOTHING and many:
            yield from _folded(target, each)
        else:
            lines = Counter(one.statement.line for one in each.rows)
            for one in each.rows:
                where = place(each.migration, one.statement.line)
                if lines[one.statement.line] > 1:
                    where += f", statement {one.statement.at + 1}"
                yield _judge_statement(target, each, one, where)


def _folded(target: str, each: Settled) -> Iterator[Finding]:
    if each.rows:
        left = [one for one in each.rows if one.done not in DONE]
        yield _data_finding(
            target,
            f"{each.migration}/{SCRIPT}",
            some([f"line {one.statement.line} {_data_words(one)}" for one in left]) or "done",
            Verdict.OPEN if left else Verdict.PASS,
        )


def _judge_statement(target: str, each: Settled, one: Judged, where: str) -> Finding:
    if one.done in DONE:
        return _data_finding(target, where, _data_words(one), Verdict.PASS)
    if each.action in DEPLOYED:
        twice = one.done is Done.NOT_JUDGED  # where somebody ran it by hand
        verdict = Verdict.OPEN if twice else Verdict.SKIP
        return _data_finding(target, where, f"{_data_words(one)}; run by the deploy", verdict)
    if one.statement.at in each.filled:
        return _data_finding(target, where, f"{_data_words(one)}; the baseline fills them", Verdict.SKIP)
    undone = one.done is not Done.NOT_JUDGED and each.action is Action.REFUSE
    return _data_finding(target, where, _data_words(one), Verdict.FAIL if undone else Verdict.OPEN)


def _data_words(one: Judged) -> str:
    said = {Done.NONE: "not done", Done.PART: "done in part", Done.NOT_JUDGED: "not judged"}.get(
        one.done, "done"
    )
    rows = (
        "" if one.rows is None or one.done is Done.NOT_JUDGED else f", {one.rows} row{'s'[: one.rows != 1]}"
    )
    return f"{one.statement.words}: {said}{rows}" + (f" ({one.why})" if one.why else "")


def _data_finding(target: str, where: str, have: str, verdict: Verdict) -> Finding:
    hint = (
        ""
        if verdict in (Verdict.PASS, Verdict.SKIP)
        else (
            "A catalogue does not show it: see for yourself that the rows are as it leaves them, and sign it off."
        )
    )
    return Finding(
        check=Check.DATA_STATEMENT_IS_DONE,
        target=target,
        object=where,
        have=have,
        want="done",
        verdict=verdict,
        hint=hint,
    )


def settled_facts(settlement: Settlement) -> tuple[SettledMigration, ...]:
    """Return what is to become of each migration that is not plainly recorded, for the facts."""
    return tuple(
        SettledMigration(
            migration=each.migration,
            recorded=each.recorded,
            stands=each.stands.value,
            whole=each.whole.value,
            action=each.action.value,
            edited=each.edited,
            of=each.of,
            statements=tuple(
                SettledStatement(index=one.index, line=one.line, words=one.words, stands=one.stands.value)
                for one in each.statements
            ),
            data=data_facts(each.rows),
            completed=each.completed,
            hindered=each.hindered,
        )
        for each in settlement.migrations
        if each.action is not Action.NOTHING or each.stands is not Stands.ALL or each.edited
    )


def data_facts(data: Iterable[Judged]) -> tuple[DataDone, ...]:
    """Return how statements that change rows were judged, for the facts."""
    return tuple(
        DataDone(
            line=one.statement.line,
            words=one.statement.words,
            done=one.done.value,
            why=one.why,
            rows=one.rows,
        )
        for one in data
    )


def to_be_done(settlement: Settlement) -> dict[str, str]:
    """Return what is to become of each migration that Prisma is to be told of: what a plan's hash depends on."""
    return {
        each.migration: each.action.value
        for each in settlement.migrations
        if each.action not in (Action.NOTHING, Action.LEFT)
    }
