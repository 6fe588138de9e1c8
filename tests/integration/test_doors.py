"""Every door in its very state: the state is made, the real Prisma says that code, what the page says to look at is
there, and `diagnose` says which state it is. A start of Prisma takes a second, so all states are made at once, each in
a database of its own.
"""

from __future__ import annotations

import json
import os
import re
import secrets
import shlex
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar

import psycopg
import pytest
from click.testing import CliRunner
from jsonschema import Draft202012Validator
from psycopg import sql
from psycopg.rows import dict_row

from runbooks_lib.cli import commands
from runbooks_lib.cli.diagnose import lines
from runbooks_lib.doors import doors, find_doors
from runbooks_lib.drafting.diagnose import diagnose
from runbooks_lib.drafting.diagnosis import Condition, Diagnosis
from runbooks_lib.errors import ConnectionFailed, PreconditionFailed
from runbooks_lib.lab.lab import Lab
from runbooks_lib.npm.install import install_packages
from runbooks_lib.postgres.session.service_file import parameters_of
from runbooks_lib.prisma.command import CliResult, Prisma
from runbooks_lib.prisma.history import read_migrations
from runbooks_lib.prisma.project import PACKAGES
from runbooks_lib.prisma.url import aim
from runbooks_lib.typed import plain
from runbooks_lib.visible import visible_json

ROOT = Path(__file__).resolve().parents[2]
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
class State:
    """A database and a project; what Prisma said in it, and what was seen when it had."""

    lab: Lab
    database: str
    project: Path
    said: list[CliResult] = field(default_factory=list)
    seen: list[dict[str, Any]] = field(default_factory=list)
    found: Diagnosis | None = None
    extra: dict[str, Any] = field(default_factory=dict)

    services: ClassVar = {
        "operator": "keybuzz_leader",
        "admin": "keybuzz_admin",
        "replica": "keybuzz_replica",
        "reader": "keybuzz_readonly",
    }

    @property
    def migrations(self) -> Path:
        return self.project / "prisma" / "migrations"

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
        with psycopg.connect(f"service={self.services[role]}") as conn:
            url = replace(aim(conn), **{"dbname": self.database, "system_identifier": None, **address})
        said = Prisma(self.project, url)._run("migrate", *arguments)
        self.said.append(said)
        return said

    def diagnose(self, role: str = "operator") -> None:
        self.found = diagnose(self.service(role), self.project)

    def service(self, role: str = "operator") -> str:
        return f"{self.database}_{role}"

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
    """What `runbooks diagnose` says at a service with something wrong."""
    with psycopg.connect("service=keybuzz_leader") as conn:
        given = {"host": conn.info.host, "port": str(conn.info.port), "user": conn.info.user, **wrong}
    service = f"wrong_{secrets.token_hex(4)}"
    with Path(os.environ["PGSERVICEFILE"]).open("a") as services:
        services.write(f"\n[{service}]\n" + "".join(f"{key}={value}\n" for key, value in given.items()))
    done = CliRunner().invoke(commands, ["diagnose", "--service", service])
    assert isinstance(done.exception, ConnectionFailed)
    return str(done.exception)


def lock_is_held(s: State) -> None:
    s.write(THIRD, COLUMN)
    with holding(s, "SELECT pg_advisory_lock(72707369)") as other:
        other.commit()
        s.prisma("deploy")
        s.look("P1002")
        s.diagnose()
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
    s.extra["ours"] = refused(s, dbname=s.database)
    s.database = there
    s.look("P1003")


def no_such_table(s: State) -> None:
    s.write(THIRD, 'ALTER TABLE "Nowhere" ADD COLUMN "x" INTEGER;\n')
    s.prisma("deploy")
    s.look("P1014")
    s.diagnose()


def no_history(s: State) -> None:
    s.execute("DROP TABLE _prisma_migrations")
    s.prisma("deploy")
    s.look("P3005")
    s.diagnose()


def does_not_replay(s: State) -> None:
    s.execute('CREATE TABLE "ByHand" ("id" INTEGER)')
    s.write(THIRD, 'ALTER TABLE "ByHand" ADD COLUMN "x" INTEGER;\n')
    s.prisma("dev", "--name", "x", role="admin")
    s.diagnose()


def recorded_already(s: State) -> None:
    s.prisma("resolve", "--applied", SECOND)
    s.look("P3008")
    s.extra["files"] = {file.name: file.checksum for file in read_migrations(s.migrations)}
    s.diagnose()


