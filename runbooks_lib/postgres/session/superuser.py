"""A superuser's session reads no database in which planning a query would execute somebody else's function."""

from __future__ import annotations

from runbooks_lib.errors import ConnectionFailed
from runbooks_lib.postgres.queries import query
from runbooks_lib.postgres.session.session import Session


def require_nothing_foreign_is_planned(conn: Session) -> None:
    """Require, of a superuser's session, that no index, statistics object or partition key calls others' functions.

    `CREATE INDEX i ON t (a) WHERE f(1)` has f executed by whoever counts the rows of t: with a superuser's rights, it
    runs programs on the server. Other roles ask nothing here. Raises ConnectionFailed, and psycopg errors as they come.
    """
    if conn.info.parameter_status("is_superuser") != "on":
        return
    found = conn.execute(query("planned_calls")).fetchone()
    if found is not None:
        raise ConnectionFailed(
            f"The service's role is a superuser, and whoever reads this database as one may execute "
            f"{found['function']} of role {found['owner']} with a superuser's rights: {found['object']} calls it.",
            "Let the service name a role that is no superuser; or give the function to one, once its text was read: "
            "ALTER FUNCTION … OWNER TO ….",
        )
