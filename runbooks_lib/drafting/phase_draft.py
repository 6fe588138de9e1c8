"""A phase out of a project and a database: what the migrations make is expected, what stands is only looked at."""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import psycopg

from runbooks_lib.drafting.apart import Apart
from runbooks_lib.drafting.baseline import Baseline, LeftOver, write_baseline
from runbooks_lib.drafting.lost import Lost
from runbooks_lib.drafting.phase_file import BASELINE, INDEXES, PhaseDraft, SeedDraft, phase_file
from runbooks_lib.drafting.phase_new import PHASE_FILE, is_phase_id
from runbooks_lib.drafting.seed_rows import SeedWish, write_seeds
from runbooks_lib.errors import ConnectionFailed, PreconditionFailed
from runbooks_lib.names import parts
from runbooks_lib.phase import Phase, Prisma, Role, Target, load_phase
from runbooks_lib.phase.libpq_services import require_service_name
from runbooks_lib.phase.model import AcceptedMigration
from runbooks_lib.phase.text import Text
from runbooks_lib.postgres.catalog.differences import describe, field
from runbooks_lib.postgres.rows.done import Done
from runbooks_lib.postgres.session.connect import Sessions
from runbooks_lib.postgres.session.service_file import parameters_of
from runbooks_lib.prisma.effects import ObjectState
from runbooks_lib.prisma.settlement import Action, Settled
from runbooks_lib.prisma.timeline import Stands
from runbooks_lib.steps.prisma_look import Proved, command_line, look_at_all, prove_target, scripts_to_run

LEADER = "leader"
_INDEXES_ALONE = "-- Nothing is missing but indexes, which are built apart.\n"


@dataclass(frozen=True, slots=True, kw_only=True)
class Drafted:
    """A drafted phase: what becomes of how many migrations, and the lines of its file."""

    phase: Phase
    becomes: Mapping[str, int]
    lines: int


def draft_phase(
    service: str,
    out: Path,
    seeds: Sequence[SeedWish],
    *,
    accept: str = "",
    ignore: str = "",
    repair: str = "",
    concurrently: Apart = Apart.KEPT,
) -> Drafted:
    """Write a phase for the database of a service into the folder `out`, which is made.

    `accept` says why migrations may stay that only the database has, `ignore` why objects may that no migration makes,
    `repair` why what is missing of a recorded migration may be made anew; without a reason each is commented out.
    The project is the one that RUNBOOKS_PRISMA_PROJECT names. Reads the database in one snapshot, replays the
    migrations in a scratch server, and writes phase.toml, baseline.sql where something is missing, and seeds as CSV.
    Raises PreconditionFailed when `out` is there already, ConnectionFailed, MigrationError, and whatever a plan raises.
    """
    if not is_phase_id(out.name):
        raise PreconditionFailed(
            f"{out.name!r} can't be the id of a phase.", "Name the folder by letters, digits, - and _."
        )
    if out.exists():
        raise PreconditionFailed(
            f"{out} is there already.", "Name a folder that is not: nothing is written over."
        )
    if len({wish.table for wish in seeds}) < len(seeds):
        raise PreconditionFailed("A table is named twice for its seed rows.", "Name each once.")
    phase = _probing(service, out)
    with Sessions(phase.targets, application_name="runbooks phase draft") as sessions, _made(out) as folder:
        looked = look_at_all(phase, sessions, command_line(phase, sessions))
        phase = replace(phase, prisma=_accepting(looked.state.history.extra))
        proved = prove_target(phase, sessions, looked, None, ())
        with sessions.snapshot(LEADER) as conn:
            rows = [write_seeds(conn, looked.catalog, wish, folder) for wish in seeds]
            standbys = conn.execute("SELECT count(*) AS n FROM pg_stat_replication").fetchone()
        baseline, made = _baseline(phase, proved, folder, concurrently)
        draft = _draft(phase, proved, rows, baseline, made, standbys["n"] if standbys else 0)
        text = phase_file(replace(draft, accept=accept, ignore=ignore, repair=repair))
        (folder / PHASE_FILE).write_text(text, encoding="utf-8")
        load_phase(str(folder))
    becomes = Counter(map(_becomes, proved.settlement.migrations))
    return Drafted(phase=load_phase(str(out)), becomes=becomes, lines=len(text.splitlines()))


def _becomes(each: Settled) -> str:
    """Say what becomes of a migration."""
    if each.action is Action.NOTHING:
        return "recorded, with something missing" if each.statements else "recorded, and all of it stands"
    if each.action is Action.REFUSE and _missing(each):
        return "in part: baseline.sql makes what is missing, or phase.toml says what is to be done by hand"
    return each.action.value


@contextmanager
def _made(out: Path) -> Iterator[Path]:
    """Make a folder at the end of the block: what is written there in between lies beside it, under the same name."""
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{out.name}.", dir=out.parent) as beside:
        folder = Path(beside) / out.name
        folder.mkdir()
        yield folder
        folder.rename(out)


def _accepting(migrations: Sequence[str]) -> Prisma:
    """Return the section that settles all, and passes over migrations that only the database has."""
    accept = tuple(AcceptedMigration(migration=name, why="drafted") for name in migrations)
    return Prisma(target=LEADER, accept=accept)


def _probing(service: str, out: Path) -> Phase:
    """Return the phase that only looks: one target, all migrations."""
    require_service_name(service)
    try:
        database = parameters_of(service).get("dbname", "")
    except psycopg.Error as error:
        raise ConnectionFailed(
            f"There is no service {service}: {' '.join(str(error).split())}", "Look into pg_service.conf."
        ) from error
    target = Target(name=LEADER, service=service, role=Role.PRIMARY, database=database)
    return Phase(
        spec_version=3,
        id=out.name,
        title=Text(by_language={"en": out.name}),
        folder=out,
        digest="",
        targets={LEADER: target},
        prisma=_accepting(()),
    )


