"""Nothing is recorded on trust: the database against what its migrations make, and what becomes of failed ones.

Prisma is started only where the test says so: a start costs a second, and a refusal must not have one.
"""

from __future__ import annotations

import time
from typing import Any

import psycopg
import pytest

from runbooks_lib.errors import PreconditionFailed
from runbooks_lib.findings import CLOSING, Answer, Finding, Verdict
from runbooks_lib.phase import Ignored
from runbooks_lib.postgres.scratch import replay
from runbooks_lib.prisma.command import Written
from runbooks_lib.prisma.lock import MIGRATION_LOCK

from .conftest import PHASE, QUESTIONS, CountedPrisma, Place

FIRST = "20251210093000_init_amazon_inbound"
NAME = PHASE.prisma.settle[0]
THIRD = "20260101000000_third"
RECORDED = "migration_is_recorded"
STAND, BEYOND = "migration_objects_stand", "nothing_is_beyond_the_migrations"
SETTLED, DONE = "migration_is_settled", "data_statement_is_done"
UP_TO_DATE = "Database schema is up to date!"
STATUS, DEPLOY, APPLIED, ROLLED_BACK = (
    "migrate status",
    "migrate deploy",
    f"migrate resolve --applied {NAME}",
    f"migrate resolve --rolled-back {NAME}",
)


def closing(answer: Answer) -> dict[tuple[str, str], Finding]:
    return {(f.check, f.object): f for f in answer.findings if f.verdict in CLOSING}


def of(answer: Answer, check: str) -> Finding:
    (found,) = (f for f in answer.findings if f.check == check)
    return found


# --- the live schema ----------------------------------------------------------------------------------------------


def test_the_lab_holds_what_its_migrations_make(place: Place) -> None:
    prisma = place.prisma()
    begun = time.monotonic()
    answer = place.ask("live_schema", prisma)
    assert time.monotonic() - begun < 10  # some 0.5 s on a machine that does nothing else
    assert {(f.check, f.verdict) for f in answer.findings} == {(STAND, Verdict.PASS), (BEYOND, Verdict.PASS)}
    assert answer.facts.migrations == (FIRST, NAME)
    compared = [f for f in answer.findings if f.check == STAND]
    assert answer.facts.objects == len(compared) == sum(row["stand"] for row in answer.rows)
    assert answer.facts.different == answer.facts.extras == ()
    objects = {f.object for f in compared}
    assert "relation public.OAuthState" in objects
    assert "constraint public.inbound_addresses.inbound_addresses_connectionId_fkey" in objects
    assert prisma.ran == []


@pytest.mark.parametrize(
    ("statement", "object", "have", "want"),
    [
        ('DROP TABLE "OAuthState"', "relation public.OAuthState", "missing", "kind r owner kb_backend"),
        (
            'ALTER TABLE inbound_addresses DROP CONSTRAINT "inbound_addresses_connectionId_fkey"',
            "constraint public.inbound_addresses.inbound_addresses_connectionId_fkey",
            "missing",
            "ON DELETE CASCADE",
        ),
        (
            'ALTER TABLE "OAuthState" ADD COLUMN "byHand" text',
            "columns public.OAuthState",
            "byHand text",
            "nothing else",
        ),
        (
            'ALTER TABLE "OAuthState" ALTER COLUMN state DROP NOT NULL',
            "columns public.OAuthState",
            "state text",
            "state text not_null",
        ),
        (
            "ALTER TYPE \"MarketplaceType\" ADD VALUE 'EBAY' BEFORE 'OTHER'",
            "enum public.MarketplaceType",
            "EBAY",
            "AMAZON, FNAC, CDISCOUNT, OTHER",
        ),
        (
            'DROP INDEX oauth_states_state_key; CREATE UNIQUE INDEX oauth_states_state_key ON "OAuthState" (id)',
            "index public.oauth_states_state_key",
            "(id)",
            "(state)",
        ),
        (
            "UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'oauth_states_state_idx'::regclass",
            "index public.oauth_states_state_idx",
            "CREATE INDEX",
            "is_valid",
        ),
        ("ALTER TYPE \"MarketplaceType\" OWNER TO postgres", "enum public.MarketplaceType", "postgres", "kb_backend"),
    ],
)  # fmt: skip
def test_whatever_else_the_database_holds_is_red_and_named(
    place: Place, statement: str, object: str, have: str, want: str
) -> None:
    place.record(NAME)
    place.execute(statement)
    answer = place.ask("live_schema", place.prisma())
    finding = closing(answer)[STAND, object]
    assert finding.verdict is Verdict.FAIL
    assert have in finding.have
    assert want in finding.want
    assert object in answer.facts.different


