"""Every door in its very state: the state is made, the real Prisma says that code, and what the page says to look at is
there. A start of Prisma takes a second, so all states are made at once, each in a database of its own.
"""

from __future__ import annotations

import re
import secrets
import shutil
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar

import psycopg
import pytest
from psycopg import sql
from psycopg.rows import dict_row

from runbooks_lib.doors import doors, find_doors
from runbooks_lib.errors import ConnectionFailed
from runbooks_lib.lab.lab import Lab
from runbooks_lib.phase import Role, Target
from runbooks_lib.postgres.session.connect import connect
from runbooks_lib.prisma.command import CliResult, Prisma
from runbooks_lib.prisma.history import read_migrations
from runbooks_lib.prisma.url import DatabaseUrl, aim

FIRST, SECOND, THIRD = "20260101000000_shop", "20260102000000_orders", "20260103000000_more"
SHOP = 'CREATE TABLE "Shop" ("id" INTEGER PRIMARY KEY, "name" TEXT NOT NULL);\n'
ORDERS = (
    'CREATE TABLE "Order" ("id" INTEGER PRIMARY KEY, "shopId" INTEGER NOT NULL REFERENCES "Shop" ("id"));\n'
)
COLUMN = 'ALTER TABLE "Shop" ADD COLUMN "city" TEXT;\n'
UP_TO_DATE = "Database schema is up to date!"
WAIT_S = 20.0
PAGES = {door.id: door.page for door in doors()}


@dataclass(slots=True, kw_only=True)
class Ground:
    """The lab, the addresses of its roles, and its project, read once: every state has migrations of its own."""

    lab: Lab
    project: Prisma
    folder: Path
    addresses: Mapping[str, DatabaseUrl]


@dataclass(slots=True, kw_only=True)
class State:
    """A database and a folder of migrations; what Prisma said in it, and what was seen when it had."""

    ground: Ground
    database: str
    migrations: Path
    said: list[CliResult] = field(default_factory=list)
    seen: list[dict[str, Any]] = field(default_factory=list)
    extra: dict[str, Any] = field(default_factory=dict)

    services: ClassVar = {
        "operator": "keybuzz_leader",
        "admin": "keybuzz_admin",
        "replica": "keybuzz_replica",
    }

    def connect(self, role: str = "operator") -> psycopg.Connection[dict[str, Any]]:
        where = f"service={self.services[role]} dbname={self.database}"
        return psycopg.connect(where, autocommit=True, row_factory=dict_row)

    def execute(self, *statements: str, role: str = "operator") -> None:
        with self.connect(role) as conn:
            for statement in statements:
                conn.execute(statement.encode())

    def write(self, name: str, script: str) -> None:
        (self.migrations / name).mkdir(exist_ok=True)
        (self.migrations / name / "migration.sql").write_text(script)

    def prisma(self, *arguments: str, role: str = "operator", **address: Any) -> CliResult:
        url = replace(
            self.ground.addresses[role], **{"dbname": self.database, "system_identifier": None, **address}
        )
        prisma = Prisma(self.ground.folder, url)
        found = replace(prisma.project.configuration, migrations=self.migrations)
        prisma.project = replace(prisma.project, configuration=found)
        said = prisma._run("migrate", *arguments)
        self.said.append(said)
        return said

    def look(self, page: str, role: str = "operator") -> None:
        """Run what the page says to look at, as it stands there."""
        (statement,) = re.findall(r"^```sql\n(.*?)^```", PAGES[page], re.MULTILINE | re.DOTALL)
        with self.connect(role) as conn:
            self.seen = conn.execute(statement.encode()).fetchall()

    @property
    def output(self) -> str:
        return "\n".join(said.output for said in self.said)


@contextmanager
def holding(state: State, statement: str) -> Iterator[psycopg.Connection[Any]]:
    """Another session that has run a statement and not ended its transaction."""
    with psycopg.connect(f"service=keybuzz_leader dbname={state.database} application_name=worker") as conn:
        conn.execute(statement.encode())
        yield conn


# --- the states -------------------------------------------------------------------------------------------------


def wrong_password(s: State) -> None:
    s.prisma("status", password="wrong-password")
    s.extra["ours"] = refused(s, password="wrong-password")


def nobody_answers(s: State) -> None:
    s.prisma("status", port=1)
    s.extra["ours"] = refused(s, port="1")


