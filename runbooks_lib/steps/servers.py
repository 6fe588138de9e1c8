"""Who answers at a target, and whose standby it is."""

from __future__ import annotations

from collections.abc import Iterator

from runbooks_lib.checks import Check
from runbooks_lib.errors import PreconditionFailed, RunbookError
from runbooks_lib.findings import Finding, Verdict, could_not_run, judge
from runbooks_lib.phase import Target
from runbooks_lib.postgres.session.connect import Identity, Sessions


def judge_server(name: str, target: Target, who: Identity) -> Iterator[Finding]:
    """Yield whether a target is what the phase declares, and an OPEN finding where it does not say who it is."""
    yield judge(
        Check.TARGET_ROLE_IS,
        name,
        target.service,
        have=f"{who.role} ({who.server})",
        want=f"{target.role} ({who.server})",
        hint=f"Service {target.service} leads to the wrong server, or a failover took place: point it back.",
    )
    yield judge(
        Check.TARGET_DATABASE_IS,
        name,
        target.service,
        have=who.database,
        want=target.database,
        hint="Correct the database in the phase file or the service file.",
    )
    if None in (who.system_identifier, who.timeline):
        yield Finding(
            check=Check.TARGET_ANSWERS,
            target=name,
            object=target.service,
            have=f"not told which system or timeline it is: role {who.role_name} may not ask",
            want="the server says which system it is",
            verdict=Verdict.OPEN,
            hint="GRANT EXECUTE ON FUNCTION pg_control_system(), pg_control_checkpoint() to the role. Without them "
            "the server is known by its address and its connections: see that the service leads to no copy of it.",
        )


def judge_standby(name: str, target: Target, sessions: Sessions) -> Finding:
    """Return whether a standby is fed by its primary: OPEN where that cannot be told, ERROR where nobody may look.

    Reads the statistics of replication of both, and of the servers of the other targets.
    """
    assert target.primary is not None
    try:
        kin = sessions.kinship(name)
        if kin.unseen:
            raise PreconditionFailed(
                f"What links it with target {target.primary} can't be seen: {'; '.join(kin.unseen)}.",
                "GRANT pg_monitor TO the role on both; a standby has to stream while it is looked at.",
            )
    except RunbookError as error:
        return could_not_run(Check.STANDBY_IS_OF_PRIMARY, name, target.service, error)
    fed = " <- ".join(reversed(kin.line)) or f"{name} <- target {target.primary}"
    want = f"{fed}: sender and receiver name each other"
    have, verdict, hint = want, Verdict.PASS, ""
    if kin.against:
        have, verdict = "; ".join(kin.against), Verdict.FAIL
        hint = f"Service {target.service}, or that of target {target.primary}, leads to a copy or another system."
    elif kin.upstream:
        have, verdict = f"cannot be told: {kin.upstream}, and no target is seen to send to it", Verdict.OPEN
        hint = "If that is a standby of the same primary, add it to the phase's targets: it is asked then."
    return Finding(
        check=Check.STANDBY_IS_OF_PRIMARY,
        target=name,
        object=target.service,
        have=have,
        want=want,
        verdict=verdict,
        hint=hint,
    )