def test_what_is_not_the_migrations_to_decide_is_no_difference(place: Place) -> None:
    place.migrate(
        THIRD,
        'ALTER TABLE "OAuthState" ADD COLUMN a text; ALTER TABLE "OAuthState" ADD COLUMN b text;',
        run=False,
    )
    place.execute(
        'ALTER TABLE "OAuthState" ADD COLUMN b text, ADD COLUMN a text',  # branches that were merged late
        'ALTER TABLE "OAuthState" SET (fillfactor = 90)',
        'CREATE INDEX by_hand ON "OAuthState" ("usedAt")',
        "CREATE TABLE of_another_program (id int)",
        'GRANT INSERT ON "OAuthState" TO keybuzz_operator',
    )  # fmt: skip
    answer = place.ask("live_schema", place.prisma())
    assert closing(answer) == {}
    beyond = of(answer, BEYOND)
    assert beyond.verdict is Verdict.OPEN
    assert beyond.have == "2: index public.by_hand, relation public.of_another_program"
    place.ignored = (
        Ignored(object="index public.by_*", why="tuning"),
        Ignored(object="public.of_*", why="theirs"),
    )
    answer = place.ask("live_schema", place.prisma())
    assert [(f.object, f.verdict) for f in answer.findings if f.check == BEYOND] == [
        ("other objects", Verdict.PASS),
        ("index public.by_*", Verdict.SKIP),
        ("public.of_*", Verdict.SKIP),
    ]


def test_migrations_that_were_recorded_and_never_run(place: Place) -> None:
    """What a phase cannot declare: a CHECK, a foreign key, a unique index, a table that was to go."""
    place.record(NAME)
    script = (
        'ALTER TABLE "OAuthState" ADD CONSTRAINT used CHECK ("usedAt" <= "expiresAt");'
        'ALTER TABLE "OAuthState" ADD CONSTRAINT of_connection FOREIGN KEY ("connectionId")'
        ' REFERENCES "MarketplaceConnection" (id);'
        'CREATE UNIQUE INDEX one_a_day ON "OAuthState" ("tenantId", "createdAt");'
        'DROP TABLE "MarketplaceSyncState";'
    )
    place.migrate(THIRD, script, run=False)
    answer = place.ask("live_schema", place.prisma())
    words = {object: (f.have, f.want) for (_, object), f in closing(answer).items()}
    assert words["constraint public.OAuthState.used"][0] == "missing"
    assert words["constraint public.OAuthState.of_connection"][0] == "missing"
    assert words["index public.one_a_day"][0] == "missing"
    assert words["relation public.MarketplaceSyncState"][1] == "absent"
    place.execute("SET ROLE kb_backend", script)
    assert place.ask("live_schema", place.prisma()).verdict is Verdict.PASS


def script_that_does_not_run(place: Place) -> str:
    place.migrate(THIRD, "CREATE EXTENSION nowhere", run=False)
    return f"{THIRD} does not run here: it makes nowhere, which PostgreSQL"


def script_that_is_lost(place: Place) -> str:
    (place.migrations / FIRST / "migration.sql").unlink()
    return f"no migration.sql of {FIRST}"


def script_that_the_folder_lacks(place: Place) -> str:
    place.record("20260101000000_elsewhere")
    return "no migration.sql of 20260101000000_elsewhere"


@pytest.mark.parametrize(
    "state", [script_that_does_not_run, script_that_is_lost, script_that_the_folder_lacks]
)
def test_what_cannot_be_compared_is_an_error_and_nothing_is_recorded(place: Place, state: Any) -> None:
    said, prisma = state(place), place.prisma()
    asked = {STAND: place.ask("live_schema", prisma), RECORDED: place.ask("resolve", prisma, apply=True)}
    for check, answer in asked.items():
        assert set(closing(answer)) == {(check, "migrations")}
        assert of(answer, check).verdict is Verdict.ERROR
        assert said in of(answer, check).have
    assert prisma.ran == []


