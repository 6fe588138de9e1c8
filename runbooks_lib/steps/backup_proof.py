"""The part of step 2 that proves a schema's dump: restored elsewhere, it is what its source is."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from runbooks_lib.amounts import counted
from runbooks_lib.checks import Check
from runbooks_lib.errors import BackupError, PreconditionFailed
from runbooks_lib.facts.databases import Dump, RestoredDump
from runbooks_lib.findings import Finding, Verdict, could_not_run
from runbooks_lib.phase import Phase
from runbooks_lib.postgres.catalog.catalog import read_catalog
from runbooks_lib.postgres.catalog.differences import Difference, describe, in_words
from runbooks_lib.postgres.dump.dump_script import makes_table
from runbooks_lib.postgres.scratch.restore import LACKING_HINT, LeftOut, Restored, Restores
from runbooks_lib.postgres.scratch.restored_catalog import NOT_CARRIED, Comparison, compare_restored
from runbooks_lib.postgres.scratch.superuser_objects import OPTION, require_known
from runbooks_lib.postgres.scratch.surroundings import read_surroundings
from runbooks_lib.postgres.session.connect import Sessions
from runbooks_lib.steps.backup_data import PATH_HINT, PATH_SET
from runbooks_lib.steps.own_objects import superuser_names

MAX_NAMED = 5  # named in the finding; the rest is counted
STATEMENT_LENGTH = 80


def prove_schema(
    restores: Restores, sessions: Sessions, name: str, file: Path, noted: Dump
) -> tuple[Finding, RestoredDump]:
    """Restore a dump and judge dump_restores: PASS when everything that it carries is as in the source.

    OPEN names what the scratch could not judge: what only a superuser makes, and functions that find others by
    search_path alone.
    Returns the facts, too: the scratch server's version, the restored fingerprint, the statements left out.
    Raises BackupError when it does not restore, or when a table is among what cannot be restored here.
    """
    major = sessions.identity(name).major
    with sessions.snapshot(name) as conn:
        source = read_catalog(conn)
        roles = read_surroundings(conn).roles
    copy = restores.restore_schema(file, server_major=major, roles=roles)
    lost = [each for each in copy.outcome.left_out if makes_table(each.statement)]
    if lost:
        raise BackupError(
            f"{len(lost)} tables of {file.name} cannot be made in PostgreSQL {copy.server_version}: {lost[0].why}",
            LACKING_HINT,
        )
    facts = RestoredDump(
        server_version=copy.server_version,
        fingerprint=copy.catalog.fingerprint(),
        left_out=tuple(each.statement for each in copy.outcome.left_out),
        by_superuser=tuple(copy.outcome.by_superuser),
        needs_superuser=tuple(each.name for each in copy.outcome.left_out if each.name),
    )
    if source.fingerprint() != noted.fingerprint:
        return _changed(name, file, copy, noted), facts
    return _judge(name, file, copy, compare_restored(copy, source, source_major=major), major), facts


def _judge(name: str, file: Path, copy: Restored, found: Comparison, major: int) -> Finding:
    objects = len(describe(copy.catalog.dumped()))
    open_ones = (*found.not_judged, *copy.outcome.left_out)
    have = f"{counted(objects, 'object')} in PostgreSQL {copy.server_version}"
    have += "" if copy.server_major == major else f" (the server has {major})"
    have += (
        _named("", found.differing)
        + _left_out(copy.outcome.left_out)
        + _named("not judged: ", found.not_judged)
    )
    if found.respelt:
        have += f"; {len(found.respelt)} printed otherwise there, and in the dump as the source prints them"
    if copy.outcome.path_set:
        have += PATH_SET
    if copy.outcome.by_superuser:
        have += f"; made by a superuser, as allowed: {', '.join(dict.fromkeys(copy.outcome.by_superuser))}"
    verdict = (
        Verdict.FAIL
        if found.differing
        else Verdict.OPEN
        if open_ones or copy.outcome.path_set
        else Verdict.PASS
    )
    return Finding(
        check=Check.DUMP_RESTORES,
        target=name,
        object=file.name,
        have=have,
        want=f"what the source has; not compared, since no dump carries it: {NOT_CARRIED}",
        verdict=verdict,
        hint=_hint(verdict, copy),
    )


def _hint(verdict: Verdict, copy: Restored) -> str:
    if verdict is Verdict.FAIL:
        return "The dump does not bring back what was dumped: do not go on with it; see what differs."
    if copy.outcome.path_set:
        return PATH_HINT
    if verdict is not Verdict.OPEN:
        return ""
    names = dict.fromkeys(each.name for each in copy.outcome.left_out if each.name)
    allow = f" {OPTION} has these made in the sandbox, and compared: {', '.join(names)}." if names else ""
    return f"Read what is named, and make sure by hand that you could bring it back.{allow}"


def allowed_names(given: str) -> tuple[str, ...]:
    """Return the names in a notebook's parameter, which has commas between them, each once."""
    return tuple(dict.fromkeys(filter(None, (each.strip() for each in given.split(",")))))


def judge_allowed(phase: Phase, allowed: Sequence[str], restored: Iterable[RestoredDump]) -> list[Finding]:
    """Return an ERROR finding for allowed names that no dump, baseline or migration has for what needs a superuser."""
    facts = list(restored)
    made = {name for each in facts for name in each.by_superuser}
    needing = {name for each in facts for name in each.needs_superuser} | superuser_names(phase)
    try:
        require_known(allowed, made, needing)
    except PreconditionFailed as error:
        return [could_not_run(Check.DUMP_RESTORES, "-", "objects that need a superuser", error)]
    return []


def _changed(name: str, file: Path, copy: Restored, noted: Dump) -> Finding:
    """Judge a dump whose source has changed meanwhile: only the fingerprint of that time is left to compare with."""
    restored = copy.catalog.dumped().fingerprint()
    same = restored == noted.dumped and not copy.outcome.left_out
    return Finding(
        check=Check.DUMP_RESTORES,
        target=name,
        object=file.name,
        have=f"catalogue {restored[:16]} in PostgreSQL {copy.server_version}",
        want=f"catalogue {noted.dumped[:16]}",
        verdict=Verdict.PASS if same else Verdict.FAIL,
        hint="" if same else "The source has changed since: what differs cannot be told. Dump again.",
    )


def _named(what: str, found: Sequence[Difference]) -> str:
    if not found:
        return ""
    more = f" and {len(found) - MAX_NAMED} more" if len(found) > MAX_NAMED else ""
    return f"; {what}{'; '.join(map(in_words, found[:MAX_NAMED]))}{more}"


def _left_out(found: Sequence[LeftOut]) -> str:
    if not found:
        return ""
    said = (
        f"{' '.join(each.statement.split())[:STATEMENT_LENGTH]} ({each.why})" for each in found[:MAX_NAMED]
    )
    more = f" and {len(found) - MAX_NAMED} more" if len(found) > MAX_NAMED else ""
    why = "which need a superuser or what is not installed here"
    return f"; {len(found)} statements not judged, {why}: {'; '.join(said)}{more}"