def there_already(s: State) -> None:
    """P3018, and then P3009: one of two tables was made by hand."""
    s.execute('CREATE TABLE "More" ("id" INTEGER)')
    s.write(THIRD, 'CREATE TABLE "Before" ("id" INTEGER);\nCREATE TABLE "More" ("id" INTEGER);\n')
    s.prisma("deploy")
    s.prisma("deploy")
    s.look("P3009")
    with s.connect() as conn:
        s.extra["before"] = conn.execute("SELECT to_regclass('\"Before\"') AS it").fetchall()
    s.diagnose()


def resolved_wrongly(s: State) -> None:
    s.write(THIRD, COLUMN)
    s.prisma("resolve", "--rolled-back", THIRD)
    s.prisma("resolve", "--rolled-back", SECOND)
    s.prisma("resolve", "--applied", "20260104000000_nowhere")
    s.look("P3011")
    s.diagnose()


def no_shadow(s: State) -> None:
    s.prisma("dev", "--name", "x")
    s.look("P3014")


def script_is_lost(s: State) -> None:
    (s.migrations / SECOND / "migration.sql").unlink()
    s.prisma("status")
    s.diagnose()


def other_provider(s: State) -> None:
    (s.migrations / "migration_lock.toml").write_text('provider = "mysql"\n')
    s.prisma("status")
    s.diagnose()


def no_such_column(s: State) -> None:
    s.write(THIRD, 'UPDATE "Shop" SET colour = 1;\n')
    s.prisma("deploy")
    s.look("42703")


def not_the_owner(s: State) -> None:
    s.execute('ALTER TABLE "Shop" OWNER TO postgres', 'GRANT ALL ON "Shop" TO PUBLIC', role="admin")
    s.write(THIRD, COLUMN)
    s.prisma("deploy")
    s.look("42501")
    s.diagnose()


def duplicates(s: State) -> None:
    s.execute("""INSERT INTO "Shop" VALUES (1, 'a'), (2, 'a')""")
    s.write(THIRD, 'CREATE UNIQUE INDEX "Shop_name_key" ON "Shop" ("name");\n')
    s.prisma("deploy")
    s.look("23505")
    s.diagnose()


def changed_by_hand(s: State) -> None:
    s.execute('ALTER TABLE "Shop" ADD COLUMN "extra" TEXT')
    s.prisma("status")
    s.prisma("dev", "--name", "x", role="admin")
    s.diagnose()


def file_is_edited(s: State) -> None:
    s.write(SECOND, ORDERS + "-- edited\n")
    s.prisma("status")
    s.prisma("dev", "--name", "x", role="admin")
    s.look("edited")
    s.extra["files"] = {file.name: file.checksum for file in read_migrations(s.migrations)}
    s.diagnose()


def folder_is_behind(s: State) -> None:
    shutil.rmtree(s.migrations / SECOND)
    s.prisma("status")
    s.prisma("dev", "--name", "x", role="admin")
    s.look("extra")
    s.diagnose()


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
    s.diagnose("replica")


def beside_the_migrations(s: State) -> None:
    s.execute('CREATE TABLE "ByHand" ("id" INTEGER)')
    s.diagnose()


def done_by_hand(s: State) -> None:
    s.write(THIRD, COLUMN)
    s.execute(COLUMN)
    s.diagnose()


def done_by_hand_in_part(s: State) -> None:
    s.write(THIRD, COLUMN + 'CREATE INDEX "Shop_city_idx" ON "Shop" ("city");\n')
    s.execute(COLUMN)
    s.diagnose()


def rows_not_filled(s: State) -> None:
    """Recorded, its column is there, and the rows are as before."""
    s.write(THIRD, COLUMN + """UPDATE "Shop" SET "city" = 'Lyon';\n""")
    s.execute("""INSERT INTO "Shop" VALUES (1, 'a')""", COLUMN)
    checksum = {file.name: file.checksum for file in read_migrations(s.migrations)}[THIRD]
    row = f"gen_random_uuid(), '{checksum}', '{THIRD}', now(), 1"
    columns = "id, checksum, migration_name, finished_at, applied_steps_count"
    s.execute(f"INSERT INTO _prisma_migrations ({columns}) VALUES ({row})")
    s.diagnose()


def may_only_read(s: State) -> None:
    s.execute(f'ALTER DATABASE "{s.database}" SET default_transaction_read_only = on', role="admin")
    s.diagnose()