DATA = """
CREATE TABLE plans (id text PRIMARY KEY);
INSERT INTO plans VALUES ('free'), ('paid');
ALTER TABLE plans ADD COLUMN note text;
UPDATE plans SET note = id;
"""


def test_statements_that_change_rows_are_asked_for_their_rows(place: Place) -> None:
    place.migrate(THIRD, DATA)
    more = "DO $$ BEGIN UPDATE plans SET note = id; END $$;\nALTER SEQUENCE s RESTART 7;"
    place.execute("CREATE SEQUENCE s; ALTER SEQUENCE s OWNER TO kb_backend")
    place.migrate("20251209000000_s", "CREATE SEQUENCE s;", run=False)
    place.migrate("20260102000000_more", more, run=False)
    answer = place.ask("live_schema", place.prisma())
    found = {f.object: (f.verdict, f.have) for f in answer.findings if f.check == DONE}
    assert found[f"{THIRD}/migration.sql:3"][0] is Verdict.PASS
    assert found[f"{THIRD}/migration.sql:5"][0] is Verdict.PASS
    for line, words in {1: "DO block", 2: "ALTER SEQUENCE s"}.items():
        verdict, have = found[f"20260102000000_more/migration.sql:{line}"]
        assert (verdict, have.startswith(f"{words}: not judged")) == (Verdict.OPEN, True)
    assert answer.verdict is Verdict.OPEN
    assert "relation public.plans" in {f.object for f in answer.findings if f.verdict is Verdict.PASS}
    place.execute("DELETE FROM plans WHERE id = 'free'", "INSERT INTO plans VALUES ('more', 'x')")
    found = {f.object: f for f in place.ask("live_schema", place.prisma()).findings if f.check == DONE}
    assert found[f"{THIRD}/migration.sql:3"].verdict is Verdict.OPEN
    assert found[f"{THIRD}/migration.sql:5"].verdict is Verdict.OPEN
    assert "1 of the 2 rows" in found[f"{THIRD}/migration.sql:5"].have


def test_a_migration_that_leaves_nothing_can_be_recorded(place: Place) -> None:
    place.record(NAME)
    place.migrate(THIRD, "SELECT 1", run=False, record=False)
    place.migration = THIRD
    answer = place.ask("resolve", place.prisma(), apply=True)
    assert closing(answer) == {}
    assert place.rows(THIRD) == [(True, False)]


BLOCK = """DO $$ BEGIN UPDATE "OAuthState" SET "usedAt" = now(); END $$;"""
UPDATE = """UPDATE "OAuthState" SET "usedAt" = "expiresAt" WHERE "usedAt" IS NULL;"""


def data_migration(place: Place, script: str) -> None:
    place.record(NAME)
    place.migrate(THIRD, script, run=False, record=False)
    place.migration = THIRD
    place.declared = False


@pytest.mark.parametrize("script", [BLOCK, UPDATE])
def test_a_migration_of_rows_alone_is_deployed_or_refused(place: Place, script: str) -> None:
    data_migration(place, script)
    place.execute(
        'INSERT INTO "OAuthState" (id, state, "tenantId", "marketplaceType", "expiresAt")'
        " VALUES (1, 1, 1, 'AMAZON', now())"
    )
    prisma = place.prisma()
    answer = place.ask("resolve", prisma, apply=True)
    if script is UPDATE:
        assert closing(answer) == {}
        assert place.rows(THIRD) == [(True, False)]
        assert prisma.ran[-1] == DEPLOY
        with place.admin() as conn:
            assert conn.execute('SELECT FROM "OAuthState" WHERE "usedAt" IS NULL').fetchall() == []
    else:  # nothing tells whether it was run
        assert set(closing(answer)) == {(SETTLED, THIRD)}
        assert of(answer, DONE).verdict is Verdict.OPEN
        assert place.rows(THIRD) == []
        assert not {DEPLOY, f"migrate resolve --applied {THIRD}"} & set(prisma.ran)


