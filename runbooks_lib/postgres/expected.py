"""What does a script make? Found out by running it in an empty scratch database."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import psycopg

from runbooks_lib.errors import MigrationError
from runbooks_lib.postgres.catalog import read_catalog
from runbooks_lib.postgres.differences import Described, compare, describe
from runbooks_lib.postgres.scratch import Scratch, scratch
from runbooks_lib.postgres.server import find_server_for

DATABASE = "expected"


@dataclass(frozen=True, slots=True, kw_only=True)
class Expected:
    """What the last of some scripts makes, changes and removes, as `describe` says it.

    `removed` are objects that it drops. `server_version` is that of the scratch server.
    """

    made: Described
    removed: frozenset[tuple[str, str]]
    server_version: str

    def missing_from(self, live: Mapping[tuple[str, str], str]) -> tuple[str, ...]:
        """Return what a database lacks or has otherwise; empty when it stands as after the script."""
        concerned = {key: live[key] for key in self.made if key in live}
        left = (f"{kind} {name}: still there" for kind, name in sorted(self.removed) if (kind, name) in live)
        return (*compare(concerned, self.made), *left)


def expect(scripts: Sequence[tuple[str, str]], *, owner: str, server_major: int) -> Expected:
    """Run named scripts in order, as `owner`, in an empty scratch database; say what the last one does.

    Raises MigrationError naming the script that PostgreSQL refuses there; PreconditionFailed or LabError when
    there is no scratch to run it in.
    """
    with scratch(find_server_for(server_major)) as copy:
        copy.create_database(DATABASE, roles=(owner,))
        before = after = _described(copy)
        for name, script in scripts:
            before = after
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
            after = _described(copy)
        changed = {key: words for key, words in after.items() if before.get(key) != words}
        return Expected(
            made=changed, removed=frozenset(set(before) - set(after)), server_version=copy.version
        )


def _described(copy: Scratch) -> Described:
    with copy.connect(DATABASE) as conn:
        return describe(read_catalog(conn))
