"""What a diagnosis saw, in lines for a person."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from runbooks_lib.amounts import counted, size
from runbooks_lib.drafting.diagnosis import Diagnosis
from runbooks_lib.findings import Verdict

LISTED = 40  # of one check


def seen_lines(found: Diagnosis) -> Iterator[str]:
    """Yield what was seen, for a person: who answers, what is not plainly fine, and the state in one sentence."""
    server = found.server
    yield (
        f"{server.service}: database {server.database} at {server.server}, a {server.role}, "
        f"PostgreSQL {server.server_version}, role {server.role_name}{', through a pooler' if server.pooled else ''}"
    )
    for standby in found.standbys:
        where = f" at {standby.address or 'a socket'}: {size(standby.lag_bytes or 0)} behind"
        yield f"standby {standby.name}{where if standby.lag_bytes is not None else ', not to be seen by this role'}"
    if found.project:
        project = found.project
        yield f"Prisma {project.prisma}, {counted(project.migrations, 'migration')} in {project.folder}"
    if found.findings:
        yield ""
    shown = Counter[str]()
    for finding in found.findings:
        shown[finding.check] += 1
        if shown[finding.check] > LISTED:
            continue
        yield f"{finding.verdict:5} {finding.check}: {finding.object}: {finding.have}"
        if finding.verdict is not Verdict.SKIP:  # what a run would do, which is not one
            yield from (f"      {line}" for line in finding.hint.splitlines())
    for check, count in shown.items():
        if count > LISTED:
            yield f"{count - LISTED} more of {check}: --json has them all"
    yield ""
    yield found.says