def test_a_failed_migration_of_which_nothing_tells_is_settled_by_hand(place: Place) -> None:
    data_migration(place, BLOCK)
    place.record(THIRD, finished=False)
    prisma = place.prisma()
    for apply in (False, True):
        finding = closing(place.ask("resolve", prisma, apply=apply))[SETTLED, THIRD]
        assert (
            finding.have
            == "recorded as failed; it leaves nothing that a catalogue shows; not to be seen: line 1 DO block"
        )
        assert finding.hint.startswith("Nothing tells whether any of it was done.")
    assert (prisma.ran, place.rows(THIRD)) == ([], [(False, False)])


def test_a_migration_that_was_run_by_hand_statement_by_statement(place: Place) -> None:
    """Prisma tells people to run these by hand, and to resolve them."""
    script = (
        'CREATE INDEX CONCURRENTLY one ON "OAuthState" ("usedAt");\n'
        'CREATE INDEX CONCURRENTLY two ON "OAuthState" ("createdAt");'
    )
    place.migrate(THIRD, script, run=False)
    for statement in script.split("\n"):
        place.execute("SET ROLE kb_backend", statement)
    answer = place.ask("live_schema", place.prisma())
    told = next(f for f in answer.findings if f.object == THIRD)
    assert (told.verdict, answer.verdict) == (Verdict.PASS, Verdict.PASS)
    assert told.have.startswith("2 of 2 statements judged; run one by one, as by hand")
    place.execute("DROP INDEX two")
    assert set(closing(place.ask("live_schema", place.prisma()))) == {(STAND, "index public.two")}