def may_not_read_the_history(s: State) -> None:
    s.diagnose("reader")


def name_too_long(s: State) -> None:
    s.prisma("dev", "--name", "x" * 201, role="admin")


def not_to_be_emptied(s: State) -> None:
    s.prisma("reset", "--force", role="reader")
    s.look("P3016", role="reader")
    s.diagnose()


OTHERS = (
    name_too_long,
    may_not_read_the_history,
    beside_the_migrations,
    done_by_hand,
    done_by_hand_in_part,
    rows_not_filled,
    may_only_read,
)
STATES: dict[str, tuple[Callable[[State], None], tuple[str | None, ...]]] = {
    "P1000": (wrong_password, ("P1000",)),
    "P1001": (nobody_answers, ("P1001",)),
    "P1002": (lock_is_held, ("P1002",)),
    "P1003": (no_database, ("P1003", "P1010")),
    "P1014": (no_such_table, ("P3018",)),
    "P3005": (no_history, ("P3005",)),
    "P3006": (does_not_replay, ("P3006",)),
    "P3008": (recorded_already, ("P3008",)),
    "P3009": (there_already, ("P3018", "P3009")),
    "P3011": (resolved_wrongly, ("P3011", "P3012", "P3017")),
    "P3014": (no_shadow, ("P3014",)),
    "P3015": (script_is_lost, ("P3015",)),
    "P3016": (not_to_be_emptied, ("P3016",)),
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


@contextmanager
def deployed_state(lab: Lab, folders: pytest.TempPathFactory) -> Iterator[State]:
    """A database and a project with two migrations, both deployed; services are added to a file of our own."""
    with pytest.MonkeyPatch.context() as patch:
        services = folders.mktemp("services") / "pg_service.conf"
        services.write_text(Path(lab.env()["PGSERVICEFILE"]).read_text())
        patch.setenv("PGSERVICEFILE", str(services))
        patch.setenv("RUNBOOKS_PRISMA_PROJECT", lab.env()["RUNBOOKS_PRISMA_PROJECT"])
        patch.setenv("PRISMA_SCHEMA_ENGINE_LOCK_TIMEOUT", "500")
        with new_state(lab, folders.mktemp("deployed")) as deployed:
            deployed.write(FIRST, SHOP)
            deployed.write(SECOND, ORDERS)
            assert deployed.prisma("deploy").exit_code == 0, deployed.output
            yield deployed


@pytest.fixture(scope="module")
def states(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, State]]:
    with ExitStack() as stack:
        deployed = stack.enter_context(deployed_state(lab, tmp_path_factory))
        made: dict[Callable[[State], None], State] = {}
        for make in dict.fromkeys([*(make for make, _ in STATES.values()), *OTHERS]):
            made[make] = stack.enter_context(new_state(lab, tmp_path_factory.mktemp("state"), like=deployed))
        with ThreadPoolExecutor(4) as pool:
            list(pool.map(lambda make: make(made[make]), made))
        yield {
            **{page: made[make] for page, (make, _) in STATES.items()},
            **{make.__name__: made[make] for make in OTHERS},
        }


@contextmanager
def new_state(lab: Lab, folder: Path, *, like: State | None = None) -> Iterator[State]:
    """A database of its own, its services and a project: as the given ones are, or without any migration."""
    state = State(lab=lab, database=f"door_{secrets.token_hex(4)}", project=folder / "project")
    own = Path(lab.env()["RUNBOOKS_PRISMA_PROJECT"])
    shutil.copytree(like.project if like else own, state.project, symlinks=True)
    if like is None:
        for migration in state.migrations.glob("*/"):
            shutil.rmtree(migration)
    create = sql.SQL("CREATE DATABASE {} TEMPLATE {} OWNER {}")
    with Path(os.environ["PGSERVICEFILE"]).open("a") as services:
        for role, service in State.services.items():
            found = {**parameters_of(service), "dbname": state.database}
            lines = [f"{key}={found[key]}\n" for key in ("host", "port", "user", "dbname")]
            services.write(f"\n[{state.service(role)}]\n{''.join(lines)}")
    names = (state.database, like.database if like else "template1", parameters_of("keybuzz_leader")["user"])
    with lab.admin("postgres") as conn:
        conn.execute(create.format(*map(sql.Identifier, names)))
    try:
        yield state
    finally:
        with lab.admin("postgres") as conn:  # no session stays open: there are as many states as slots
            conn.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(state.database)))


# --- what is said and seen --------------------------------------------------------------------------------------


