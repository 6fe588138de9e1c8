"""The baseline against a real database: written only as planned and confirmed, whole or not at all."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import psycopg
import pytest
from msgspec import structs
from psycopg import sql

from runbooks_lib.errors import GateClosed, MigrationError
from runbooks_lib.facts.databases import Dump
from runbooks_lib.facts.writing import Applied, KeptPlan, Plan, Undo
from runbooks_lib.findings import Answer, Verdict, gate
from runbooks_lib.lab.lab import Lab
from runbooks_lib.phase import LintRule, LintVerdict, Phase, load_phase, with_services
from runbooks_lib.postgres.catalog.catalog import read_catalog
from runbooks_lib.postgres.dump.clients import choose, find_clients
from runbooks_lib.postgres.dump.dump import without_key
from runbooks_lib.postgres.queries import query
from runbooks_lib.postgres.scratch.scratch import SUPERUSER, scratch
from runbooks_lib.postgres.script.apply import LOCK_KEY, take_lock
from runbooks_lib.postgres.script.script import parse_script
from runbooks_lib.postgres.script.undo import undo_of
from runbooks_lib.postgres.script.undo_forms import script
from runbooks_lib.postgres.session import locks
from runbooks_lib.postgres.session.connect import Sessions
from runbooks_lib.progress import listening
from runbooks_lib.steps import baseline_migration as step
from runbooks_lib.steps import baseline_runs, planning
from runbooks_lib.steps.settling import Settling

SHIPPED = load_phase(str(Path(__file__).parents[1] / "phases" / "PH15-AMAZON-DB-FOUNDATION-01"))
DATABASE = "baseline_test"
DUMPS = {
    "legacy": Dump(
        path="s.sql",
        size_bytes=1,
        complete=True,
        sha256="a" * 64,
        content_sha256="a" * 64,
        database="",
        fingerprint="",
    )
}
MADE = ("script_makes_what_it_says", "objects of the script")
RUNS = "catalogue, rows and sequences"
OBJECTS = {o.name for o in (*SHIPPED.enums, *SHIPPED.tables, *SHIPPED.indexes)}


def phase_for(database: str) -> Phase:
    target = replace(SHIPPED.targets["legacy"], database=database)
    return replace(SHIPPED, targets={"legacy": target}, backup=replace(SHIPPED.backup, targets=("legacy",)))


PHASE = phase_for(DATABASE)


@pytest.fixture(autouse=True, scope="module")
def baseline_alone() -> Iterator[None]:
    """The migrations are of another database, and settled in test_settling."""
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setattr(planning, "settle_all", lambda *_, **__: Settling())
        monkeypatch.setattr(step, "still_settled", lambda *_: ())
        yield


def with_sql(folder: Path, text: str | bytes, **baseline: Any) -> Phase:
    """Return the phase with another SQL file."""
    (folder / "baseline.sql").write_bytes(text if isinstance(text, bytes) else text.encode())
    return replace(PHASE, folder=folder, baseline=replace(PHASE.baseline, **baseline))


def shipped_sql() -> str:
    return (SHIPPED.folder / SHIPPED.baseline.file).read_text(encoding="utf-8")


def ask(question: Callable[..., Answer], phase: Phase = PHASE, **options: Any) -> Answer:
    with Sessions(phase.targets, application_name="runbooks tests", run="this") as sessions:
        return question(phase, sessions, **options)


def make_plan(phase: Phase = PHASE, *, dumps: Any = DUMPS, code: str = "c") -> Answer:
    return ask(step.plan, phase, dumps=dumps, code=code)


def rehearse(phase: Phase = PHASE, plan: Answer | None = None) -> Answer:
    """Rehearse a plan, by default a new one."""
    return ask(step.rehearse, phase, plan=(plan or make_plan(phase)).facts)


def make(phase: Phase = PHASE, plan: Answer | None = None, confirm: str | None = None) -> Answer:
    """Apply a plan, by default a new one, as confirmed: a red one too, which nobody could confirm."""
    facts = (plan or make_plan(phase)).facts
    if not facts.confirmation:
        facts = structs.replace(facts, confirmation=f"{DATABASE}:{facts.hash[:8]}")
    return ask(step.apply, phase, plan=facts, planned=None,
               confirm=facts.confirmation if confirm is None else confirm,
               apply=True)  # fmt: skip


def forced(phase: Phase) -> Plan:
    """The facts of a plan for a script that no scratch database would take: what does the target say to it?"""
    good = make_plan().facts
    text = (phase.folder / phase.baseline.file).read_bytes()
    parts = good.parts | {"sql": hashlib.sha256(text).hexdigest()}
    return structs.replace(good, parts=parts, makes=[])


def force(phase: Phase) -> Answer:
    """Apply such a plan."""
    facts = forced(phase)
    return ask(step.apply, phase, plan=facts, planned=None, confirm=facts.confirmation, apply=True)


def kept(plan: Plan, *, run: str) -> KeptPlan:
    return KeptPlan(**structs.asdict(plan), run=run)


def failed(answer: Answer, verdict: Verdict = Verdict.FAIL) -> set[tuple[str, str]]:
    return {(f.check, f.object) for f in answer.findings if f.verdict is verdict}


def could_not(check: str) -> set[str]:
    """The checks of a question that could not be run; the undo is rehearsed with the script."""
    return {check, "undo_restores"} if check == "rehearsal_is_inert" else {check}


def passes(answer: Answer) -> bool:
    """All findings PASS, but for warnings of the linter that the phase accepts."""
    judged = {f.verdict for f in answer.findings if f.check != "script_is_lint_free"}
    accepted = {f.verdict for f in answer.findings if f.check == "script_is_lint_free"}
    return judged == {Verdict.PASS} and accepted <= {Verdict.PASS, Verdict.SKIP}


def assert_closed(answer: Answer, *words: str) -> None:
    with pytest.raises(GateClosed) as closed:
        gate(answer.findings)
    for word in words:
        assert word in str(closed.value)


def create(lab: Lab, name: str, template: str) -> None:
    with lab.admin("postgres") as admin:
        names = sql.Identifier(name), sql.Identifier(template)
        admin.execute(sql.SQL("CREATE DATABASE {} TEMPLATE {}").format(*names))


def drop(lab: Lab, name: str) -> None:
    with lab.admin("postgres") as admin:
        admin.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))


@pytest.fixture(scope="module")
def applied(lab: Lab) -> Iterator[str]:
    """A database to which the baseline was applied: a template for others."""
    create(lab, "baseline_applied", "keybuzz")
    try:
        assert passes(make(phase_for("baseline_applied")))
        yield "baseline_applied"
    finally:
        drop(lab, "baseline_applied")


@pytest.fixture
def db(lab: Lab) -> Iterator[psycopg.Connection[Any]]:
    """A copy of the legacy database, without the objects; a superuser's session in it."""
    create(lab, DATABASE, "keybuzz")
    try:
        with lab.admin(DATABASE) as admin:
            yield admin
    finally:
        drop(lab, DATABASE)


