"""The plan of a baseline: what each statement would do to its object.

What an object should be like is not read from the SQL: the script runs in a scratch database, and what it makes
there is compared with what the target has.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from runbooks_lib.checks import Check
from runbooks_lib.findings import Finding, Verdict, judge
from runbooks_lib.names import parts, qualified
from runbooks_lib.phase import LintRule, LintVerdict
from runbooks_lib.postgres.catalog.catalog import Catalog, Key, Value
from runbooks_lib.postgres.catalog.differences import Described, compare, describe, granted, in_words, without
from runbooks_lib.postgres.scratch.baseline_effects import function_name
from runbooks_lib.postgres.script.lint import LintWarning
from runbooks_lib.postgres.script.script import Statement

# What makes up an object of a kind, as (kind, name) of a description. A name taken by another kind counts too:
# CREATE … IF NOT EXISTS skips a table whose name a view has.
_OWN = {
    "table": ("relation", "columns"),
    "view": ("relation", "columns", "view"),
    "sequence": ("relation", "sequence"),
    "index": ("index", "relation"),
    "enum": ("enum", "type", "relation"),
    "function": ("function",),
    "schema": ("schema",),
    "extension": ("extension",),
    "type": ("enum", "type"),
    "trigger": ("trigger",),
    "policy": ("policy",),
}
MAX_NAMED = 5


class State(StrEnum):
    """What a statement would do to its object."""

    CREATE = "would create"
    SAME = "exists, same"
    DIFFERENT = "exists, DIFFERENT"
    DROP = "would drop"
    CHANGE = "would change"  # an ALTER of the script brings it in line; the rehearsal proves it
    RUN = "would run"  # makes nothing that has a name


@dataclass(frozen=True, slots=True, kw_only=True)
class Planned:
    """A statement with what it would do, and in what the existing object differs."""

    statement: Statement
    state: State
    difference: str = ""


def plan_statements(
    statements: Sequence[Statement], made: Described, catalog: Catalog
) -> tuple[Planned, ...]:
    """Compare what the script makes (`made`, as describe says it) with what the target has, statement by statement."""
    live = describe(catalog)
    created = {s.object for s in statements if not s.alters}
    lacking = {s.object for s in statements if _brings_in_line(s, catalog, live)}
    shapes = dict(_shapes(catalog, live))
    return tuple(
        _plan_away(s, shapes)
        if s.touched.drops or s.touched.moves
        else _plan(s, made, live, created=s.object in created, lacking=s.object in lacking)
        for s in statements
    )


def _brings_in_line(statement: Statement, catalog: Catalog, live: Described) -> bool:
    """Return whether a statement makes another thing of an object that is there, and does not only create it."""
    touched = statement.touched
    adds = set(touched.adds) - _parts(catalog, statement.object)
    return touched.changes or bool(adds) or any(each.key not in live for each in touched.hangs)


def _shapes(catalog: Catalog, live: Described) -> Iterator[tuple[str, str]]:
    """Yield the name of everything that is there; of what may come back in another shape, how it is printed."""
    yield from ((name, "") for _, name in live)
    for table, columns in catalog.columns.items():
        yield from ((qualified(*parts(table), column.name), column.type) for column in columns)
        constraints = catalog.constraints.get(table, ())
        yield from ((qualified(*each.key), each.definition) for each in constraints)
    yield from ((index.name, index.definition) for index in catalog.indexes.values())


def _plan_away(statement: Statement, shapes: Mapping[str, str]) -> Planned:
    """Plan a statement that drops or renames: it is due as long as the object is there under its old name."""
    touched = statement.touched
    there = [
        name for name in touched.drops if name in shapes and not _passed_over(shapes[name], touched.unless)
    ]
    if there:
        return Planned(statement=statement, state=State.DROP, difference=", ".join(there))
    moves = any(name in shapes for name in touched.moves)
    return Planned(statement=statement, state=State.CHANGE if moves else State.SAME)


def _passed_over(shape: str, unless: str | None) -> bool:
    """Return whether an object has the shape already that it is to have; a script sees public's without schema."""
    return unless is not None and shape.replace("public.", "") == unless.replace("public.", "")


def _parts(catalog: Catalog, name: str) -> set[str]:
    """Return the columns of a table, or the labels of an enum."""
    enum = catalog.enums.get(name)
    return {column.name for column in catalog.columns.get(name, ())} | set(enum.labels if enum else ())


def _plan(statement: Statement, made: Described, live: Described, *, created: bool, lacking: bool) -> Planned:
    """Plan one statement. `created`: the script makes its object; `lacking`: the target's has not all that it adds."""
    if statement.kind not in _OWN:
        return Planned(statement=statement, state=State.RUN)
    wanted = {key: value for key, value in made.items() if _belongs(key, statement)}
    # of an object that is only altered, what the script does not touch is not its matter
    have = {
        key: value for key, value in live.items() if key in wanted or (created and _takes(key, statement))
    }
    if not wanted and statement.alters:  # nothing is changed where it runs beside what the target has
        return Planned(statement=statement, state=State.SAME)
    if not have:
        return Planned(statement=statement, state=State.CREATE)
    differing = "; ".join(map(in_words, compare(have, wanted)))
    if not differing:
        return Planned(statement=statement, state=State.SAME)
    state = State.CHANGE if lacking or _is_broken_off(statement, have, wanted) else State.DIFFERENT
    return Planned(statement=statement, state=state, difference=differing)


