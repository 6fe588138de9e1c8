"""What do scripts make? Found out by running them in an empty scratch database."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache

import psycopg

from runbooks_lib.errors import MigrationError
from runbooks_lib.postgres.catalog import Key, read_catalog
from runbooks_lib.postgres.differences import Described, describe
from runbooks_lib.postgres.scratch import Scratch, scratch
from runbooks_lib.postgres.server import ServerPrograms, find_server_for

DATABASE = "expected"
_TAKES_AWAY = re.compile(r"\b(?:drop|rename|set\s+schema)\b", re.IGNORECASE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Expected:
    """What one of some scripts makes, changes and removes, and what stands after all of them, as `describe` says it.

    `before` and `made` are the same objects before and after that script; `removed` are those that it drops.
    `stands` is what all scripts together leave behind; `gone` is what one of them made and is not there at the end.
    `server_version` is that of the scratch server.
    """

    before: Described
    made: Described
    removed: frozenset[Key]
    stands: Described
    gone: frozenset[Key]
    server_version: str


def expect(
    scripts: Sequence[tuple[str, str]],
    *,
    owner: str,
    server_major: int,
    of: str | None = None,
    roles: Iterable[str] = (),
) -> Expected:
    """Run named scripts in order, as `owner`, in an empty scratch database; say what one of them does.

    That one is `of`, by default the last. `roles` are others that the scripts name, in grants for instance: they
    are created there without a password.
    The answer depends on nothing else, and so one process works it out once.
    Raises MigrationError naming the script that PostgreSQL refuses there; PreconditionFailed or LabError when
    there is no scratch to run it in.
    """
    of = of or (scripts[-1][0] if scripts else None)
    return _expect(tuple(scripts), owner, find_server_for(server_major), of, tuple(sorted(set(roles))))


@lru_cache(maxsize=8)
def _expect(
    scripts: tuple[tuple[str, str], ...],
    owner: str,
    programs: ServerPrograms,
    of: str | None,
    roles: tuple[str, ...],
) -> Expected:
    seen: set[Key] = set()
    with scratch(programs) as copy:
        copy.create_database(DATABASE, roles=roles, owner=owner)
        empty = before = after = end = _described(copy)
        for name, script in scripts:
            if name == of or _TAKES_AWAY.search(script):
                end = _described(copy)
                seen |= set(end)
            before = end if name == of else before
            _run(copy, name, script, owner)
            if name == of or name == scripts[-1][0]:
                end = _described(copy)
            after = end if name == of else after
    changed = {key: value for key, value in after.items() if before.get(key) != value}
    removed = frozenset(set(before) - set(after))
    return Expected(
        before={key: value for key, value in before.items() if key in changed or key in removed},
        made=changed,
        removed=removed,
        stands={key: value for key, value in end.items() if empty.get(key) != value},
        gone=frozenset((seen | set(after)) - set(end)),
        server_version=copy.version,
    )


def _run(copy: Scratch, name: str, script: str, owner: str) -> None:
    try:
        copy.run(DATABASE, script.encode(), owner=owner)
    except psycopg.Error as error:
        words = " ".join(str(error).split())
        raise MigrationError(
            f"{name} does not run in an empty PostgreSQL {copy.version} database: {words}",
            "What it makes cannot be compared with what the target has. If it needs an extension, let "
            "RUNBOOKS_PG_BIN name server programs that have it.",
            sqlstate=error.sqlstate,
        ) from error


def _described(copy: Scratch) -> Described:
    with copy.connect(DATABASE) as conn:
        return describe(read_catalog(conn))