DRAFT = "runbooks phase draft --prisma-project {project} --service {service} --out phase-{service}"
GIT = "git -C {migrations} log"
# What `diagnose` says in each state: the condition, words of its sentence, and how the next command begins.
SAYS: dict[str, tuple[Condition, str, str]] = {
    "P1002": (Condition.LOCKED, "end in P1002", 'psql "service={service}" -c "SELECT pg_terminate_backend('),
    "P1014": (Condition.NOT_REPLAYED, "(P3009)", GIT),
    "P3005": (Condition.NO_HISTORY, "Of 2 migrations 2 stand as a whole, 0 in part", DRAFT),
    "P3006": (Condition.NEEDS_MORE, "relation public.ByHand", DRAFT),
    "P3008": (Condition.FINE, "nothing to do", ""),
    "P3009": (Condition.FAILED, "statement 2 of 2 stand", DRAFT),
    "P3011": (Condition.PENDING, f"1 migration pending, nothing of which stands: {THIRD}", DRAFT),
    "P3015": (Condition.SCRIPT_LOST, f"The folder of {SECOND} has no migration.sql", GIT),
    "P3016": (Condition.FINE, "nothing to do", ""),
    "P3019": (Condition.OTHER_PROVIDER, "mysql", GIT),
    "42P07": (Condition.FAILED, "statement 2 of 2 stand", DRAFT),
    "42501": (Condition.FAILED, "nothing of it stands", DRAFT),
    "23505": (Condition.FAILED, "nothing of it stands", DRAFT),
    "drift": (Condition.NOT_AS_RECORDED, "columns public.Shop", DRAFT),
    "edited": (Condition.EDITED, f"{SECOND} was modified after it was applied", GIT),
    "extra": (Condition.UNKNOWN_MIGRATIONS, SECOND, GIT),
    "25006": (Condition.STANDBY, "25006", "runbooks diagnose --service {service} --prisma-project {project}"),
    "beside_the_migrations": (Condition.BEYOND, "relation public.ByHand", DRAFT),
    "done_by_hand": (Condition.UNRECORDED, f"All that {THIRD} makes stands", DRAFT),
    "done_by_hand_in_part": (Condition.IN_PART, "statement 1 of 2 stand", DRAFT),
    "rows_not_filled": (Condition.ROWS, THIRD, DRAFT),
    "may_not_read_the_history": (
        Condition.NOT_ALLOWED,
        "permission denied for table _prisma_migrations",
        "runbooks diagnose --service {service}",
    ),
    "may_only_read": (
        Condition.READ_ONLY,
        "default_transaction_read_only",
        'psql "service={service}" -c "SELECT',
    ),
}


@pytest.mark.parametrize("name", ["P3005", "done_by_hand_in_part"])
def test_the_next_command_drafts_a_phase_that_is_one(
    name: str, states: dict[str, State], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    state = states[name]
    assert state.found is not None
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("RUNBOOKS_PRISMA_PROJECT", "")  # the command sets it; put back afterwards
    program, *words = shlex.split(state.found.next)
    done = CliRunner().invoke(commands, words)
    assert (program, done.exit_code) == ("runbooks", 0), done.output
    checked = CliRunner().invoke(commands, ["phase", "check", f"phase-{state.service()}"])
    assert checked.exit_code == 0, checked.output


def shown(state: State) -> str:
    """What `runbooks diagnose` prints of a state, with the names of a shop."""
    assert state.found is not None
    text = "\n".join(lines(state.found))
    for real, told in (
        (str(state.project), "/srv/shop"),
        (state.service(), "shop"),
        (state.database, "shop"),
    ):
        text = text.replace(real, told)
    return the_same("\n".join(line.rstrip() for line in text.splitlines())).replace(
        "keybuzz_operator", "operator"
    )


def the_same(text: str) -> str:
    """A text without what differs between machines: ports, versions, lags."""
    text = re.sub(r"127\.0\.0\.1:\d+", "127.0.0.1:5432", text)
    text = re.sub(r"\b(PostgreSQL|Prisma) \d[\d.]*\d", r"\1 1", text)
    return re.sub(r"[\d.]+ (?:bytes?|[KM]iB) behind", "0 bytes behind", text)


def test_the_page_shows_what_is_printed(states: dict[str, State]) -> None:
    page = (ROOT / "docs" / "diagnose.md").read_text("utf-8")
    _, *blocks = re.findall(r"^```(?:sh)?\n(.*?)\n```", page, re.MULTILINE | re.DOTALL)
    assert [the_same(block) for block in blocks] == [
        shown(states[name]) for name in ("P3005", "done_by_hand_in_part", "P3008")
    ]


@pytest.mark.parametrize("name", ["P3005", "P3008", "P3009", "P1014", "25006", "rows_not_filled"])
def test_the_json_is_as_its_schema_says(name: str, states: dict[str, State]) -> None:
    schema = json.loads((ROOT / "runbooks_lib" / "schemas" / "diagnosis.json").read_text("utf-8"))
    content = json.loads(visible_json(plain(states[name].found)))
    assert list(Draft202012Validator(schema).iter_errors(content)) == []


def test_a_service_that_nobody_defines_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "pg_service.conf").write_text("[here]\nhost=127.0.0.1\n", "utf-8")
    monkeypatch.setenv("PGSERVICEFILE", str(tmp_path / "pg_service.conf"))
    done = CliRunner().invoke(commands, ["diagnose", "--service", "nowhere"])
    assert isinstance(done.exception, PreconditionFailed)
    assert 'does not define "nowhere"' in str(done.exception)


