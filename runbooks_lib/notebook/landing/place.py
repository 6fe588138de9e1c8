"""Was an archived run made where this phase leads today? What passed at another lab or service says nothing here."""

from __future__ import annotations

import psycopg

from runbooks_lib.errors import RunbookError
from runbooks_lib.evidence import Evidence, Header
from runbooks_lib.facts.databases import Targets, Who
from runbooks_lib.notebook.landing.lights import APPLICATION
from runbooks_lib.phase import Phase, services_of
from runbooks_lib.postgres.session.connect import Sessions
from runbooks_lib.postgres.session.identity import Identity


def other_services(header: Header, phase: Phase) -> str:
    """Return the services of a run that are not those of the phase as it is chosen, each with its target."""
    return ", ".join(
        f"{target.name}: {target.service}"
        for target in header.targets
        if target.service != services_of(phase).get(target.name)
    )


def elsewhere(run: Evidence, phase: Phase) -> tuple[str, bool]:
    """Return why a run says nothing of the databases that the phase leads to now; empty when it is of these.

    Second, whether that is settled: not as long as the run has not asked who is there, or a server does not answer.
    Reads what preflight recorded in the run, and asks each of its targets that is declared who it is. A run that has
    not asked yet is of these. A server that does not answer is not known to be the same; one in progress waits for it.
    """
    ended, settled = run.header.finished_at is not None, True
    if ended and (others := other_services(run.header, phase)):
        return f"it was made with other services ({others})", True
    asked = run.facts(Targets)
    found = asked.targets if isinstance(asked, Targets) else {}
    with Sessions(phase.targets, application_name=APPLICATION) as sessions:
        for name in found.keys() & phase.targets.keys():
            try:
                there = sessions.identity(name)
            except (RunbookError, psycopg.Error):
                if not ended:
                    settled = False
                    continue
                return f"target {name} does not answer, so that nobody knows whether it was made here", False
            if not _same(found[name], there):
                return f"it was made at another server or database of target {name}", True
    return "", settled and bool(found)


def _same(then: Who, now: Identity) -> bool:
    """Return whether all agrees that both say of the server: copies of a server have its system_identifier."""
    told = {"address": f"{then.address}:{then.port}"}
    return all(
        there == was
        for part, there in now.parts().items()
        if there and (was := told.get(part) or getattr(then, part))
    )
