"""What migrations that are not recorded may still make, as their statements name it: absent, it is no surprise yet.

Names alone, before anything was replayed: step 3 finds out what of it stands, and what Prisma is to be told.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from runbooks_lib.errors import RunbookError
from runbooks_lib.names import qualified
from runbooks_lib.phase import Phase
from runbooks_lib.postgres.catalog.catalog import Key
from runbooks_lib.postgres.script.pieces import name_of, pieces, relation
from runbooks_lib.postgres.session.connect import Sessions
from runbooks_lib.prisma.project import find_project
from runbooks_lib.prisma.state import look
from runbooks_lib.steps.pending import NOTHING_PENDING, Pending
from runbooks_lib.steps.prisma_look import named


def pending_migrations(phase: Phase, sessions: Sessions) -> Pending:
    """Return which objects the migrations that the phase is to settle make, and which tables they fill.

    Reads the migrations folder and the history; nothing is pending where one of the two can't be read, which steps 3
    and 4 say.
    """
    if phase.prisma is None:
        return NOTHING_PENDING
    try:
        with sessions.snapshot(phase.prisma.target) as conn:
            state = look(conn, find_project())
    except RunbookError:
        return NOTHING_PENDING
    names = set(named(phase, state)) - set(state.history.applied)
    scripts = [file.script for file in state.files if file.name in names and file.script is not None]
    return Pending(
        filled=_filled(scripts), deployed=frozenset(key for each in scripts for key in _made(each))
    )


def _made(script: str) -> Iterator[Key]:
    """Yield the (kind, name) of what the checks of step 1 look at and a script makes or changes."""
    for piece in pieces(script) or ():
        node = piece.node
        match piece.tag:
            case "CreateStmt":
                yield from (
                    (kind, qualified(*relation(node["relation"]))) for kind in ("relation", "columns")
                )
            case "AlterTableStmt":
                yield "columns", qualified(*relation(node["relation"]))
            case "CreateEnumStmt" | "AlterEnumStmt":
                yield "enum", qualified(*name_of(node["typeName"]))
            case "IndexStmt" if "idxname" in node:
                yield "index", qualified(relation(node["relation"])[0], node["idxname"])


def _filled(scripts: Iterable[str]) -> frozenset[str]:
    found = (piece for script in scripts for piece in pieces(script) or () if piece.tag == "InsertStmt")
    return frozenset(qualified(*relation(piece.node["relation"])) for piece in found)