def test_without_a_scratch_nothing_is_proved(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """A server newer than all programs here cannot be had, so the search for programs is made to fail."""

    def none(major: int, **_: object) -> None:
        raise PreconditionFailed(
            f"No PostgreSQL server programs of version {major} or newer.", "Install some."
        )

    monkeypatch.setattr(replay, "find_server_for", none)
    prisma = place.prisma()
    asked = {STAND: place.ask("live_schema", prisma), RECORDED: place.ask("resolve", prisma, apply=True)}
    for check, answer in asked.items():
        finding = closing(answer)[check, "migrations"]
        assert (finding.verdict, finding.hint) == (Verdict.ERROR, "Install some.")
    assert prisma.ran == []


# --- the resolve --------------------------------------------------------------------------------------------------


def test_the_notebook_starts_prisma_three_times_and_records(place: Place) -> None:
    prisma = place.prisma()
    question, answer = place.notebook(prisma, apply=True)
    assert (question, answer.verdict) == ("confirm", Verdict.PASS)
    assert prisma.ran == [STATUS, APPLIED, STATUS]
    assert place.rows(NAME) == [(True, False)]
    prisma.ran.clear()
    answer = place.ask("resolve", prisma, apply=True)
    assert (answer.verdict, answer.facts.already, prisma.ran) == (Verdict.PASS, True, [])


@pytest.mark.parametrize(
    ("changed", "object"),
    [
        ('CREATE INDEX forgotten ON "OAuthState" ("usedAt");', "index public.forgotten"),
        ('ALTER TABLE "OAuthState" ADD CHECK (state <> \'\');', "constraint public.OAuthState.OAuthState_state_check"),
        ('ALTER TABLE inbound_addresses ALTER COLUMN country DROP NOT NULL;', "columns public.inbound_addresses"),
        ('DROP TABLE "MarketplaceSyncState";', "relation public.MarketplaceSyncState"),
    ],
)  # fmt: skip
def test_resolve_is_refused_until_all_that_the_migration_makes_stands(
    place: Place, changed: str, object: str
) -> None:
    with (place.migrations / NAME / "migration.sql").open("a") as script:
        script.write(changed)
    prisma = place.prisma()
    answer = place.ask("resolve", prisma, apply=True)
    assert set(closing(answer)) == {(SETTLED, NAME)}
    assert closing(answer)[SETTLED, NAME].have.startswith(
        "not recorded; statements 1-6 of 7 stand; not: line "
    )
    skipped = {f.object for f in answer.findings if f.verdict is Verdict.SKIP}
    assert object in skipped
    assert (answer.facts.recorded, prisma.ran, place.rows(NAME)) == (False, [], [])


def test_what_a_later_migration_changed_is_wanted_as_it_left_it(place: Place) -> None:
    place.declared = False
    place.migrate(THIRD, 'DROP INDEX oauth_states_state_idx; ALTER TABLE "OAuthState" ADD COLUMN a text;')
    answer = place.ask("resolve", place.prisma())
    assert closing(answer) == {}
    assert of(answer, "migration_is_recorded").verdict is Verdict.SKIP
    place.execute('CREATE INDEX oauth_states_state_idx ON "OAuthState" (state)')
    assert set(closing(place.ask("resolve", place.prisma()))) == {
        (STAND, "index public.oauth_states_state_idx")
    }


def test_p3008_is_success_only_for_the_same_file(place: Place) -> None:
    class Raced(CountedPrisma):
        """Somebody records another version of the migration just before Prisma does."""

        def resolve(self, *names: Any, **options: Any) -> Written:
            place.record(NAME, checksum="b" * 64)
            return super().resolve(*names, **options)

    prisma = Raced(place.project, place.url())
    prisma.ran = []
    answer = place.ask("resolve", prisma, apply=True)
    assert answer.facts.said.code == "P3008"
    assert of(answer, "migration_is_recorded").verdict is Verdict.PASS
    assert set(closing(answer)) == {("migration_is_applied", NAME)}


# --- what Prisma would create -------------------------------------------------------------------------------------


def test_a_missing_schema_is_not_created(place: Place) -> None:
    grant = f"GRANT CREATE ON DATABASE {place.database} TO keybuzz_operator"  # so that Prisma could
    place.execute("DROP SCHEMA public CASCADE", grant)
    prisma = place.prisma()
    for question in QUESTIONS:
        answer = place.ask(question, prisma, apply=True)
        assert [f.verdict for f in answer.findings] == [Verdict.ERROR]
        assert f"{place.database} has no schema public; Prisma would create it" in answer.findings[0].have
    assert prisma.ran == []
    with place.admin() as conn:
        assert conn.execute("SELECT to_regnamespace('public')").fetchone() == (None,)
        place.prisma().status()
        assert conn.execute("SELECT to_regnamespace('public') IS NULL").fetchone() == (False,)  # and it does


def test_a_missing_database_is_not_created(place: Place) -> None:
    prisma, real = place.prisma(dbname="nowhere"), place.database
    place.database = "nowhere"
    for question in QUESTIONS:
        answer = place.ask(question, prisma, apply=True)
        assert [f.verdict for f in answer.findings] == [Verdict.ERROR]
        assert 'database "nowhere" does not exist' in answer.findings[0].have
    assert prisma.ran == []
    place.database = real
    with place.admin() as conn:
        assert conn.execute("SELECT FROM pg_database WHERE datname = 'nowhere'").fetchone() is None


# --- a failed migration -------------------------------------------------------------------------------------------


def test_a_failed_migration_whose_objects_all_stand_is_recorded_as_applied(place: Place) -> None:
    place.record(NAME, finished=False)
    prisma = place.prisma()
    question, answer = place.notebook(prisma, questions=("history", "live_schema", "resolve"))
    assert (question, prisma.ran) == ("resolve", [])
    planned = of(answer, "migration_is_recorded")
    assert planned.verdict is Verdict.SKIP
    assert "recorded as failed, but all that it makes stands" in planned.hint
    question, answer = place.notebook(prisma, apply=True, questions=("resolve", "confirm"))
    assert (question, answer.verdict) == ("confirm", Verdict.PASS)
    assert place.rows(NAME) == [(False, True), (True, False)]
    assert prisma.ran[-2:] == [APPLIED, STATUS]


def test_a_failed_migration_of_which_nothing_stands_is_taken_back_and_deployed(place: Place) -> None:
    place.record(NAME, finished=False)
    place.execute('DROP TABLE "OAuthState"')
    prisma = place.prisma()
    assert of(place.ask("history", prisma), "no_migration_has_failed").verdict is Verdict.OPEN
    live = place.ask("live_schema", prisma)
    assert live.verdict is Verdict.PASS  # of the others
    assert "relation public.OAuthState" in {f.object for f in live.findings if f.verdict is Verdict.SKIP}
    answer = place.ask("resolve", prisma)
    assert closing(answer) == {}
    assert f"With --apply this runs: prisma {ROLLED_BACK}; prisma {DEPLOY}" in of(answer, SETTLED).hint
    assert (prisma.ran, place.rows(NAME)) == ([], [(False, False)])

    answer = place.ask("resolve", prisma, apply=True)
    assert closing(answer) == {}
    assert (answer.facts.taken_back, answer.facts.deployed) == ((NAME,), (NAME,))
    assert (prisma.ran, place.rows(NAME)) == ([STATUS, ROLLED_BACK, DEPLOY], [(False, True), (True, False)])
    question, answer = place.notebook(prisma, apply=True)
    assert (question, answer.verdict) == ("confirm", Verdict.PASS)


@pytest.mark.parametrize(
    ("changed", "statement", "said", "live"),
    [
        ("", "DROP INDEX oauth_states_state_idx", "statements 1-2, 4-6 of 6 stand; not: line ", None),
        (
            "ALTER TYPE \"MarketplaceType\" ADD VALUE 'EBAY';",
            "ALTER TYPE \"MarketplaceType\" ADD VALUE 'ETSY'",  # neither as before nor as after
            "(something else stands there)",
            "enum public.MarketplaceType",
        ),
    ],
)
def test_a_migration_that_failed_half_way_is_left_alone_and_both_halves_are_named(
    place: Place, changed: str, statement: str, said: str, live: str | None
) -> None:
    with (place.migrations / NAME / "migration.sql").open("a") as script:
        script.write(changed)
    place.record(NAME, finished=False)
    place.execute(statement)
    place.declared = False
    prisma = place.prisma()
    assert [f.object for f in closing(place.ask("live_schema", prisma)).values()] == ([live] if live else [])
    for apply in (False, True):
        finding = closing(place.ask("resolve", prisma, apply=apply))[SETTLED, NAME]
        assert said in finding.have
    assert (prisma.ran, place.rows(NAME)) == ([], [(False, False)])


# --- Prisma's lock ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("taken_back", [False, True])
def test_a_held_lock_names_its_holder_before_prisma_waits(place: Place, taken_back: bool) -> None:
    if taken_back:
        place.record(NAME, finished=False)
        place.execute('DROP TABLE "OAuthState"')
    prisma = place.prisma()
    with psycopg.connect(
        f"service=keybuzz_admin dbname={place.database} application_name=deploy.yml", autocommit=True
    ) as holder:
        holder.execute("SELECT pg_advisory_lock(%s)", (MIGRATION_LOCK,))
        begun = time.monotonic()
        answer = place.ask("resolve", prisma, apply=True)
        assert time.monotonic() - begun < 30
        finding = of(answer, "prisma_lock_is_free")
        assert finding.verdict is Verdict.FAIL
        words = f"held by postgres (deploy.yml, pid {holder.info.backend_pid}, from 127.0.0.1/32) since 20"
        assert finding.have.startswith(words)
        assert place.ask("resolve", prisma).verdict is Verdict.PASS
    assert prisma.ran == []
    assert place.rows(NAME) == ([(False, False)] if taken_back else [])


def test_prismas_own_words_of_a_lock_that_is_taken_in_between(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PRISMA_SCHEMA_ENGINE_LOCK_TIMEOUT", "200")

    class Raced(CountedPrisma):
        """Somebody takes the lock just before Prisma does."""

        def resolve(self, *names: Any, **options: Any) -> Written:
            with place.admin() as conn:
                conn.execute("SELECT pg_advisory_lock(%s)", (MIGRATION_LOCK,))
                return super().resolve(*names, **options)

    prisma = Raced(place.project, place.url())
    prisma.ran = []
    answer = place.ask("resolve", prisma, apply=True)
    finding = closing(answer)["migration_is_recorded", NAME]
    assert "P1002" in finding.have
    assert answer.facts.recorded is False


def test_a_targets_own_server_does_not_lend_room_for_scratch_databases(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RUNBOOKS_SCRATCH_SERVICE", "keybuzz_admin")
    (finding,) = place.ask("live_schema", place.prisma()).findings
    assert finding.verdict is Verdict.ERROR
    assert "is the server of one of the phase's targets" in finding.have
    with place.admin() as conn:
        assert conn.execute("SELECT FROM pg_database WHERE datname ~ '^runbooks'").fetchall() == []