def refused(s: State, **wrong: str) -> str:
    """What our own session says at a service with something wrong."""
    with psycopg.connect("service=keybuzz_leader") as conn:
        given = {"host": conn.info.host, "port": str(conn.info.port), "user": conn.info.user, **wrong}
    service = f"wrong_{secrets.token_hex(4)}"
    path = Path(s.ground.lab.env()["PGSERVICEFILE"])
    with path.open("a") as services:
        services.write(f"\n[{service}]\n" + "".join(f"{key}={value}\n" for key, value in given.items()))
    target = Target(name="it", service=service, role=Role.PRIMARY, database=s.database)
    with pytest.raises(ConnectionFailed) as caught:
        connect(target, application_name="test")
    return str(caught.value)


def lock_is_held(s: State) -> None:
    s.write(THIRD, COLUMN)
    with holding(s, "SELECT pg_advisory_lock(72707369)") as other:
        s.prisma("deploy")
        s.look("P1002")
        (line,) = re.findall(r"`(SELECT pg_terminate_backend\(PID\);)`", PAGES["P1002"])
        s.execute(line.replace("PID", str(s.seen[0]["pid"])))
        with pytest.raises(psycopg.OperationalError):
            other.execute("SELECT 1")
        held, deadline = s.seen, time.monotonic() + WAIT_S
        while s.seen and time.monotonic() < deadline:
            s.look("P1002")
        s.extra["left"], s.seen = s.seen, held


def no_database(s: State) -> None:
    there, s.database = s.database, f"{s.database}_elsewhere"
    s.prisma("status")
    s.prisma("deploy")
    s.database = there
    s.look("P1003")


def no_such_table(s: State) -> None:
    s.write(THIRD, 'ALTER TABLE "Nowhere" ADD COLUMN "x" INTEGER;\n')
    s.prisma("deploy")
    s.look("P1014")


def no_history(s: State) -> None:
    s.execute("DROP TABLE _prisma_migrations")
    s.prisma("deploy")
    s.look("P3005")


def does_not_replay(s: State) -> None:
    s.execute('CREATE TABLE "ByHand" ("id" INTEGER)')
    s.write(THIRD, 'ALTER TABLE "ByHand" ADD COLUMN "x" INTEGER;\n')
    s.prisma("dev", "--name", "x", role="admin")


def recorded_already(s: State) -> None:
    s.prisma("resolve", "--applied", SECOND)
    s.look("P3008")
    s.extra["files"] = {file.name: file.checksum for file in read_migrations(s.migrations)}


def there_already(s: State) -> None:
    """P3018, and then P3009."""
    s.write(THIRD, f'CREATE TABLE "Before" ("id" INTEGER);\n{SHOP}')
    s.prisma("deploy")
    s.prisma("deploy")
    s.look("P3009")
    with s.connect() as conn:
        s.extra["before"] = conn.execute("SELECT to_regclass('\"Before\"') AS it").fetchall()


def resolved_wrongly(s: State) -> None:
    s.write(THIRD, COLUMN)
    s.prisma("resolve", "--rolled-back", THIRD)
    s.prisma("resolve", "--rolled-back", SECOND)
    s.prisma("resolve", "--applied", "20260104000000_nowhere")
    s.look("P3011")


def no_shadow(s: State) -> None:
    s.prisma("dev", "--name", "x")
    s.look("P3014")


def script_is_lost(s: State) -> None:
    (s.migrations / SECOND / "migration.sql").unlink()
    s.prisma("status")


def other_provider(s: State) -> None:
    (s.migrations / "migration_lock.toml").write_text('provider = "mysql"\n')
    s.prisma("status")


def no_such_column(s: State) -> None:
    s.write(THIRD, 'UPDATE "Shop" SET colour = 1;\n')
    s.prisma("deploy")
    s.look("42703")


def not_the_owner(s: State) -> None:
    s.execute('ALTER TABLE "Shop" OWNER TO postgres', 'GRANT ALL ON "Shop" TO PUBLIC', role="admin")
    s.write(THIRD, COLUMN)
    s.prisma("deploy")
    s.look("42501")


def duplicates(s: State) -> None:
    s.execute("""INSERT INTO "Shop" VALUES (1, 'a'), (2, 'a')""")
    s.write(THIRD, 'CREATE UNIQUE INDEX "Shop_name_key" ON "Shop" ("name");\n')
    s.prisma("deploy")
    s.look("23505")


def changed_by_hand(s: State) -> None:
    s.execute('ALTER TABLE "Shop" ADD COLUMN "extra" TEXT')
    s.prisma("status")
    s.prisma("dev", "--name", "x", role="admin")


def file_is_edited(s: State) -> None:
    s.write(SECOND, ORDERS + "-- edited\n")
    s.prisma("status")
    s.prisma("dev", "--name", "x", role="admin")
    s.look("edited")
    s.extra["files"] = {file.name: file.checksum for file in read_migrations(s.migrations)}


