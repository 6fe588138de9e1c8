"""Step 2, backup: a schema dump of every target that a later step writes to, before anything is written.

Each function answers one question of `02_backup.ipynb`. The dumps are the only files that a step writes itself.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

from runbooks_lib.amounts import counted, size
from runbooks_lib.checks import Check
from runbooks_lib.errors import BackupError, RunbookError
from runbooks_lib.facts.databases import ChosenClient, Clients, Dump, Dumps, Proof, RestoredDump, RowsDump
from runbooks_lib.findings import Answer, Finding, Verdict, could_not_run, judge
from runbooks_lib.names import parts, qualified
from runbooks_lib.phase import Phase
from runbooks_lib.postgres.catalog.catalog import Catalog, read_catalog
from runbooks_lib.postgres.dump.clients import Client, choose, demands_tls, find_clients
from runbooks_lib.postgres.dump.dump import DumpFile, dump_schema, read_dump, without_key
from runbooks_lib.postgres.dump.dump_script import created_tables
from runbooks_lib.postgres.queries import query
from runbooks_lib.postgres.scratch.restore import Restores
from runbooks_lib.postgres.session.connect import Sessions
from runbooks_lib.steps.backup_data import judge_whole, prove_data, save_data, verify_data
from runbooks_lib.steps.backup_proof import allowed_names, judge_allowed, prove_schema
from runbooks_lib.steps.declared import or_not_declared
from runbooks_lib.steps.way_back import judge_file, judge_unchanged


def client(phase: Phase, sessions: Sessions) -> Answer:
    """Choose pg_dump for each server: the same major version, else the lowest newer one; with TLS where it must be.

    Runs every pg_dump found for its version. Facts: per target the client's version and folder.
    """
    findings: list[Finding] = []
    clients: dict[str, ChosenClient] = {}
    for name in phase.backup.targets:
        try:
            major = sessions.identity(name).major
            chosen = _client_for(sessions, name)
            tls = ", that speaks TLS" if demands_tls(sessions.read(name)) else ""
        except RunbookError as error:
            findings.append(could_not_run(Check.CLIENT_CAN_DUMP, name, "pg_dump", error))
            continue
        clients[name] = ChosenClient(server_major=major, version=chosen.version, bindir=str(chosen.bindir))
        findings.append(
            Finding(
                check=Check.CLIENT_CAN_DUMP,
                target=name,
                object="pg_dump",
                have=f"{chosen.version} in {chosen.bindir}",
                want=f"{major}, or the lowest newer{tls}",
                verdict=Verdict.PASS,
            )
        )
    judged = or_not_declared(phase, findings, Check.CLIENT_CAN_DUMP)
    return Answer(findings=judged, facts=Clients(clients=clients))


def dump(phase: Phase, sessions: Sessions, *, folder: Path) -> Answer:
    """Dump the schema of each backup target into `folder`, under one snapshot each; write nothing else.

    Files are named schema_backup_YYYYMMDD_HHMMSS.sql (UTC); from the second target on, the database is added. Where
    the phase asks for the rows, too, they go to a directory data_backup_…, under the same snapshot.
    Facts: `dumps`, per target the file's name, size in bytes, SHA-256, the catalogue's fingerprint, and that of what a
    schema dump carries of it (`dumped`); `data` of it has the same of the directory, and what each table holds.
    """
    stamp = _stamp(folder)
    findings: list[Finding] = []
    dumps: dict[str, Dump] = {}
    for position, name in enumerate(phase.backup.targets):
        database = phase.targets[name].database
        file = folder / f"schema_backup_{stamp}{f'_{database}' if position else ''}.sql"
        try:
            catalog, made, data = _dump_target(phase, sessions, name, file)
        except RunbookError as error:
            findings.append(could_not_run(Check.DUMP_IS_WHOLE, name, file.name, error))
            continue
        dumps[name] = Dump(
            path=file.name,
            size_bytes=made.size_bytes,
            sha256=made.sha256,
            content_sha256=made.content_sha256,
            complete=made.complete,
            database=database,
            fingerprint=catalog.fingerprint(),
            dumped=catalog.dumped().fingerprint(),
            data=data,
        )
        findings.append(judge_file(name, made))
        if data:
            findings.append(judge_whole(name, data))
    rows = tuple(
        {"target": name, "path": each.path, "size": size(each.size_bytes), "SHA-256": each.sha256}
        for name, made in dumps.items()
        for each in (made, made.data)
        if each
    )
    judged = or_not_declared(phase, findings, Check.DUMP_IS_WHOLE)
    return Answer(findings=judged, facts=Dumps(dumps=dumps), rows=rows)


def _stamp(folder: Path) -> str:
    """Return the present second, or the first after it that no dump in the folder has."""
    moment = datetime.now(UTC)
    while any(folder.glob(f"*_backup_{moment:%Y%m%d_%H%M%S}*")):
        moment += timedelta(seconds=1)
    return f"{moment:%Y%m%d_%H%M%S}"


def verify(phase: Phase, sessions: Sessions, *, folder: Path, dumps: Mapping[str, Dump]) -> Answer:
    """Read the dumps back from disk: same hash, whole, and every table of the source in it.

    `dumps` are the facts of `dump`. Reads the files and the targets' catalogues; writes nothing.
    """
    findings: list[Finding] = []
    for name in phase.backup.targets:
        try:
            if name not in dumps:
                raise BackupError(f"There is no dump of target {name!r}.", "Run the dump again.")
            file = folder / dumps[name].path
            findings.extend(_verify_target(sessions, name, file, dumps[name]))
            if data := dumps[name].data:
                findings.extend(verify_data(name, folder, data))
        except RunbookError as error:
            findings.append(could_not_run(Check.DUMP_NAMES_EVERY_TABLE, name, "dump", error))
    return Answer(findings=or_not_declared(phase, findings, Check.DUMP_NAMES_EVERY_TABLE))


def prove(
    phase: Phase,
    sessions: Sessions,
    *,
    folder: Path,
    dumps: Mapping[str, Dump],
    allow_superuser_objects: str = "",
) -> Answer:
    """Restore each dump into a scratch cluster of our own and compare its catalogue with the source's.

    `dumps` are the facts of `dump`. The scratch has the server's major version where its programs are found, else
    the lowest newer; the finding says which. Of a dump of the rows, what each table holds is compared as well.
    `allow_superuser_objects` names what a superuser makes there, with commas between; a name that nothing has is an
    ERROR.
    Writes nothing to any target.
    Facts: `restored`, per target the scratch server's version and the restored catalogue's fingerprint;
    `superuser_objects`, the names, for the steps that restore or replay after this one.
    """
    findings: list[Finding] = []
    restored: dict[str, RestoredDump] = {}
    allowed = allowed_names(allow_superuser_objects)
    with Restores(allowed=allowed) as restores:
        for name in phase.backup.targets:
            noted = dumps.get(name)
            try:
                if noted is None:
                    raise BackupError(f"There is no dump of target {name!r}.", "Run the dump again.")
                file = folder / noted.path
                finding, restored[name] = prove_schema(restores, sessions, name, file, noted)
            except RunbookError as error:
                finding = could_not_run(Check.DUMP_RESTORES, name, noted.path if noted else "dump", error)
            findings.append(finding)
    for name, data in ((name, each.data) for name, each in dumps.items() if each.data):
        try:
            findings.append(prove_data(sessions, name, folder, data, allowed=allowed))
        except RunbookError as error:
            findings.append(could_not_run(Check.DATA_RESTORES, name, data.path, error))
    if allowed and len(restored) == len(phase.backup.targets):
        findings += judge_allowed(phase, allowed, restored.values())
    judged = or_not_declared(phase, findings, Check.DUMP_RESTORES)
    return Answer(findings=judged, facts=Proof(restored=restored, superuser_objects=allowed))


def _client_for(sessions: Sessions, target: str) -> Client:
    tls = demands_tls(sessions.read(target))
    return choose(find_clients(), sessions.identity(target).major, tls=tls)


def _dump_target(
    phase: Phase, sessions: Sessions, name: str, file: Path
) -> tuple[Catalog, DumpFile, RowsDump | None]:
    chosen = _client_for(sessions, name)
    with sessions.snapshot(name) as conn:
        conn.execute("SET LOCAL idle_in_transaction_session_timeout = 0")  # idle for as long as pg_dump works
        exported = conn.execute("SELECT pg_export_snapshot() AS id").fetchone()
        assert exported is not None
        catalog = read_catalog(conn)
        dump_schema(chosen, phase.targets[name], conn, file, snapshot=exported["id"])
        data = None
        if name in phase.backup.data:
            rows = file.with_name(file.stem.replace("schema_", "data_", 1))
            data = save_data(chosen, phase.targets[name], rows, conn, snapshot=exported["id"])
    return catalog, read_dump(file), data


def _verify_target(sessions: Sessions, name: str, file: Path, noted: Dump) -> list[Finding]:
    found = read_dump(file)
    with sessions.snapshot(name) as conn:
        catalog = read_catalog(conn)
        rows = conn.execute(query("extension_tables")).fetchall()
    owned = {qualified(row["schema"], row["name"]) for row in rows}
    tables = [table for table in catalog.tables() if table not in owned]
    created = _created(file)
    lost = [table for table in tables if parts(table) not in created]
    return [
        judge_unchanged(name, found, noted),
        judge_file(name, found),
        judge(
            Check.DUMP_NAMES_EVERY_TABLE,
            name,
            file.name,
            have=f"{len(tables) - len(lost)} of {counted(len(tables), 'table')}"
            + (f"; not {', '.join(lost)}" if lost else ""),
            want=f"{len(tables)} of {counted(len(tables), 'table')}",
            hint="The dump lacks tables that the database has: run the step again.",
        ),
        judge(
            Check.SOURCE_IS_UNCHANGED,
            name,
            "catalogue",
            have=catalog.fingerprint()[:16],
            want=noted.fingerprint[:16],
            hint="Somebody changed the schema since the dump was made: dump again.",
        ),
    ]


def _created(file: Path) -> frozenset[tuple[str, ...]]:
    """Return schema and name of the tables that a dump creates, as far as it can be read."""
    script, _ = without_key(file.read_text(encoding="utf-8", errors="replace"))
    with suppress(ValueError):
        return created_tables(script)
    return frozenset()
