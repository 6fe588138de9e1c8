"""How does each migration stand in a database, and what is to become of it? Values only: nothing is read or written.

What the migrations make is a history for each object (see `timeline`); where in it a database is says, statement by
statement, what stands of each migration. From that, and from what is recorded, follows what Prisma is to be told.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from itertools import compress

from runbooks_lib.postgres.catalog.catalog import Key, Value
from runbooks_lib.postgres.rows.done import Done, Judged
from runbooks_lib.postgres.scratch.replayed import Ran, Replayed
from runbooks_lib.postgres.script.effects import empties_a_column
from runbooks_lib.prisma.effects import Effect, Effects, ObjectState
from runbooks_lib.prisma.extras import extras
from runbooks_lib.prisma.lost import Asked, lost
from runbooks_lib.prisma.parts import Parts, parts_of
from runbooks_lib.prisma.state import State
from runbooks_lib.prisma.timeline import Stands, together

INSERTS = ("InsertStmt", "CopyStmt")
DONE = frozenset({Done.ALL, Done.NOTHING})
OF_A_SESSION = ("NotifyStmt", "VariableSetStmt")  # nothing of them is left when it ends


class Action(StrEnum):
    """What is to become of a migration; everything that is written is written by Prisma."""

    NOTHING = "nothing"
    RESOLVE_APPLIED = "prisma migrate resolve --applied"
    DEPLOY = "prisma migrate deploy"
    ROLL_BACK_AND_DEPLOY = "prisma migrate resolve --rolled-back, prisma migrate deploy"
    REFUSE = "refused"
    LEFT = "left as it is"  # the phase does not name it


DEPLOYED = frozenset({Action.DEPLOY, Action.ROLL_BACK_AND_DEPLOY})


@dataclass(frozen=True, slots=True, kw_only=True)
class StatementStands:
    """A statement that leaves something in the catalogue, by its number from 0 and its line, and what of it stands.

    Without a number it is the script as a whole, whose statements can't be told apart.
    """

    index: int | None
    line: int
    words: str
    stands: Stands


@dataclass(frozen=True, slots=True, kw_only=True)
class Settled:
    """A migration: how it is recorded, what of it stands, and what is to become of it.

    `recorded` is "no", "applied", "failed" or "rolled back"; `edited`: its file is not what was recorded. `stands` is
    what of the catalogue shows, `whole` takes the statements that change rows into account. `statements` are those
    that leave something, of an applied migration only those that do not stand; `of` is their number in its script.
    `untold`: of one of the others neither the catalogue nor a row tells whether it was run; `unseen`: these, in words.
    `lost` are statements of one that counts as run, of which nothing tells whether they took rows away, or gave them a
    default.
    `completed`: part of it is made by the phase's baseline, `filled` are the places of the statements whose rows that
    fills, as `at` counts them. `hindered` names others that a deploy would run, too.
    """

    migration: str
    recorded: str
    edited: bool = False
    stands: Stands
    whole: Stands
    action: Action
    statements: tuple[StatementStands, ...] = ()
    of: int = 0
    data: tuple[Judged, ...] = ()
    lost: tuple[Judged, ...] = ()
    untold: bool = False
    unseen: tuple[str, ...] = ()
    completed: bool = False
    filled: frozenset[int] = frozenset()
    hindered: tuple[str, ...] = ()

    @property
    def rows(self) -> tuple[Judged, ...]:
        """Return the statements that change rows or take them away, as judged, in the script's order."""
        by_place = {one.statement.at: one for one in (*reversed(self.lost), *self.data)}
        return tuple(by_place[at] for at in sorted(by_place))

    @property
    def standing(self) -> tuple[int, ...]:
        """Return the numbers, from 1, of the statements whose effects stand."""
        stand = [each for each in self.statements if each.stands is Stands.ALL]
        return tuple(each.index + 1 for each in stand if each.index is not None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Settlement:
    """All migrations in the folder's order, each object that they make or remove, and what else is in the database."""

    migrations: tuple[Settled, ...]
    objects: tuple[ObjectState, ...] = ()
    extras: tuple[Key, ...] = ()

    def with_action(self, *actions: Action) -> tuple[str, ...]:
        """Return the names of the migrations with one of these actions, in order."""
        return tuple(each.migration for each in self.migrations if each.action in actions)


def settle(
    state: State,
    replayed: Replayed,
    live: Mapping[Key, Value],
    *,
    which: tuple[str, ...] | None,
    data: Mapping[str, tuple[Judged, ...]],
    asked: Asked | None = None,
    server_major: int = 18,
    owned: bool = True,
    planned: Mapping[Key, Value] | None = None,
    to_be: Mapping[str, tuple[Judged, ...]] | None = None,
) -> Settlement:
    """Settle every replayed migration against a live catalogue, as `describe` says it.

    `which` names those that the phase settles, None all; `data` are the statements that change rows, as judged in the
    target. `owned`: owners are compared, too. `planned` is what a baseline is still to make, and `to_be` how the rows
    will be then: what of a migration it makes and fills counts as standing then. `asked` says of which tables the
    target has rows: without it, of all.
    """
    asked = asked or Asked(migrations=frozenset(), empty=frozenset())

    def parts(described: Mapping[Key, Value]) -> Parts:
        return parts_of(described, server_major=server_major, owned=owned)

    gone = lost(replayed, state.scripts, state.schema, asked, parts)

    def against(described: Mapping[Key, Value], data: Mapping[str, tuple[Judged, ...]]) -> Settlement:
        names = [ran.name for ran in replayed.scripts]
        todo = [name for name in names if state.recorded(name) != "applied"]
        effects = Effects(replayed, described, todo, server_major=server_major, owned=owned)
        either = _narrow(effects, names, todo)
        # None of them drops again what may be in use: as a whole they leave the catalogue as it is.
        kept = either if any(map(effects.takes_rows, either)) else frozenset()
        found = []
        for ran in replayed.scripts:
            its = data.get(ran.name, ())
            each = _settled(state, effects, ran, its, either=either, kept=kept, empty=asked.empty)
            untold = (*gone.get(ran.name, ()), *asked.unfilled.get(ran.name, ()))
            found.append(replace(each, lost=untold if _counts_as_run(each, either) else ()))
        return Settlement(
            migrations=tuple(_decided(found, which)),
            objects=tuple(effects.objects()),
            extras=tuple(extras(replayed, described, state.schema)),
        )

    now = against(live, data)
    if not planned and not to_be:
        return now
    return _completed(now, against({**live, **(planned or {})}, {**data, **(to_be or {})}))


def compare(
    replayed: Replayed,
    live: Mapping[Key, Value],
    *,
    schema: str,
    server_major: int,
    owned: bool,
    planned: Mapping[Key, Value],
) -> Settlement:
    """Compare scripts that count as run, such as a schema's file, with a live catalogue; there is nothing to settle.

    Of an object that a baseline is still to make (`planned`) nothing is recorded.
    """

    def against(described: Mapping[Key, Value]) -> Settlement:
        effects = Effects(replayed, described, (), server_major=server_major, owned=owned)
        for ran in replayed.scripts:
            effects.was_run(ran.name)
        return Settlement(
            migrations=(),
            objects=tuple(effects.objects()),
            extras=tuple(extras(replayed, described, schema)),
        )

    now = against(live)
    if not planned:
        return now
    then = _completed(now, against({**live, **planned}))
    return replace(
        then,
        objects=tuple(replace(each, recorded=each.recorded and not each.planned) for each in then.objects),
    )


def _completed(now: Settlement, then: Settlement) -> Settlement:
    """Return what is to become of all when the baseline has been applied, and what stands now."""
    stood = {each.migration: each for each in now.migrations}
    standing = {each.label for each in then.objects if each.stands and not each.to_come}
    return Settlement(
        migrations=tuple(
            replace(
                each, stands=was.stands, data=was.data, completed=True, filled=frozenset(_filled(was, each))
            )
            if (each.stands, each.whole) != (was.stands, was.whole)
            else each
            for each in then.migrations
            for was in (stood[each.migration],)
        ),
        objects=tuple(
            replace(each, planned=True)
            if each.label in standing and (each.to_come or not each.stands)
            else each
            for each in now.objects
        ),
        extras=now.extras,
    )


def _filled(now: Settled, then: Settled) -> Iterator[int]:
    """Yield the places of the statements whose rows are as they leave them only then."""
    for was, each in zip(now.data, then.data, strict=True):
        if was.done not in DONE and each.done in DONE:
            yield each.statement.at


def _narrow(effects: Effects, names: Sequence[str], todo: Sequence[str]) -> frozenset[str]:
    """Find out which migrations were run: from what is recorded, then from each that is clear by itself.

    `names` are all, in their order; those that are not in `todo` are recorded as applied. What says nothing by itself
    is told by the rest of its migration; where all of it says nothing, by whether one after it was run. Returns those
    that none was run after: they leave the catalogue as it was, and count as not run.
    """
    either = set()
    unrecorded = set(todo) - effects.proven
    run = [name not in unrecorded for name in names]
    for name in compress(names, run):
        effects.was_run(name)
    waiting = [name for name in todo if effects.of(name)]
    while waiting:
        telling = [name for name in waiting if any(map(effects.stands, effects.of(name)))]
        clear = [name for name in telling if None not in map(effects.stands, effects.of(name))]
        for name in clear or telling[:1] or waiting[:1]:
            number = names.index(name)
            told = together(each for each in map(effects.stands, effects.of(name)) if each is not None)
            if told is Stands.ALL or (told is Stands.NOTHING and any(run[number:])):
                effects.was_run(name)
                run[number] = True
            elif told in (Stands.NONE, Stands.NOTHING):
                effects.was_not_run(name)
                either |= {name} if told is Stands.NOTHING else set()
            waiting.remove(name)
    return frozenset(either)


def _counts_as_run(each: Settled, either: Collection[str]) -> bool:
    run = each.stands in (Stands.ALL, Stands.NOTHING)
    return each.recorded == "applied" or (run and each.migration not in either)


def _settled(
    state: State,
    effects: Effects,
    ran: Ran,
    data: tuple[Judged, ...],
    *,
    either: Collection[str],
    kept: Collection[str],
    empty: Collection[str],
) -> Settled:
    """Say how one migration stands; what is to become of it is decided among all.

    `either`: of these the catalogue does not tell whether they were run, nor are those `kept` run again.
    Where rows could tell, or are lost by it, they are to tell.
    """
    recorded = state.recorded(ran.name)
    statements = tuple(_statements(effects, ran))
    stands = together(each.stands for each in statements)
    if ran.name in effects.proven:
        stands = Stands.ALL if ran.name in effects.showing else Stands.NOTHING
    if recorded == "applied":  # only what differs has a history here
        statements = tuple(each for each in statements if each.stands is not Stands.ALL)
        stands = Stands.ALL if not statements else stands
    unseen = tuple(_unseen(ran, data))
    untold = bool(unseen) or (ran.name in either and effects.takes_rows(ran.name, empty))
    if ran.name in kept or (ran.name in either and (data or untold)):
        stands = Stands.NOTHING
    return Settled(
        migration=ran.name,
        recorded=recorded,
        edited=ran.name in state.history.edited,
        stands=stands,
        whole=_with_data(stands, data),
        action=Action.NOTHING,
        statements=statements,
        of=len(ran.statements),
        data=data,
        untold=untold,
        unseen=unseen,
    )


def _unseen(ran: Ran, data: Sequence[Judged]) -> Iterator[str]:
    """Yield each statement of which neither the catalogue nor anything else tells that it was run, in words."""
    yield from (
        f"line {one.statement.line} {one.statement.words}" for one in data if one.done is Done.NOT_JUDGED
    )
    asked = {one.statement.at for one in data}
    for at, each in enumerate(ran.statements):
        hidden = each.unjudged is not None and at not in asked and each.tag not in OF_A_SESSION
        if hidden or (each.tag == "AlterTableStmt" and empties_a_column(each.text)):
            yield f"line {each.line} {each.words}"


def _statements(effects: Effects, ran: Ran) -> Iterator[StatementStands]:
    found: dict[int | None, list[Effect]] = {}
    for effect in effects.of(ran.name):
        found.setdefault(effect.statement, []).append(effect)
    for number, these in sorted(found.items(), key=lambda item: (item[0] is not None, item[0] or 0)):
        statement = None if number is None else ran.statements[number]
        yield StatementStands(
            index=number,
            line=statement.line if statement else 1,
            words=statement.words if statement else "the script as a whole",
            stands=together(effects.stands(effect) or Stands.NONE for effect in these),
        )


def _with_data(stands: Stands, data: Sequence[Judged]) -> Stands:
    """Return what of a migration stands when its rows are looked at, too.

    Rows that are not changed yet may have come later; so where nothing of the catalogue stands, only inserted rows
    that are there count as done.
    """
    done = [each for each in data if each.done is Done.ALL]
    undone = [each for each in data if each.done in (Done.NONE, Done.PART)]
    if any(each.done is Done.PART for each in data):
        return Stands.PART
    match stands:
        case Stands.ALL:
            return Stands.PART if undone else Stands.ALL
        case Stands.NONE:
            inserted = any(each.statement.tag in INSERTS for each in done)
            return Stands.PART if inserted else Stands.NONE
        case Stands.NOTHING if done or undone:
            return Stands.PART if done and undone else Stands.ALL if done else Stands.NONE
        case _:
            return stands


def _decided(found: Sequence[Settled], which: tuple[str, ...] | None) -> Iterator[Settled]:
    """Yield each migration with what is to become of it.

    A deploy runs all that is pending: where the phase does not settle another that is, nothing is deployed.
    """
    others = tuple(
        each.migration
        for each in found
        if which is not None and each.migration not in which and each.recorded != "applied"
    )
    deploys = False
    run = [each.recorded == "applied" or each.whole is Stands.ALL for each in found]
    last_run = max(compress(range(len(found)), run), default=-1)
    for number, each in enumerate(found):
        action = _action(each, others, after_deployed=deploys, before_run=number < last_run)
        deploys = deploys or action in DEPLOYED
        hindered = action in DEPLOYED and others
        yield replace(each, action=Action.REFUSE if hindered else action, hindered=others if hindered else ())


def _action(each: Settled, others: tuple[str, ...], *, after_deployed: bool, before_run: bool) -> Action:
    """Decide on one migration; of one that says nothing itself its neighbours tell, if they agree."""
    failed = each.recorded == "failed"
    deploy = Action.ROLL_BACK_AND_DEPLOY if failed else Action.DEPLOY
    if each.recorded == "applied":
        return Action.NOTHING
    if each.migration in others:
        return Action.LEFT
    match each.whole:
        case Stands.ALL:
            return Action.RESOLVE_APPLIED
        case Stands.NONE:
            return deploy
        case Stands.NOTHING if failed or (each.untold and before_run is after_deployed):
            return Action.REFUSE
        case Stands.NOTHING:
            return deploy if after_deployed else Action.RESOLVE_APPLIED
        case _:
            return Action.REFUSE