@pytest.fixture
def done(lab: Lab, applied: str) -> Iterator[psycopg.Connection[Any]]:
    """A copy of a database to which the baseline was applied."""
    create(lab, DATABASE, applied)
    try:
        with lab.admin(DATABASE) as admin:
            yield admin
    finally:
        drop(lab, DATABASE)


@pytest.fixture
def dumped(lab: Lab) -> Callable[[], bytes]:
    """Return everything in the database, rows and privileges included, as pg_dump prints it."""
    client = choose(find_clients(), lab.leader.programs.major)

    def run() -> bytes:
        command = [client.pg_dump, f"--dbname=service=keybuzz_admin dbname={DATABASE}"]
        done = subprocess.run(command, check=True, capture_output=True, text=True)
        return without_key(done.stdout)[0].encode()

    return run


def names(admin: psycopg.Connection[Any]) -> set[str]:
    rows = admin.execute(
        "SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'i') "
        "UNION SELECT typname FROM pg_type WHERE typnamespace = 'public'::regnamespace AND typtype = 'e'"
    )
    return {f"public.{name}" for (name,) in rows}


# -- parse ---------------------------------------------------------------------


@pytest.mark.usefixtures("db")
def test_parse_passes() -> None:
    answer = ask(step.parse)
    assert passes(answer)
    assert answer.facts.statements == sum(row["statements"] for row in answer.rows) == len(OBJECTS) == 20
    assert [(row["kind"], row["twice"]) for row in answer.rows] == [
        ("enum", "same"), ("table", "same"), ("index", "same"),
    ]  # fmt: skip


def test_parse_names_what_is_not_idempotent(tmp_path: Path) -> None:
    text = "CREATE TABLE IF NOT EXISTS a (id int);\nCREATE TABLE b (id int);\n\nDROP TABLE c"
    answer = ask(step.parse, with_sql(tmp_path, text))
    assert failed(answer) == {
        ("statement_is_idempotent", "line 2: table public.b"),
        ("statement_is_idempotent", "line 4: table public.c"),
    }
    assert_closed(answer, "CREATE TABLE IF NOT EXISTS")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("CREATE TABEL x ();", "Line 1"),
        ("-- nothing", "no statement"),
        (b"-- caf\xe9", "cannot be read"),
        (None, "No such file"),
    ],
)
def test_a_baseline_that_cannot_be_read_stops_every_question(
    db: psycopg.Connection[Any], tmp_path: Path, content: str | bytes | None, words: str
) -> None:
    phase = with_sql(tmp_path, content or "")
    good = make_plan().facts
    if content is None:
        (tmp_path / "baseline.sql").unlink()
    for answer, check in (
        (ask(step.parse, phase), "statement_is_idempotent"),
        (make_plan(phase), "object_is_absent_or_equal"),
        (ask(step.rehearse, phase, plan=good), "rehearsal_is_inert"),
        (
            ask(step.apply, phase, plan=good, planned=None, confirm=good.confirmation, apply=True),
            "baseline_is_applied",
        ),
        (ask(step.second_run, phase, apply=True), "second_run_changes_nothing"),
    ):
        assert {c for c, _ in failed(answer, Verdict.ERROR)} == could_not(check)
        assert_closed(answer, words)


# -- plan ----------------------------------------------------------------------


def test_plan_where_nothing_is(db: psycopg.Connection[Any]) -> None:
    answer = make_plan()
    assert passes(answer)
    assert {(row["object"], row["would"]) for row in answer.rows} == {
        (name, "would create") for name in OBJECTS
    }
    assert answer.facts.confirmation == f"{DATABASE}:{answer.facts.hash[:8]}"
    assert not OBJECTS & names(db)


def test_plan_where_all_is(done: psycopg.Connection[Any]) -> None:
    answer = make_plan()
    assert passes(answer)
    assert {row["would"] for row in answer.rows} == {"exists, same"}


def test_plan_where_a_part_is(done: psycopg.Connection[Any]) -> None:
    done.execute('DROP TABLE "MarketplaceSyncState"; DROP INDEX oauth_states_state_idx')
    answer = make_plan()
    assert passes(answer)
    would = {row["object"]: row["would"] for row in answer.rows}
    missing = ("public.MarketplaceSyncState", "public.oauth_states_state_idx")
    assert {name for name, what in would.items() if what == "would create"} == set(missing)
    assert passes(make(plan=answer))
    assert names(done) >= OBJECTS


DIFFERENT = [
    ('CREATE TABLE "OAuthState" (id text); ALTER TABLE "OAuthState" OWNER TO kb_backend', "public.OAuthState"),
    ("CREATE TYPE \"MarketplaceType\" AS ENUM ('AMAZON', 'FNAC', 'CDISCOUNT')", "public.MarketplaceType"),
    ("CREATE TYPE \"MarketplaceType\" AS ENUM ('FNAC', 'AMAZON', 'CDISCOUNT', 'OTHER')", "public.MarketplaceType"),
    ('CREATE TYPE "MarketplaceType" AS ENUM ()', "public.MarketplaceType"),
    ('CREATE SEQUENCE "oauth_states_state_idx"', "public.oauth_states_state_idx"),
    ('CREATE VIEW "OAuthState" AS SELECT 1 AS id', "public.OAuthState"),
    ('CREATE DOMAIN "MarketplaceType" AS text', "public.MarketplaceType"),
]  # fmt: skip


@pytest.mark.parametrize(("before", "name"), DIFFERENT)
def test_what_is_different_is_planned_as_different_and_rolls_everything_back(
    db: psycopg.Connection[Any], dumped: Callable[[], bytes], before: str, name: str
) -> None:
    db.execute(before)
    db.execute('ALTER TYPE "MarketplaceType" OWNER TO kb_backend' if "CREATE TYPE" in before else "SELECT 1")
    content = dumped()
    plan = make_plan()
    assert failed(plan) == {("object_is_absent_or_equal", name)}
    assert_closed(plan, "IF NOT EXISTS would hide this")
    rehearsed = rehearse()
    assert rehearsed.verdict in (Verdict.FAIL, Verdict.ERROR)
    answer = make(plan=plan)
    assert answer.verdict in (Verdict.FAIL, Verdict.ERROR)
    assert answer.facts.applied is False
    assert dumped() == content