def test_every_door_has_its_state() -> None:
    assert STATES.keys() == PAGES.keys() - {"older"}
    nobody_lets_us_in, as_another = {"P1000", "P1001", "P1003"}, {"P3014", "42703", "55P03", "40P01"}
    assert STATES.keys() - SAYS.keys() == nobody_lets_us_in | as_another


def test_what_has_no_state_is_in_no_engine(states: dict[str, State]) -> None:
    codes = {door.id: door.codes for door in doors()}
    for major in PACKAGES:
        packages = install_packages(PACKAGES[major]) / "node_modules"
        engine = (packages / "@prisma" / "schema-engine-wasm" / "schema_engine_bg.wasm").read_bytes()
        assert b"P3005" in engine
        assert [code for code in codes["older"] if code.encode() in engine] == ["P3010"]
    (shortened,) = states["name_too_long"].said
    assert (shortened.exit_code, shortened.code) == (0, None), shortened.output
    assert {f"P30{number:02}" for number in range(23)} <= {code for each in codes.values() for code in each}


@pytest.mark.parametrize("name", SAYS)
def test_diagnose_says_which_state_it_is_and_the_next_command(name: str, states: dict[str, State]) -> None:
    state, (condition, words, command) = states[name], SAYS[name]
    found = state.found
    assert found is not None
    assert (found.condition, words in found.says) == (condition, True), found.says
    reader = condition is Condition.NOT_ALLOWED
    service = state.service("reader" if reader else "operator")
    given = {"project": state.project, "service": service, "migrations": state.migrations}
    assert found.next.startswith(command.format(**given)), found.next
    assert bool(found.next) is bool(found.exit_code) is (condition is not Condition.FINE)
    assert found.door in PAGES or condition in (Condition.FINE, Condition.PENDING, Condition.ROWS)


@pytest.mark.parametrize("page", STATES)
def test_prisma_says_that_code_and_its_words_lead_to_the_page(page: str, states: dict[str, State]) -> None:
    state = states[page]
    assert tuple(said.code for said in state.said) == STATES[page][1], state.output
    assert page in [door.id for door in find_doors(state.output)]


@pytest.mark.parametrize("page", [page for page, text in PAGES.items() if "```sql" in text])
def test_what_the_page_says_to_look_at_is_there(page: str, states: dict[str, State]) -> None:
    assert states[page].seen


@pytest.mark.parametrize(
    ("page", "words"),
    [
        ("P1000", "password authentication failed"),
        ("P1001", "onnection refused"),
        ("P1003", "does not exist"),
    ],
)
def test_where_nobody_lets_us_in_libpqs_words_are_repeated(
    page: str, words: str, states: dict[str, State]
) -> None:
    assert words in states[page].extra["ours"]
    assert f"`runbooks explain {page}` says more." in states[page].extra["ours"]


def test_the_lock_s_holder_is_named_and_ended_by_the_line_of_the_page(states: dict[str, State]) -> None:
    state = states["P1002"]
    (holder,) = state.seen
    assert (holder["application_name"], holder["state"]) == ("worker", "idle")
    assert state.extra["left"] == []


def test_a_missing_database_is_not_made_and_others_are_listed(states: dict[str, State]) -> None:
    state = states["P1003"]
    assert "Refused: the database that was expected is not there, and none is made" in state.said[1].output
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