def folder_is_behind(s: State) -> None:
    shutil.rmtree(s.migrations / SECOND)
    s.prisma("status")
    s.prisma("dev", "--name", "x", role="admin")
    s.look("extra")


def table_is_in_use(s: State) -> None:
    s.write(THIRD, COLUMN)
    with holding(s, 'SELECT FROM "Shop"'):
        s.prisma("deploy", options="-c lock_timeout=300")
        s.look("55P03")


def crossed(s: State) -> None:
    """The migration has Shop and waits for Order; who has Order wants Shop: the one that waits longer is ended."""
    s.write(THIRD, COLUMN + 'ALTER TABLE "Order" ADD COLUMN "x" INTEGER;\n')
    with holding(s, 'LOCK TABLE "Order"') as other, s.connect("admin") as watching:

        def cross() -> None:
            deadline = time.monotonic() + WAIT_S
            waits = "SELECT FROM pg_locks WHERE NOT granted AND relation = '\"Order\"'::regclass"
            while not watching.execute(waits).fetchall() and time.monotonic() < deadline:
                time.sleep(0.01)
            other.execute('SELECT FROM "Shop"')

        thread = threading.Thread(target=cross)
        thread.start()
        s.prisma("deploy")
        thread.join()
    s.look("40P01")


def at_the_standby(s: State) -> None:
    s.write(THIRD, COLUMN)
    deadline = time.monotonic() + WAIT_S
    while time.monotonic() < deadline:
        try:
            s.look("25006", role="replica")
            break
        except psycopg.OperationalError:  # the database is not there yet
            time.sleep(0.05)
    s.prisma("deploy", role="replica")


STATES: dict[str, tuple[Callable[[State], None], tuple[str | None, ...]]] = {
    "P1000": (wrong_password, ("P1000",)),
    "P1001": (nobody_answers, ("P1001",)),
    "P1002": (lock_is_held, ("P1002",)),
    "P1003": (no_database, ("P1003", None)),
    "P1014": (no_such_table, ("P3018",)),
    "P3005": (no_history, ("P3005",)),
    "P3006": (does_not_replay, ("P3006",)),
    "P3008": (recorded_already, ("P3008",)),
    "P3009": (there_already, ("P3018", "P3009")),
    "P3011": (resolved_wrongly, ("P3011", "P3012", "P3017")),
    "P3014": (no_shadow, ("P3014",)),
    "P3015": (script_is_lost, ("P3015",)),
    "P3019": (other_provider, ("P3019",)),
    "42P07": (there_already, ("P3018", "P3009")),
    "42703": (no_such_column, ("P3018",)),
    "42501": (not_the_owner, ("P3018",)),
    "23505": (duplicates, ("P3018",)),
    "drift": (changed_by_hand, (None, None)),
    "edited": (file_is_edited, (None, None)),
    "extra": (folder_is_behind, (None, None)),
    "55P03": (table_is_in_use, ("P3018",)),
    "40P01": (crossed, ("P3018",)),
    "25006": (at_the_standby, (None,)),
}


@pytest.fixture(scope="module")
def states(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, State]]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PRISMA_SCHEMA_ENGINE_LOCK_TIMEOUT", "500")
        ground = _ground(lab)
        with _database(ground, tmp_path_factory.mktemp("deployed")) as deployed:
            assert deployed.prisma("deploy").exit_code == 0, deployed.output
            made: dict[Callable[[State], None], State] = {}
            for make in dict.fromkeys(make for make, _ in STATES.values()):
                made[make] = _copy(deployed, tmp_path_factory.mktemp("state"))
            with ThreadPoolExecutor(4) as pool:
                list(pool.map(lambda make: make(made[make]), made))
            try:
                yield {page: made[make] for page, (make, _) in STATES.items()}
            finally:
                for state in made.values():
                    _drop(state)


def _ground(lab: Lab) -> Ground:
    addresses = {}
    for role, service in State.services.items():
        with psycopg.connect(f"service={service}") as conn:
            addresses[role] = aim(conn)
    folder = Path(lab.env()["RUNBOOKS_PRISMA_PROJECT"])
    return Ground(lab=lab, folder=folder, addresses=addresses, project=Prisma(folder, addresses["operator"]))


@contextmanager
def _database(ground: Ground, folder: Path) -> Iterator[State]:
    state = State(ground=ground, database=f"door_{secrets.token_hex(4)}", migrations=folder)
    (folder / "migration_lock.toml").write_text('provider = "postgresql"\n')
    state.write(FIRST, SHOP)
    state.write(SECOND, ORDERS)
    _create(state, "template1")
    try:
        yield state
    finally:
        _drop(state)