@pytest.mark.parametrize(
    ("change", "name", "check"),
    [
        (
            'DROP INDEX oauth_states_state_idx; CREATE INDEX oauth_states_state_idx ON "OAuthState" ("usedAt")',
            "public.oauth_states_state_idx",
            "index_is",
        ),
        (
            "UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'oauth_states_state_idx'::regclass",
            "public.oauth_states_state_idx",
            "index_is_valid",
        ),
        ('ALTER TABLE "OAuthState" DROP "usedAt"', "public.OAuthState", "columns_are"),
        ('ALTER TABLE "MarketplaceSyncState" OWNER TO kb_legacy', "public.MarketplaceSyncState", "table_owner_is"),
    ],
)  # fmt: skip
def test_the_result_is_verified_before_the_commit(
    done: psycopg.Connection[Any], dumped: Callable[[], bytes], change: str, name: str, check: str
) -> None:
    """The SQL runs without an error, since IF NOT EXISTS hides the difference: the check must not."""
    for statement in change.split("; "):
        done.execute(statement)
    done.execute('DROP INDEX "oauth_states_expiresAt_idx"')  # so that there is something to roll back
    content = dumped()
    plan = make_plan()
    assert failed(plan) == {("object_is_absent_or_equal", name)}
    rehearsed = rehearse()
    assert failed(rehearsed) == {(check, name), MADE}
    assert ("rehearsal_is_inert", RUNS) in failed(rehearsed, Verdict.PASS)
    answer = make(plan=plan)
    assert failed(answer) == {(check, name), MADE, ("baseline_is_applied", "baseline.sql")}
    assert answer.facts.applied is False
    assert dumped() == content


@pytest.mark.parametrize(
    ("change", "name", "words"),
    [
        (
            'ALTER TABLE inbound_addresses DROP CONSTRAINT "inbound_addresses_connectionId_fkey"',
            "public.inbound_addresses",
            "constraint public.inbound_addresses.inbound_addresses_connectionId_fkey: missing",
        ),
        (
            'ALTER TABLE "OAuthState" ALTER "marketplaceType" SET DEFAULT \'OTHER\'',
            "public.OAuthState",
            "default 'OTHER'::public",
        ),
    ],
)
def test_what_no_phase_can_declare_is_compared_too(
    done: psycopg.Connection[Any], dumped: Callable[[], bytes], change: str, name: str, words: str
) -> None:
    """The script makes it in the scratch database, and so its absence here is a difference."""
    done.execute(change)
    content = dumped()
    plan = make_plan()
    assert failed(plan) == {("object_is_absent_or_equal", name)}
    assert_closed(plan, words)
    assert MADE in failed(rehearse(plan=plan))
    assert MADE in failed(make(plan=plan))
    assert dumped() == content


def test_an_alter_of_the_script_may_change_what_is_there(
    done: psycopg.Connection[Any], tmp_path: Path
) -> None:
    """A column that the script adds later: not a difference that IF NOT EXISTS hides."""
    text = shipped_sql() + 'ALTER TABLE public."OAuthState" ADD COLUMN IF NOT EXISTS note text;\n'
    phase = with_sql(tmp_path, text)
    plan = make_plan(phase)
    states = {row["object"]: row["would"] for row in plan.rows}
    assert states["public.OAuthState"] == "would change"
    assert plan.verdict is Verdict.PASS
    rehearsed = rehearse(phase, plan)
    assert ("script_makes_what_it_says", "objects of the script") in failed(rehearsed, Verdict.PASS)


def test_a_script_that_needs_what_is_not_there_cannot_be_compared(
    db: psycopg.Connection[Any], tmp_path: Path
) -> None:
    phase = with_sql(tmp_path, "CREATE INDEX IF NOT EXISTS i ON public.tenants (name);")
    answer = make_plan(phase)
    assert failed(answer, Verdict.ERROR) == {("object_is_absent_or_equal", "plan")}
    assert_closed(answer, "does not run in an empty PostgreSQL", "tenants")