def _baseline(
    phase: Phase, proved: Proved, folder: Path, concurrently: Apart
) -> tuple[Baseline, Collection[tuple[str, int]]]:
    """Write what is missing in part into the folder, as baseline.sql and the indexes that are built apart.

    Return it, and which statements are in it: by migration and line.
    """
    missing = {each.migration: found for each in proved.settlement.migrations if (found := _missing(each))}
    broken = _broken_off(proved)
    for migration, line in broken:
        missing[migration] = missing.get(migration, frozenset()) | {line}
    which = Apart.ALL if broken else concurrently  # only there an index is dropped and built anew
    scripts = scripts_to_run(phase, proved.looked.state)
    baseline = write_baseline(
        scripts,
        set(missing),
        missing,
        concurrently=which,
        lost=_lost(proved),
        schema=proved.looked.state.schema,
    )
    if baseline.migrations:
        (folder / BASELINE).write_text(baseline.sql or _INDEXES_ALONE, encoding="utf-8")
    if baseline.indexes:
        (folder / INDEXES).write_text(baseline.indexes, encoding="utf-8")
    left = {(each.migration, each.line) for each in baseline.left}
    return baseline, {(name, line) for name, lines in missing.items() for line in lines} - left


def _lost(proved: Proved) -> Lost:
    """Return which columns and constraints tables have no more that are there themselves."""
    live = describe(proved.looked.catalog)
    lost: dict[tuple[str, str], set[str]] = {}
    for each in proved.settlement.objects:
        if each.kind not in ("columns", "constraint") or each.stands or ("relation", each.of) not in live:
            continue
        schema, table, *name = parts(each.name)
        gone = [
            want for have, want in zip(each.have, each.want, strict=True) if have is None and want is not None
        ]
        lost.setdefault((schema, table), set()).update(name or (str(field(want, "name")) for want in gone))
    return lost


def _draft(
    phase: Phase,
    proved: Proved,
    seeds: Sequence[SeedDraft],
    baseline: Baseline,
    made: Collection[tuple[str, int]],
    standbys: int,
) -> PhaseDraft:
    """Return what phase.toml is made of."""
    settlement, state, broken = proved.settlement, proved.looked.state, _broken_off(proved)
    by_hand = [_by_hand(left) for left in baseline.left]
    for each in settlement.migrations:
        if _missing(each) or each.action is Action.REFUSE:
            by_hand += _not_drafted(each, broken)
    recorded = {each.migration for each in settlement.migrations if each.action is Action.NOTHING}
    target = phase.targets[LEADER]
    return PhaseDraft(
        id=phase.id,
        service=target.service,
        database=target.database,
        owners=_owners(proved),
        standbys=standbys,
        extras=settlement.extras,
        differing=[_words(each) for each in settlement.objects if _stays(each, made)],
        only_there=state.history.extra,
        completes=baseline.migrations,
        repairs=[name for name in baseline.migrations if name in recorded],
        indexes=bool(baseline.indexes),
        left=by_hand,
        seeds=seeds,
    )


def _stays(each: ObjectState, made: Collection[tuple[str, int]]) -> bool:
    """Return whether an object is not as the migrations make it, and the baseline does not make it so."""
    origins = [(one.migration, one.statement.line if one.statement else 0) for one in each.origins]
    is_made = bool(origins) and all(one in made for one in origins)
    is_made = is_made and all(None in sides for sides in zip(each.have, each.want, strict=True))
    return not (each.stands or each.to_come or is_made)


def _missing(each: Settled) -> frozenset[int]:
    """Return the lines of the statements that a baseline is to make: of a migration that stands in part, or did."""
    recorded = each.action is Action.NOTHING
    if not (recorded or each.whole is Stands.PART or each.stands is Stands.PART):
        return frozenset()
    return frozenset(one.line for one in each.statements if one.stands in (Stands.NONE, Stands.PART))


def _broken_off(proved: Proved) -> set[tuple[str, int]]:
    """Return the migrations and lines that make indexes which are there, and were not built to their end."""
    return {
        (origin.migration, origin.statement.line)
        for each in proved.settlement.objects
        if each.kind == "index"
        and not each.stands
        and any(field(v, "is_valid") is False for v in each.have if v)
        for origin in each.origins
        if origin.statement
    }


def _not_drafted(each: Settled, broken: Collection[tuple[str, int]]) -> Iterator[str]:
    """Yield what of a migration no baseline makes: where something else stands, and rows."""
    for one in each.statements:
        if one.stands is Stands.OTHER and (each.migration, one.line) not in broken:
            yield f"{each.migration}, line {one.line}, {one.words}: something else stands there"
    for judged in each.data:
        if judged.done in (Done.NONE, Done.PART):
            yield f"{each.migration}, line {judged.statement.line}, {judged.statement.words}: {judged.why}"


def _by_hand(left: LeftOver) -> str:
    return f"{left.migration}, line {left.line}, {left.words}: {left.why}"


def _words(each: ObjectState) -> str:
    have, want = each.words()
    return f"{each.label}: {have}; the migrations: {want}"


def _owners(proved: Proved) -> Mapping[str, int]:
    """Return how many relations and enums that the migrations make belong to whom."""
    live = describe(proved.looked.catalog)
    made = [key for key in proved.replayed.end if key not in proved.replayed.start and key in live]
    found = [field(live[key], "owner") for key in made if key[0] in ("relation", "enum")]
    return Counter(str(owner) for owner in found if owner)