def _copy(of: State, folder: Path) -> State:
    shutil.copytree(of.migrations, folder, dirs_exist_ok=True)
    state = State(ground=of.ground, database=f"door_{secrets.token_hex(4)}", migrations=folder)
    _create(state, of.database)
    return state


def _create(state: State, template: str) -> None:
    owner = state.ground.addresses["operator"].user
    create = sql.SQL("CREATE DATABASE {} TEMPLATE {} OWNER {}")
    with state.ground.lab.admin("postgres") as conn:
        conn.execute(create.format(*map(sql.Identifier, (state.database, template, owner))))


def _drop(state: State) -> None:
    with state.ground.lab.admin("postgres") as conn:
        conn.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(state.database)))


# --- what is said and seen --------------------------------------------------------------------------------------


def test_every_door_has_its_state() -> None:
    assert STATES.keys() == PAGES.keys()


@pytest.mark.parametrize("page", STATES)
def test_prisma_says_that_code_and_its_words_lead_to_the_page(page: str, states: dict[str, State]) -> None:
    state = states[page]
    assert tuple(said.code for said in state.said) == STATES[page][1], state.output
    assert page in [door.id for door in find_doors(state.output)]


@pytest.mark.parametrize("page", [page for page, text in PAGES.items() if "```sql" in text])
def test_what_the_page_says_to_look_at_is_there(page: str, states: dict[str, State]) -> None:
    assert states[page].seen


@pytest.mark.parametrize(
    ("page", "words"), [("P1000", "password authentication failed"), ("P1001", "onnection refused")]
)
def test_our_session_repeats_the_words_of_libpq(page: str, words: str, states: dict[str, State]) -> None:
    assert words in states[page].extra["ours"]
    assert page in [door.id for door in find_doors(states[page].extra["ours"])]


def test_the_lock_s_holder_is_named_and_ended_by_the_line_of_the_page(states: dict[str, State]) -> None:
    state = states["P1002"]
    (holder,) = state.seen
    assert (holder["application_name"], holder["state"]) == ("worker", "idle in transaction")
    assert state.extra["left"] == []


def test_a_missing_database_is_not_made_and_others_are_listed(states: dict[str, State]) -> None:
    state = states["P1003"]
    assert "permission denied to create database" in state.said[1].output
    names = {row["datname"] for row in state.seen}
    assert state.database in names
    assert f"{state.database}_elsewhere" not in names


def test_of_a_failed_migration_nothing_stands_and_the_row_says_why(states: dict[str, State]) -> None:
    state = states["P3009"]
    assert "Database error code: 42P07" in state.said[0].output
    assert state.extra["before"] == [{"it": None}]
    assert [row["migration_name"] for row in state.seen] == [THIRD]
    assert "already exists" in state.seen[0]["logs"]


@pytest.mark.parametrize("page", ["P1014", "42703", "42501", "23505", "55P03", "40P01"])
def test_the_cause_is_named_by_postgresqls_own_code(page: str, states: dict[str, State]) -> None:
    code = "42P01" if page == "P1014" else page
    assert f"Database error code: {code}" in states[page].output
    assert [door.id for door in find_doors(states[page].output)] == ["P3009", page]


def test_within_the_shadow_database_both_codes_are_said(states: dict[str, State]) -> None:
    assert [door.id for door in find_doors(states["P3006"].output)] == ["P3006", "P1014"]


def test_a_recorded_migrations_checksum_is_its_files_or_not(states: dict[str, State]) -> None:
    same, edited = states["P3008"], states["edited"]
    assert {row["migration_name"]: row["checksum"] for row in same.seen} == same.extra["files"]
    recorded = {row["migration_name"]: row["checksum"] for row in edited.seen}
    assert [name for name in recorded if recorded[name] != edited.extra["files"][name]] == [SECOND]


@pytest.mark.parametrize("page", ["drift", "edited", "extra"])
def test_status_is_green_where_only_dev_says_so(page: str, states: dict[str, State]) -> None:
    status, dev = states[page].said
    assert (status.exit_code, UP_TO_DATE in status.output) == (0, True)
    assert dev.exit_code != 0
    assert "All data will be lost" in dev.output


def test_what_the_folder_lacks_is_a_row(states: dict[str, State]) -> None:
    assert SECOND in {row["migration_name"] for row in states["extra"].seen}


def test_who_holds_the_table_is_seen(states: dict[str, State]) -> None:
    (holder,) = states["55P03"].seen
    assert (holder["application_name"], holder["tables"]) == ("worker", ['"Shop"', '"Shop_pkey"'])


def test_a_standby_says_that_it_is_one(states: dict[str, State]) -> None:
    (row,) = states["25006"].seen
    assert row["standby"] is True
