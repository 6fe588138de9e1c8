"""Are the indexes of a database sorted as its server sorts now? An upgrade of the system may have changed that."""

from __future__ import annotations

from collections.abc import Iterator

from runbooks_lib.checks import Check
from runbooks_lib.findings import NAMED, Finding, Verdict
from runbooks_lib.phase import Role, Target
from runbooks_lib.postgres.queries import query
from runbooks_lib.postgres.session.connect import Connection

COLLATIONS = "collations of indexes and partitions"
_AS_MADE = "the version under which they were made"
_HINTS = {
    Role.PRIMARY: "Rows may not be found by these, and duplicates may get in: REINDEX them on the primary, then "
    "ALTER DATABASE … (or ALTER COLLATION …) REFRESH COLLATION VERSION.",
    Role.STANDBY: "A standby reads its primary's indexes as they are: give both servers the same version of the "
    "system's or ICU's library; where the primary is told the same, mend it there.",
}


def check_collations(name: str, target: Target, conn: Connection) -> Iterator[Finding]:
    """Check collation_version_is: what indexes and partitions rely on sorts as it did when they were made.

    Reads pg_index, pg_partitioned_table, pg_collation and pg_database; writes nothing.
    """
    rows = conn.execute(query("collations"), {"named": NAMED}).fetchall()
    changed = [row for row in rows if row["recorded"] is not None and row["recorded"] != row["actual"]]
    untold = [row for row in rows if not row["is_told"] or (row["recorded"] is None and row["actual"])]
    for row in changed:
        more = ", …" if row["relied_on_by"] > NAMED else ""
        yield _finding(
            name,
            f"collation {row['name']}",
            f"version {row['actual'] or 'unknown'}, and {row['recorded']} is recorded: {row['relied_on_by']} rely on "
            f"it ({', '.join(row['relations'])}{more})",
            Verdict.OPEN,
            _HINTS[target.role],
        )
    for row in untold:
        yield _finding(name, f"collation {row['name']}", "this server records no version of it", Verdict.SKIP)
    if not changed and not untold:
        yield _finding(name, COLLATIONS, _AS_MADE, Verdict.PASS)


def _finding(name: str, object: str, have: str, verdict: Verdict, hint: str = "") -> Finding:
    return Finding(
        check=Check.COLLATION_VERSION_IS,
        target=name,
        object=object,
        have=have,
        want=_AS_MADE,
        verdict=verdict,
        hint=hint,
    )