def _is_broken_off(statement: Statement, have: Described, wanted: Described) -> bool:
    """Return whether an index is there but for its end: one that is built concurrently is then built anew."""
    whole = ({key: without(value, "is_valid") for key, value in each.items()} for each in (have, wanted))
    return statement.concurrent and not any(compare(*whole))


def _belongs(key: Key, statement: Statement) -> bool:
    kind, name = key
    if kind == "constraint":
        return statement.kind == "table" and parts(name)[:-1] == parts(statement.object)
    return _takes(key, statement)


def _takes(key: Key, statement: Statement) -> bool:
    """Return whether something of this kind and name is in the place of the statement's object."""
    kind, name = key
    if kind not in _OWN[statement.kind]:
        return False
    match kind:
        case "function":
            return function_name(name) == statement.object
        case _:
            return name == statement.object


def judge_plan(target: str, planned: Iterable[Planned], where: str) -> tuple[Finding, ...]:
    """Return a finding object_is_absent_or_equal for each statement that makes something with a name.

    `where` says where it was seen what the script makes. SKIP when no statement makes anything: then there is nothing
    to compare, and the rehearsal judges what it does.
    """
    naming = [each for each in planned if each.state is not State.RUN]
    nothing = Finding(
        check=Check.OBJECT_IS_ABSENT_OR_EQUAL,
        target=target,
        object="every statement",
        have="makes nothing that has a name",
        want="judged by the rehearsal",
        verdict=Verdict.SKIP,
    )
    return tuple(_judge_planned(target, each, where) for each in naming) or (nothing,)


def _judge_planned(target: str, planned: Planned, where: str) -> Finding:
    verdict, hint = _JUDGED.get(planned.state, (Verdict.PASS, ""))
    return Finding(
        check=Check.OBJECT_IS_ABSENT_OR_EQUAL,
        target=target,
        object=planned.statement.object,
        have=f"{planned.state}: {planned.difference}" if planned.difference else planned.state.value,
        want=f"absent, or equal to what the script makes {where}",
        verdict=verdict,
        hint=hint,
    )


_JUDGED = {
    State.DIFFERENT: (
        Verdict.FAIL,
        "IF NOT EXISTS would hide this: bring the object or the script in line first.",
    ),
    State.DROP: (
        Verdict.OPEN,
        "It is destroyed with all that it holds: see that nobody needs it, and that the backup has it.",
    ),
}


def judge_made(target: str, made: Described, live: Described, where: str) -> Finding:
    """Judge script_makes_what_it_says: after the script, the target holds what the script makes on its own.

    Others' privileges may be more than it grants: those come from the target's default privileges, or from others. The
    order of columns tells how a table came to be: what is renamed keeps its place, what comes back is the last.
    """
    have = {key: made[key] if _is_as(key, made[key], live[key]) else live[key] for key in made if key in live}
    differing = tuple(compare(have, made))
    more = f" and {len(differing) - MAX_NAMED} more" if len(differing) > MAX_NAMED else ""
    said = f"; {'; '.join(map(in_words, differing[:MAX_NAMED]))}{more}" if differing else ""
    return judge(
        Check.SCRIPT_MAKES_WHAT_IT_SAYS,
        target,
        "objects of the script",
        have=f"{len(made) - len(differing)} of {len(made)} as {where}{said}",
        want=f"{len(made)} of {len(made)} as {where}",
        hint="IF NOT EXISTS skipped objects of another shape: bring them in line by a migration of its own.",
    )


def _is_as(key: Key, made: Value, live: Value) -> bool:
    if key[0] == "columns" and isinstance(made, tuple) and isinstance(live, tuple):
        return len(made) == len(live) and frozenset(made) == frozenset(live)
    return key[0].endswith("privileges") and granted(made) <= granted(live)


def judge_lint(
    target: str, file: str, warnings: Iterable[LintWarning], rules: Sequence[LintRule]
) -> list[Finding]:
    """Return one finding script_is_lint_free per rule that warns, with the verdict that the phase gives it."""
    lines: dict[str, list[LintWarning]] = {}
    for warning in warnings:
        lines.setdefault(warning.rule, []).append(warning)
    if not lines:
        return [judge(Check.SCRIPT_IS_LINT_FREE, target, file, have="no warning", want="no warning", hint="")]
    return [_lint_finding(target, file, rule, found, rules) for rule, found in sorted(lines.items())]


def _lint_finding(
    target: str, file: str, rule: str, found: Sequence[LintWarning], rules: Sequence[LintRule]
) -> Finding:
    declared = next((r for r in rules if r.rule == rule), None)
    verdict = Verdict(declared.verdict) if declared else Verdict.OPEN
    accepted = declared is not None and declared.verdict is LintVerdict.SKIP
    hint = (
        f"accepted: {declared.why}"
        if declared and accepted
        else f"{found[0].message} {found[0].help}".strip()
    )
    numbers = ", ".join(str(warning.line) for warning in found[:MAX_NAMED])
    more = " …" if len(found) > MAX_NAMED else ""
    return Finding(
        check=Check.SCRIPT_IS_LINT_FREE,
        target=target,
        object=f"{file}: {rule}",
        have=f"{len(found)} × at line {numbers}{more}",
        want="no warning",
        verdict=verdict,
        hint=hint,
    )
