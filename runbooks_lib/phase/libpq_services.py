"""Where a target of a phase is: at the phase file's service and database, or at those that were chosen for a run."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType

from runbooks_lib.errors import PreconditionFailed
from runbooks_lib.phase.forms import SERVICE_NAME
from runbooks_lib.phase.mistakes import nearest
from runbooks_lib.phase.model import Phase

NONE: Mapping[str, str] = MappingProxyType({})


def services_of(phase: Phase) -> dict[str, str]:
    """Return the service of each target, by the target's name."""
    return {name: target.service for name, target in phase.targets.items()}


def is_service_name(text: str) -> bool:
    """Tell whether a text has the form of a service's name, and so is no connection string."""
    return re.fullmatch(SERVICE_NAME.pattern, text) is not None


def require_service_name(text: str) -> None:
    """Raise PreconditionFailed for a text that no phase can have as a service; it is not repeated."""
    if not is_service_name(text):
        raise PreconditionFailed(
            "No phase can name this service: a name is of letters, digits, '_', '-' and '.'.",
            "Give its section in pg_service.conf such a name; host and user stand there, the password in .pgpass.",
        )


def with_services(phase: Phase, services: Mapping[str, str], databases: Mapping[str, str] = NONE) -> Phase:
    """Return the phase with other services and databases at some of its targets; both have them by the target's name.

    A standby of which no database is given has that of its primary.
    Raises PreconditionFailed for a target that the phase has not, and for a text that is no service's name. Neither is
    repeated unless it has the form of a name: it could hold a password.
    """
    for target in (*services, *databases):
        _require_target(phase, target)
    for target, service in services.items():
        if not is_service_name(service):
            raise PreconditionFailed(
                f"What is given as the service of target {target} is not {SERVICE_NAME.accepted}.",
                "Give the name alone: host and user stand in pg_service.conf, the password in .pgpass.",
            )
    targets = {
        name: replace(
            target,
            service=services.get(name, target.service),
            database=databases.get(name) or databases.get(target.primary or name, target.database),
        )
        for name, target in phase.targets.items()
    }
    return replace(phase, targets=targets)


def _require_target(phase: Phase, target: str) -> None:
    if target not in phase.targets:
        near = nearest(target, phase.targets)
        raise PreconditionFailed(
            f"Phase {phase.id} has no target {_shown(target)}.",
            (f"Did you mean {near}? " if near else "") + f"Its targets are: {', '.join(phase.targets)}.",
        )


def _shown(text: str) -> str:
    return f'"{text}"' if is_service_name(text) else "of the name that is given"