def test_sequences_that_a_rollback_leaves_moved_are_named(
    db: psycopg.Connection[Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By our own session, though nobody could have known: another session's values are not held against us."""
    db.execute("CREATE SEQUENCE counter; GRANT ALL ON SEQUENCE counter TO kb_backend, keybuzz_operator")
    db.execute("CREATE SEQUENCE others")
    phase = with_sql(
        tmp_path,
        "CREATE TABLE IF NOT EXISTS public.t (id int);\nINSERT INTO public.t VALUES (1) ON CONFLICT DO NOTHING;",
    )
    run_script = baseline_runs.run_script

    def count_too(conn: Any, statements: Any, **options: Any) -> Any:
        conn.execute("SELECT nextval('public.counter')")
        db.execute("SELECT nextval('public.others')")
        return run_script(conn, statements, **options)

    monkeypatch.setattr(baseline_runs, "run_script", count_too)
    answer = ask(step.rehearse, phase, plan=forced(phase))
    assert answer.facts.sequences == ("public.counter",)
    assert_closed(answer, "rolled back, catalogue", "sequences moved: public.counter")


@pytest.mark.usefixtures("db")
def test_a_linter_warning_has_the_verdict_that_the_phase_gives_it() -> None:
    def verdicts(*rules: LintRule) -> dict[str, Verdict]:
        phase = replace(PHASE, baseline=replace(PHASE.baseline, lint=rules))
        found = ask(step.parse, phase).findings
        return {f.object.split(": ")[1]: f.verdict for f in found if f.check == "script_is_lint_free"}

    accepted = LintRule(rule="prefer-timestamp-tz", verdict=LintVerdict.SKIP, why="so be it")
    forbidden = LintRule(rule="prefer-bigint-over-int", verdict=LintVerdict.FAIL, why="never")
    assert verdicts() == dict.fromkeys(("prefer-timestamp-tz", "prefer-bigint-over-int"), Verdict.OPEN)
    assert verdicts(accepted, forbidden) == {
        "prefer-timestamp-tz": Verdict.SKIP,
        "prefer-bigint-over-int": Verdict.FAIL,
    }


@pytest.mark.usefixtures("db")
def test_without_a_warning_the_script_is_lint_free(tmp_path: Path) -> None:
    phase = with_sql(tmp_path, "CREATE TABLE IF NOT EXISTS public.a (id bigint PRIMARY KEY);")
    assert ("script_is_lint_free", "baseline.sql") in failed(ask(step.parse, phase), Verdict.PASS)


@pytest.mark.usefixtures("db")
def test_a_missing_linter_is_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda *names, **options: None)
    answer = ask(step.parse)
    assert failed(answer, Verdict.ERROR) == {("script_is_lint_free", "baseline.sql")}
    assert_closed(answer, "squawk is not installed")


def test_an_object_that_the_phase_does_not_declare(done: psycopg.Connection[Any], tmp_path: Path) -> None:
    text = (
        shipped_sql() + "CREATE TABLE IF NOT EXISTS tenants (id int);\nGRANT SELECT ON tenants TO kb_backend;"
    )
    answer = make_plan(with_sql(tmp_path, text))
    assert failed(answer) == {("object_is_absent_or_equal", "public.tenants")}
    assert answer.rows[-1]["would"] == "would run"
    assert_closed(answer, "exists, DIFFERENT", "columns public.tenants")


@pytest.mark.parametrize(
    "dumps", [{}, {"leader": DUMPS["legacy"]}, {"legacy": structs.replace(DUMPS["legacy"], complete=False)}]
)
def test_no_plan_without_a_whole_backup(db: psycopg.Connection[Any], dumps: dict[str, Any]) -> None:
    answer = make_plan(dumps=dumps)
    assert failed(answer, Verdict.ERROR) == {("object_is_absent_or_equal", "plan")}
    assert_closed(answer, "no whole backup of target legacy")


def test_no_plan_without_a_prisma_project(
    db: psycopg.Connection[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("RUNBOOKS_PRISMA_PROJECT")
    assert_closed(make_plan(), "ERROR object_is_absent_or_equal", "RUNBOOKS_PRISMA_PROJECT")


def test_a_target_that_does_not_answer(lab: Lab) -> None:
    phase = phase_for("none_of_this_name")
    plan = Plan(confirmation="x:1", parts={"server": {"system_identifier": "1"}}, makes=[])
    for answer, check in (
        (make_plan(phase), "object_is_absent_or_equal"),
        (ask(step.rehearse, phase, plan=plan), "rehearsal_is_inert"),
        (ask(step.apply, phase, plan=plan, planned=None, confirm="x:1", apply=True), "baseline_is_applied"),
        (ask(step.second_run, phase, apply=True), "second_run_changes_nothing"),
    ):
        assert {c for c, _ in failed(answer, Verdict.ERROR)} == could_not(check)
        assert_closed(answer, 'database "none_of_this_name" does not exist')


def test_the_hash_is_that_of_its_parts(
    lab: Lab, db: psycopg.Connection[Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Equal parts give an equal hash; each part alone changes it, and only that part differs."""
    first = make_plan().facts
    assert make_plan().facts == first
    db.execute("INSERT INTO tenants VALUES ('new', 'New')")  # rows are no part of the plan
    assert make_plan().facts.hash == first.hash
    hashes = {first.hash}

    def differs_in(part: str, other: Answer) -> None:
        parts = other.facts.parts
        assert {name for name in parts if parts[name] != first.parts[name]} == {part}
        assert other.facts.hash not in hashes
        hashes.add(other.facts.hash)

    differs_in("phase", make_plan(replace(PHASE, digest="0" * 64)))
    differs_in("notebooks", make_plan(code="other"))
    differs_in(
        "backup", make_plan(dumps={"legacy": structs.replace(DUMPS["legacy"], content_sha256="b" * 64)})
    )
    differs_in("backup", make_plan(dumps={**DUMPS, "leader": DUMPS["legacy"]}))
    differs_in("sql", make_plan(with_sql(tmp_path, shipped_sql() + "-- a comment")))
    create(lab, "baseline_other", "keybuzz")
    try:
        differs_in("database", make_plan(phase_for("baseline_other")))
    finally:
        drop(lab, "baseline_other")
    db.execute("CREATE INDEX another ON tenants (name)")
    differs_in("catalogue", make_plan())
    db.execute("DROP INDEX another")
    project = tmp_path / "project"
    shutil.copytree(os.environ["RUNBOOKS_PRISMA_PROJECT"], project, symlinks=True,
                    ignore=shutil.ignore_patterns("node_modules"))  # fmt: skip
    (project / "node_modules").symlink_to(Path(os.environ["RUNBOOKS_PRISMA_PROJECT"]) / "node_modules")
    monkeypatch.setenv("RUNBOOKS_PRISMA_PROJECT", str(project))
    assert make_plan().facts.hash == first.hash
    with next((project / "prisma" / "migrations").glob("*/migration.sql")).open("a") as file:
        file.write("-- edited\n")
    differs_in("prisma", make_plan())
    assert len(hashes) == 9


def test_another_system_changes_the_hash_and_is_refused(
    lab: Lab, db: psycopg.Connection[Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = make_plan()
    with scratch() as other:
        other.create_database(DATABASE, roles=["kb_backend"])
        address = other.cluster.address()
        service = (f"[keybuzz_legacy]\nhost={address['host']}\nport={address['port']}\nuser={SUPERUSER}\n"
                   f"password={other.password}\n")  # fmt: skip
        (tmp_path / "services").write_text(service)
        monkeypatch.setenv("PGSERVICEFILE", str(tmp_path / "services"))
        assert make_plan().facts.hash != plan.facts.hash
        answer = make(plan=plan)
        assert failed(answer, Verdict.ERROR) == {("baseline_is_applied", "baseline.sql")}
        assert_closed(answer, "not the server that the plan was made for: system_identifier was ")
        with other.connect(DATABASE) as conn:
            assert conn.execute("SELECT 1 FROM pg_class WHERE relname = 'OAuthState'").fetchone() is None


def test_a_promoted_copy_is_another_server(
    fresh_lab: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It has the system_identifier of the one that it was copied from; what was planned there is not for it."""
    create(fresh_lab, DATABASE, "keybuzz")
    services = Path(fresh_lab.env()["PGSERVICEFILE"]).read_text()
    planned = make_plan().facts
    (tmp_path / "services").write_text(
        services.replace(f"port={fresh_lab.leader.port}", f"port={fresh_lab.replica.port}")
    )
    monkeypatch.setenv("PGSERVICEFILE", str(tmp_path / "services"))
    with psycopg.connect("service=keybuzz_admin", autocommit=True) as copy:
        copy.execute("SELECT pg_promote(wait => true)")
        copy.execute("CHECKPOINT")
    present = make_plan()
    answer = ask(
        step.apply,
        plan=present.facts,
        planned=kept(planned, run="earlier"),
        confirm=planned.confirmation,
        apply=True,
    )
    assert_closed(answer, "timeline (was 1, is 2)", "address (was 127.0.0.1:", "cluster_name (was ")
    assert answer.facts.applied is False
    same = present.facts.parts["system_identifier"]
    assert same == planned.parts["system_identifier"]


# -- rehearse ------------------------------------------------------------------


def test_a_rehearsal_leaves_nothing(db: psycopg.Connection[Any], dumped: Callable[[], bytes]) -> None:
    before = dumped()
    answer = rehearse()
    assert passes(answer)
    runs = {"every statement, run twice", RUNS, "undo script"}
    assert {f.object for f in answer.findings} == {*OBJECTS, MADE[1], *runs}
    assert dumped() == before
    assert answer.facts.before == answer.facts.after


def test_the_locks_of_a_rehearsal_are_those_on_what_was_there(
    db: psycopg.Connection[Any], tmp_path: Path
) -> None:
    db.execute("CREATE TABLE public.here (id int)")
    db.execute("ALTER TABLE public.here OWNER TO kb_backend")
    made = "CREATE TABLE IF NOT EXISTS public.new (id int);\nCREATE INDEX IF NOT EXISTS i ON public.{} (id);"
    for table, held in (("here", (("public.here", "ShareLock"),)), ("new", ())):
        phase = with_sql(tmp_path, made.format(table))
        assert ask(step.rehearse, phase, plan=forced(phase)).facts.locks == held
    db.execute("DROP TABLE public.here")


def undone(answer: Answer) -> tuple[Verdict, str]:
    (found,) = (f for f in answer.findings if f.check == "undo_restores")
    return found.verdict, found.have


def test_the_undo_of_a_plan_is_rehearsed_and_takes_back_what_was_applied(
    db: psycopg.Connection[Any], dumped: Callable[[], bytes]
) -> None:
    before, plan = dumped(), make_plan()
    undo = plan.facts.undo
    assert (undo.path, undo.rehearsed, undo.left_over) == ("plan/undo.sql", None, ())
    rehearsed = rehearse(plan=plan)
    assert undone(rehearsed) == (
        Verdict.PASS,
        f"{len(undo.statements)} statements, after which all is as before",
    )
    assert rehearsed.facts.undo == structs.replace(undo, rehearsed=True)
    assert passes(make(plan=plan))
    db.execute(script(undo, ["Taken back;", "by a test"]))
    assert dumped() == before
    assert passes(make())
    assert make_plan().facts.undo is None
    assert undone(rehearse()) == (Verdict.SKIP, "nothing that has a name would be made")


def test_an_undo_that_leaves_something_or_is_not_rehearsed_is_open(
    db: psycopg.Connection[Any], lab: Lab, tmp_path: Path
) -> None:
    old = "CREATE TABLE IF NOT EXISTS old (id int PRIMARY KEY)"
    db.execute(f"{old}; ALTER TABLE old OWNER TO kb_backend")
    for text, words in (
        ("CREATE TABLE IF NOT EXISTS t (id int PRIMARY KEY); INSERT INTO t VALUES (1) ON CONFLICT DO NOTHING;",
         "not taken back: line 1, row public.t"),
        (f"{old}; CREATE INDEX IF NOT EXISTS i ON old (id); COMMENT ON TABLE old IS 'x';",
         "not taken back: line 1, statement"),
    ):  # fmt: skip
        phase = replace(with_sql(tmp_path, text), tables=(), enums=(), indexes=())
        verdict, have = undone(rehearse(phase))
        assert (verdict, words in have) == (Verdict.OPEN, True), have
    text = f"{old}; CREATE INDEX IF NOT EXISTS i ON old (id);"
    phase = replace(with_sql(tmp_path, text), tables=(), enums=(), indexes=())
    plan = make_plan(phase)
    with lab.admin(DATABASE) as other, other.transaction():
        other.execute("SELECT * FROM old")  # the index lets it be read, and a DROP would not
        verdict, have = undone(rehearse(phase, plan))
    assert (verdict, "lock timeout" in have) == (Verdict.OPEN, True)
    db.execute("CREATE FUNCTION no() RETURNS event_trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'not here'; END $$; "
               "CREATE EVENT TRIGGER no ON sql_drop EXECUTE FUNCTION no()")  # fmt: skip
    answer = rehearse(phase, plan)
    assert undone(answer) == (Verdict.OPEN, "not rehearsed: not here CONTEXT: PL/pgSQL function "
                              "no() line 1 at RAISE")  # fmt: skip
    assert answer.facts.undo.rehearsed is False


def undo_for(text: str) -> Undo:
    asking = Sessions(PHASE.targets, application_name="runbooks tests")
    with asking as sessions, sessions.snapshot("legacy") as conn:
        return undo_of(parse_script(text), read_catalog(conn), database=DATABASE, owner="kb_backend")


def test_an_undo_keeps_a_column_with_a_value_that_is_null_in_part(db: psycopg.Connection[Any]) -> None:
    db.execute(
        "CREATE TYPE pair AS (a int, b int); CREATE TABLE old (id int); ALTER TABLE old OWNER TO kb_backend"
    )
    text = "ALTER TABLE old ADD COLUMN IF NOT EXISTS p public.pair;"
    undo = undo_for(text)
    db.execute(f"{text} INSERT INTO old (p) VALUES (NULL), (ROW(1, NULL))")
    with pytest.raises(psycopg.errors.RaiseException, match="has values"):
        db.execute(script(undo, []))
    db.execute("ROLLBACK")
    db.execute(f"DELETE FROM old WHERE p IS DISTINCT FROM NULL; {script(undo, [])}")
    assert db.execute("SELECT attname FROM pg_attribute WHERE attrelid = 'old'::regclass AND attnum > 0 "
                      "AND NOT attisdropped").fetchall() == [("id",)]  # fmt: skip


def test_an_undo_names_a_grant_that_is_also_on_what_was_there(db: psycopg.Connection[Any]) -> None:
    db.execute("CREATE TABLE old (id int); ALTER TABLE old OWNER TO kb_backend")
    text = "CREATE TABLE IF NOT EXISTS t (id int PRIMARY KEY); GRANT SELECT ON {} TO PUBLIC;"
    for tables, left in (("t", []), ("t, old", [1]), ("old, t", [1])):
        assert [each.line for each in undo_for(text.format(tables)).left_over] == left, tables


def test_what_others_write_meanwhile_is_not_held_against_the_rehearsal(
    db: psycopg.Connection[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rows of others, at the moment when our script runs."""
    run_script = baseline_runs.run_script
    rows = iter(range(100))

    def meanwhile(*arguments: Any, **options: Any) -> Any:
        db.execute("INSERT INTO tenants VALUES (%s, 'New')", (str(next(rows)),))
        return run_script(*arguments, **options)

    monkeypatch.setattr(baseline_runs, "run_script", meanwhile)
    answer = rehearse()
    assert passes(answer)
    assert answer.rows == ({"object": "everything that the plan names", "legacy": "as declared"},)


@pytest.mark.parametrize(("times", "verdict"), [(1, Verdict.PASS), (1000, Verdict.OPEN)])
def test_who_changes_the_catalogue_meanwhile_is_told_apart(
    db: psycopg.Connection[Any], monkeypatch: pytest.MonkeyPatch, times: int, verdict: Verdict
) -> None:
    """Once: the next try is undisturbed. Each time: ours is rolled back all the same, and theirs is named."""
    run_script, tables = baseline_runs.run_script, iter(range(times))

    def meanwhile(*arguments: Any, **options: Any) -> Any:
        for number in tables:
            db.execute(sql.SQL("CREATE TABLE {} ()").format(sql.Identifier(f"theirs_{number}")))
            break
        return run_script(*arguments, **options)

    plan = make_plan()
    monkeypatch.setattr(baseline_runs, "run_script", meanwhile)
    answer = rehearse(plan=plan)
    (inert,) = (f for f in answer.findings if f.object == RUNS)
    assert inert.verdict is answer.verdict is verdict
    assert ("relation public.theirs_" in inert.have) is (verdict is Verdict.OPEN)


def test_a_rehearsal_runs_twice_and_sees_what_the_second_time_does(
    db: psycopg.Connection[Any], tmp_path: Path
) -> None:
    """ON CONFLICT DO NOTHING, and yet a new row each time: no parser can tell. Known before it is applied."""
    phase = with_sql(
        tmp_path,
        "CREATE TABLE IF NOT EXISTS t (id int);\nINSERT INTO t VALUES (1) ON CONFLICT DO NOTHING;",
    )
    answer = ask(step.rehearse, phase, plan=forced(phase))
    assert ("statement_is_idempotent", "every statement, run twice") in failed(answer)
    assert_closed(answer, "the second time: public.t: 1 inserted")


def test_a_server_that_does_not_count_is_an_error(lab: Lab, db: psycopg.Connection[Any]) -> None:
    plan = make_plan()
    db.execute(f"ALTER DATABASE {DATABASE} SET track_counts = off")
    for answer in (rehearse(plan=plan), ask(step.second_run, apply=True)):
        assert answer.verdict is Verdict.ERROR
        assert_closed(answer, "track_counts")


SLOW = """
CREATE TABLE IF NOT EXISTS t (v text PRIMARY KEY);
INSERT INTO t SELECT count(*) FROM generate_series(1, 100000000) ON CONFLICT DO NOTHING;
"""


@pytest.mark.parametrize(
    ("text", "baseline", "words"),
    [
        pytest.param(SLOW, {"statement_timeout_ms": 2_000}, ["Line 3", "statement timeout", "statement_timeout"],
                     id="slow"),
        pytest.param(
            "CREATE TABLE IF NOT EXISTS t (v int);\n\n-- é\nINSERT INTO t VALUES (1/0) ON CONFLICT DO NOTHING;",
            {}, ["Line 4 (row public.t)", "division by zero", "rolled back"], id="fails",
        ),
        pytest.param("CREATE TABLE IF NOT EXISTS t (v int);\nALTER TABLE tenants ADD IF NOT EXISTS x int;", {},
                     ["Line 2", "must be owner of table tenants", "privilege"], id="not the owner"),
        pytest.param("CREATE TABLE IF NOT EXISTS t (v int);\nCREATE TABLE u (v int);", {},
                     ["not idempotent", "line 2"], id="refused"),
    ],
)  # fmt: skip
def test_what_fails_is_rolled_back(
    db: psycopg.Connection[Any], dumped: Callable[[], bytes], tmp_path: Path, text: str,
    baseline: dict[str, Any], words: list[str],
) -> None:  # fmt: skip
    before = dumped()
    phase = with_sql(tmp_path, text, **baseline)
    for answer, check in (
        (ask(step.rehearse, phase, plan=forced(phase)), "rehearsal_is_inert"),
        (force(phase), "baseline_is_applied"),
        (ask(step.second_run, phase, apply=True), "second_run_changes_nothing"),
    ):
        assert {c for c, _ in failed(answer, Verdict.ERROR)} == could_not(check)
        assert_closed(answer, *words)
        assert not getattr(answer.facts, "applied", False)
    assert dumped() == before


def test_a_lock_is_not_waited_for_longer_than_lock_timeout(done: psycopg.Connection[Any], lab: Lab) -> None:
    phase = replace(PHASE, baseline=replace(PHASE.baseline, lock_timeout_ms=50))
    plan = make_plan(phase)
    with lab.admin(DATABASE) as other, other.transaction():
        other.execute('LOCK TABLE "OAuthState" IN SHARE ROW EXCLUSIVE MODE')
        for answer in (rehearse(phase, plan), make(phase, plan), ask(step.second_run, phase, apply=True)):
            assert answer.verdict is Verdict.ERROR
            assert_closed(answer, "lock timeout", "public.oauth_states_", "blockers in preflight")
    assert passes(make(phase, plan))


# -- apply ---------------------------------------------------------------------


def test_apply_and_apply_again(db: psycopg.Connection[Any], dumped: Callable[[], bytes]) -> None:
    plan = make_plan()
    answer = make(plan=plan)
    assert passes(answer)
    assert answer.facts.applied is True
    assert {"plan_is_confirmed", "baseline_is_applied", "has_table", "enum_has_labels", "index_is"} <= {
        f.check for f in answer.findings
    }
    assert [o.tag for o in answer.facts.outcomes].count("CREATE INDEX") == 11
    owners = db.execute(
        "SELECT DISTINCT pg_get_userbyid(relowner) FROM pg_class WHERE relnamespace = 'public'::regnamespace "
        "AND relname NOT LIKE 'tenants%' UNION SELECT DISTINCT pg_get_userbyid(typowner) FROM pg_type "
        "WHERE typnamespace = 'public'::regnamespace AND typtype = 'e'"
    ).fetchall()
    assert owners == [("kb_backend",)]
    assert db.execute("SELECT count(*) FROM tenants").fetchone() == (2,)
    content = dumped()
    assert passes(ask(step.second_run, apply=True))
    assert dumped() == content
    again = make()
    assert passes(again)
    notices = [notice for outcome in again.facts.outcomes for notice in outcome.notices]
    assert len(notices) == 16
    assert all("already exists, skipping" in notice for notice in notices)
    skipped = "relation already exists, skipping"
    assert [tuple(row[key] for key in ("statements", "tag", "notice")) for row in again.rows] == [
        (4, "DO", ""), (5, "CREATE TABLE", skipped), (11, "CREATE INDEX", skipped),
    ]  # fmt: skip
    assert dumped() == content
    stale = make(plan=plan)
    assert_closed(stale, "catalogue changed since the plan was made")


def test_without_apply_nothing_is_written(db: psycopg.Connection[Any], dumped: Callable[[], bytes]) -> None:
    before = dumped()
    plan = make_plan()
    answer = ask(step.apply, plan=plan.facts, planned=None, confirm=plan.facts.confirmation, apply=False)
    assert [(f.check, f.verdict) for f in answer.findings] == [("baseline_is_applied", Verdict.SKIP)]
    assert answer.facts == Applied(applied=False)
    nobody = {"planned": lambda confirm: None, "confirm": "", "apply": False}
    asked = ask(step.confirmation, plan=plan.facts, **nobody)
    assert plan.facts.confirmation in " ".join(f.hint for f in asked.findings if f.verdict is Verdict.SKIP)
    second = ask(step.second_run, apply=False)
    assert [(f.check, f.verdict) for f in second.findings] == [("second_run_changes_nothing", Verdict.SKIP)]
    assert dumped() == before


@pytest.mark.parametrize(
    "confirm", ["", "yes", "hash", "keybuzz:{hash8}", "{database}:{hash9}", "{upper}", " {right}"]
)
def test_a_wrong_confirmation_is_refused(
    db: psycopg.Connection[Any], dumped: Callable[[], bytes], confirm: str
) -> None:
    before = dumped()
    plan = make_plan()
    digest, right = plan.facts.hash, plan.facts.confirmation
    given = confirm.format(
        hash8=digest[:8], hash9=digest[:9], database=DATABASE, upper=right.upper(), right=right
    )
    answer = make(plan=plan, confirm=given)
    assert failed(answer) == {("plan_is_confirmed", "confirmation")}
    assert len(answer.findings) == 1
    assert_closed(answer, f"confirm it with {right}")
    assert answer.facts.applied is False
    assert dumped() == before


def test_a_stale_confirmation_says_what_changed(
    db: psycopg.Connection[Any], dumped: Callable[[], bytes]
) -> None:
    old = make_plan().facts
    db.execute("CREATE TABLE meanwhile (id int)")
    before = dumped()
    answer = ask(
        step.apply,
        plan=make_plan().facts,
        planned=kept(old, run="earlier"),
        confirm=old.confirmation,
        apply=True,
    )
    assert failed(answer) == {("plan_is_confirmed", "confirmation")}
    assert_closed(answer, "of run earlier there changed: catalogue (was ")
    assert dumped() == before


@pytest.mark.parametrize(("ours", "passed"), [(True, True), (False, False)])
def test_an_apply_that_was_interrupted_is_taken_up_by_its_own_run_alone(
    db: psycopg.Connection[Any], ours: bool, passed: bool
) -> None:
    """The transaction was committed, and then the kernel died: the catalogue differs, and all objects stand."""
    old = make_plan().facts
    assert passes(make())
    answer = ask(
        step.apply,
        plan=make_plan().facts,
        planned=kept(old, run="this" if ours else "another"),
        confirm=old.confirmation,
        apply=True,
    )
    assert passes(answer) is passed
    assert answer.facts.applied is passed


@pytest.mark.parametrize("apply", [True, False])
def test_no_plan_is_never_applied(db: psycopg.Connection[Any], apply: bool) -> None:
    plan = make_plan(dumps={})
    answer = ask(step.apply, plan=plan.facts or Plan(), planned=None, confirm="", apply=apply)
    assert failed(answer, Verdict.ERROR) == {("baseline_is_applied", "baseline.sql")}
    assert_closed(answer, "There is no plan")
    assert not OBJECTS & names(db)


def test_what_was_confirmed_must_still_be_so(lab: Lab, db: psycopg.Connection[Any], tmp_path: Path) -> None:
    phase = with_sql(tmp_path, shipped_sql())
    plan = make_plan(phase)
    (tmp_path / "baseline.sql").write_text(shipped_sql() + "CREATE TABLE IF NOT EXISTS smuggled (id int);")
    assert_closed(make(phase, plan), "The SQL file changed since the plan was made")
    (tmp_path / "baseline.sql").write_text(shipped_sql())
    assert_closed(make(replace(phase, digest="0" * 64), plan), "The phase file changed")
    elsewhere = with_services(phase, {phase.baseline.target: "keybuzz_readonly"})
    assert_closed(make(elsewhere, plan), "services of the targets changed since the plan was made")
    for part in ("timeline", "address", "data_directory", "cluster_name"):
        other = structs.replace(plan.facts, parts=plan.facts.parts | {part: "another"})
        answer = ask(step.apply, phase, plan=other, planned=None, confirm=other.confirmation, apply=True)
        assert_closed(answer, "not the server that the plan was made for", f"{part} was another and is ")
    db.close()  # a database in use is no template
    create(lab, "baseline_other", DATABASE)
    try:
        assert_closed(
            make(phase_for("baseline_other"), make_plan()), f"database was {DATABASE} and is baseline_other"
        )
    finally:
        drop(lab, "baseline_other")
    with lab.admin(DATABASE) as admin:
        admin.execute("CREATE INDEX another ON tenants (name)")
        assert_closed(make(phase, plan), "The database's catalogue changed")
        assert not OBJECTS & names(admin)


def test_two_at_once(db: psycopg.Connection[Any]) -> None:
    plan = make_plan()
    hurried = replace(PHASE, baseline=replace(PHASE.baseline, lock_timeout_ms=100))
    first = Sessions(PHASE.targets, application_name="runbooks first run")
    with first.write("legacy", lock_timeout_ms=1_000, statement_timeout_ms=1_000) as conn, conn.transaction():
        take_lock(conn, wait_ms=0)
        take_lock(conn, wait_ms=0)  # one's own lock is no obstacle
        for answer in (rehearse(hurried), make(hurried, plan), ask(step.second_run, hurried, apply=True)):
            assert answer.verdict is Verdict.ERROR
            assert_closed(
                answer,
                "waited for 0.1 s",
                "held by keybuzz_operator (runbooks first run, pid",
                "UTC",
                "Wait until it has",
            )
    assert passes(make(plan=plan))


def test_the_second_of_two_waits_for_the_first(db: psycopg.Connection[Any]) -> None:
    plan = make_plan()
    first = Sessions(PHASE.targets, application_name="runbooks first run")
    with ThreadPoolExecutor() as pool:
        writing = first.write("legacy", lock_timeout_ms=1_000, statement_timeout_ms=1_000)
        with writing as conn, conn.transaction():
            take_lock(conn, wait_ms=0)
            second = pool.submit(make, plan=plan)
            waiting = "SELECT count(*) FROM pg_stat_activity WHERE query LIKE '%%pg_try_advisory%%' AND pid <> ALL(%s)"
            ours = [conn.info.backend_pid, db.info.backend_pid]
            while db.execute(waiting, (ours,)).fetchone() == (0,):
                assert not second.done(), second.result()  # it ended without waiting: what it says tells why
                time.sleep(0.01)
            assert not second.done()
        assert passes(second.result(timeout=30))


@pytest.mark.parametrize("queue_s", [60.0, 2.0], ids=["to its end", "not for ever"])
def test_who_is_at_work_is_waited_for(db: psycopg.Connection[Any], queue_s: float) -> None:
    """A queue that moves is no obstacle: plans at one database come to their end one after the other."""
    told: list[str] = []
    over = threading.Event()

    def work() -> None:
        with db.transaction():
            db.execute("SELECT pg_advisory_xact_lock(%s)", (LOCK_KEY,))
            held.set()
            until = time.monotonic() + 5
            while not over.wait(0.05) and time.monotonic() < until:
                db.execute("SELECT 1")

    held, sessions = threading.Event(), Sessions(PHASE.targets)
    writing = sessions.write("legacy", lock_timeout_ms=1_000, statement_timeout_ms=1_000)
    with ThreadPoolExecutor() as pool, writing as conn, listening(lambda news: told.append(news.what)):
        working = pool.submit(work)
        assert held.wait(30)
        began = time.monotonic()
        refused = pytest.raises(MigrationError, match=r"waited for \d s, is held by postgres \(runbooks, pid")
        try:
            with conn.transaction(), refused if queue_s < 5 else nullcontext():
                take_lock(conn, wait_ms=1_500, queue_s=queue_s)
            assert time.monotonic() - began > min(queue_s, 4)
            assert queue_s > 5 or not working.done()
        finally:
            over.set()
    assert any(each.startswith("waiting for postgres (runbooks, pid") for each in told)


def test_the_lock_is_held_by_a_session_without_a_transaction(lab: Lab, db: psycopg.Connection[Any]) -> None:
    db.execute("SELECT pg_advisory_lock(%s)", (LOCK_KEY,))
    phase = replace(PHASE, baseline=replace(PHASE.baseline, lock_timeout_ms=100))
    assert_closed(rehearse(phase), "held by postgres (runbooks, pid")
    with lab.admin("postgres") as admin:  # nor does a role that sees no times break the sentence
        admin.execute("REVOKE pg_read_all_stats FROM keybuzz_operator")
        try:
            assert_closed(rehearse(phase), "is held by postgres")
        finally:
            admin.execute("GRANT pg_read_all_stats TO keybuzz_operator")


def test_a_lock_that_is_let_go_while_we_ask_who_has_it_is_taken(
    lab: Lab, db: psycopg.Connection[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Refused, and then nobody to name: the holder has just ended. The lock is free, so it is ours."""
    db.execute("SELECT pg_advisory_lock(%s)", (LOCK_KEY,))
    asked = []

    def let_go_first(name: str) -> Any:
        if name == "lock_holder":
            asked.append(name)
            db.execute("SELECT pg_advisory_unlock_all()")
        return query(name)

    monkeypatch.setattr(locks, "query", let_go_first)
    with Sessions(PHASE.targets) as sessions:
        writing = sessions.write("legacy", lock_timeout_ms=1_000, statement_timeout_ms=1_000)
        with writing as conn, conn.transaction():
            take_lock(conn, wait_ms=1_000)
            held = db.execute("SELECT pg_try_advisory_lock(%s)", (LOCK_KEY,)).fetchone()
    assert asked == ["lock_holder"]
    assert held == (False,)


def test_what_another_run_did_before_we_had_the_lock_is_not_held_against_the_rehearsal(
    db: psycopg.Connection[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The state before the rehearsal is that under the lock: whoever had it until then has ended."""
    plan = make_plan()

    def after_another(conn: Any, *, wait_ms: int) -> None:
        db.execute("CREATE TABLE by_another_run (id int)")
        take_lock(conn, wait_ms=wait_ms)

    monkeypatch.setattr(baseline_runs, "take_lock", after_another)
    assert passes(rehearse(plan=plan))


def test_a_missing_privilege_is_error(db: psycopg.Connection[Any]) -> None:
    db.execute("REVOKE CREATE ON SCHEMA public FROM kb_backend")
    for answer in (rehearse(), make()):
        assert answer.verdict is Verdict.ERROR
        assert_closed(answer, "permission denied for schema public", "privilege")
    assert not OBJECTS & names(db)


def test_an_owner_that_may_not_be_taken(db: psycopg.Connection[Any]) -> None:
    answer = make(replace(PHASE, owner="kb_legacy"))
    assert answer.verdict is Verdict.ERROR
    assert_closed(answer, 'permission denied to set role "kb_legacy"')


# -- the second run ------------------------------------------------------------


def test_a_second_run_is_no_way_around_the_confirmation(
    db: psycopg.Connection[Any], dumped: Callable[[], bytes]
) -> None:
    before = dumped()
    answer = ask(step.second_run, apply=True)
    assert failed(answer) == {("second_run_changes_nothing", RUNS)}
    assert_closed(answer, "Rolled back")
    assert dumped() == before


def test_what_an_event_trigger_logs_is_not_the_scripts_doing(
    db: psycopg.Connection[Any], dumped: Callable[[], bytes]
) -> None:
    """A log of every definition, as auditors want it: also of those that IF NOT EXISTS skips."""
    db.execute(
        "CREATE TABLE defined (at timestamptz, tag text); GRANT ALL ON defined TO kb_backend, keybuzz_operator"
    )
    db.execute(
        "CREATE FUNCTION log() RETURNS event_trigger LANGUAGE plpgsql AS"
        " $$ BEGIN INSERT INTO public.defined VALUES (now(), TG_TAG); NOTIFY told; END $$;"
        " CREATE EVENT TRIGGER log ON ddl_command_end EXECUTE FUNCTION log()"
    )
    plan = make_plan()
    assert {f.verdict for f in rehearse(plan=plan).findings} == {Verdict.PASS}
    assert passes(make(plan=plan))
    assert passes(ask(step.second_run, apply=True))


def test_a_second_run_that_changes_rows_is_seen_and_rolled_back(
    done: psycopg.Connection[Any], dumped: Callable[[], bytes], tmp_path: Path
) -> None:
    """ON CONFLICT DO NOTHING, and yet a new row each time: no parser can tell."""
    text = (
        shipped_sql()
        + """
        INSERT INTO "MarketplaceConnection" (id, "tenantId", type, "updatedAt")
        SELECT gen_random_uuid()::text, 't', 'AMAZON', now() ON CONFLICT DO NOTHING;
    """
    )
    phase = with_sql(tmp_path, text)
    assert passes(ask(step.parse, phase))
    before = dumped()
    answer = ask(step.second_run, phase, apply=True)
    assert failed(answer) == {("second_run_changes_nothing", RUNS)}
    assert dumped() == before


def test_a_second_run_that_replaces_rows_is_seen_and_rolled_back(
    done: psycopg.Connection[Any], dumped: Callable[[], bytes], tmp_path: Path
) -> None:
    """The table's own trigger takes a row out for each that comes in: there are as many as before."""
    done.execute("CREATE TABLE latest (at timestamptz); GRANT ALL ON latest TO kb_backend, keybuzz_operator")
    done.execute("INSERT INTO latest VALUES (now())")
    done.execute(
        "CREATE FUNCTION replace() RETURNS trigger LANGUAGE plpgsql AS"
        " $$ BEGIN DELETE FROM public.latest WHERE at < NEW.at; RETURN NULL; END $$;"
        " CREATE TRIGGER replace AFTER INSERT ON latest FOR EACH ROW EXECUTE FUNCTION replace()"
    )
    phase = with_sql(tmp_path, shipped_sql() + "INSERT INTO latest SELECT now() ON CONFLICT DO NOTHING;")
    before = dumped()
    answer = ask(step.second_run, phase, apply=True)
    assert failed(answer) == {("second_run_changes_nothing", RUNS)}
    assert_closed(answer, "public.latest: 1 inserted, 1 deleted")
    assert answer.facts.outcomes[-1].tag == "INSERT 0 1"
    assert dumped() == before
