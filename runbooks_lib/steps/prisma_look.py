"""What step 4 looks at: the history, the whole catalogue, and what a replay of the migrations makes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from runbooks_lib.phase import Phase
from runbooks_lib.postgres.catalog.catalog import Catalog, read_catalog
from runbooks_lib.postgres.catalog.differences import describe
from runbooks_lib.postgres.scratch.lent import target_servers
from runbooks_lib.postgres.scratch.surroundings import Surroundings, read_surroundings
from runbooks_lib.postgres.session.connect import Sessions
from runbooks_lib.prisma.command import Prisma
from runbooks_lib.prisma.proof import Proof, prove
from runbooks_lib.prisma.state import State, look


def look_at(phase: Phase, sessions: Sessions, prisma: Prisma) -> State:
    """Read the migrations folder and the history, in one snapshot."""
    with sessions.snapshot(phase.migration.target) as conn:
        return look(conn, prisma.project.folder)


def look_at_all(phase: Phase, sessions: Sessions, prisma: Prisma) -> tuple[State, Catalog, Surroundings]:
    """Read history, catalogue and what the database stands in, in one snapshot."""
    with sessions.snapshot(phase.migration.target) as conn:
        return look(conn, prisma.project.folder), read_catalog(conn), read_surroundings(conn)


def prove_target(
    phase: Phase,
    sessions: Sessions,
    state: State,
    live: Catalog,
    like: Surroundings,
    dump: Path | None,
    allowed: Sequence[str],
) -> Proof:
    """Compare the target with what the migrations that count make, the phase's own among them."""
    return prove(
        state,
        describe(live),
        migration=phase.migration.name,
        owner=phase.owner or sessions.identity(phase.migration.target).role_name,
        server_major=sessions.identity(phase.migration.target).major,
        like=like,
        dump=dump,
        servers=target_servers(sessions),
        allowed=allowed,
    )
