"""Projects laid out as teams have them, with Prisma 6 and 7: each is read and deployed by the real Prisma."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from runbooks_lib.errors import PreconditionFailed
from runbooks_lib.findings import Verdict
from runbooks_lib.postgres.session.connect import Sessions
from runbooks_lib.prisma.history import read_folder
from runbooks_lib.prisma.project import read_project
from runbooks_lib.prisma.state import State, look
from runbooks_lib.steps.settling import judge_version

from .conftest import BOTH, PHASE, Place

NAME = PHASE.prisma.settle[0]
DIRECT = """datasource db {
  provider  = "postgresql"
  url       = "postgresql://pooler@127.0.0.1:1/pooled?pgbouncer=true"
  directUrl = env("DIRECT_URL")
}
"""
CONFIG = 'export default {{ schema: "{}", datasource: {{ url: process.env.DATABASE_URL }} }}'


def move(place: Place, to: str) -> Path:
    """Move the schema and the migrations from prisma/ to another folder of the project; return that."""
    folder = place.project / to
    folder.parent.mkdir(parents=True, exist_ok=True)
    shutil.move(place.project / "prisma", folder)
    (place.project / "prisma.config.ts").unlink(missing_ok=True)
    return folder


def configure(place: Place, major: int, schema: str, within: str = ".") -> None:
    """Say where the schema is, as people do: Prisma 6 in package.json, Prisma 7 in its configuration."""
    folder = place.project / within
    if major == 7:
        (folder / "prisma.config.ts").write_text(CONFIG.format(schema))
        return
    package = json.loads((folder / "package.json").read_text()) if (folder / "package.json").exists() else {}
    (folder / "package.json").write_text(json.dumps({**package, "prisma": {"schema": schema}}))


def monorepo(place: Place, major: int) -> Path:
    """Packages lie in the root, the schema in one of its parts."""
    move(place, "packages/db/prisma")
    configure(place, major, "prisma/schema.prisma", within="packages/db")
    (place.project / "packages" / "db" / "package.json").touch()
    if major == 7:
        (place.project / "packages" / "db" / "package.json").write_text('{"name": "db"}')
    return place.project / "packages" / "db"


def monorepo_from_its_root(place: Place, major: int) -> Path:
    move(place, "packages/db/prisma")
    configure(place, major, "packages/db/prisma/schema.prisma")
    return place.project


def named_schema(place: Place, major: int) -> Path:
    """As `prisma migrate deploy --schema db/main.prisma`: nothing in the project says where it is."""
    folder = move(place, "db")
    (folder / "schema.prisma").rename(folder / "main.prisma")
    if major == 7:
        (place.project / "prisma.config.ts").write_text(CONFIG.format("elsewhere/schema.prisma"))
    return folder / "main.prisma"


def named_folder_of_schemas(place: Place, major: int) -> Path:
    folder = many_files(place, major) / "db"
    (place.project / "prisma.config.ts").unlink(missing_ok=True)
    (place.project / "package.json").write_text('{"name": "shop"}')
    if major == 7:
        (place.project / "prisma.config.ts").write_text(CONFIG.format("elsewhere"))
    return folder


def many_files(place: Place, major: int) -> Path:
    folder = move(place, "db")
    text = (folder / "schema.prisma").read_text()
    head = text.index("enum MarketplaceType")
    (folder / "base.prisma").write_text(text[:head])
    (folder / "models").mkdir()
    (folder / "models" / "inbound.prisma").write_text(text[head:])
    (folder / "schema.prisma").unlink()
    configure(place, major, "db")
    if major == 7:
        (place.project / "prisma.config.ts").write_text(
            'export default { schema: "db", migrations: { path: "db/migrations" },'
            " datasource: { url: process.env.DATABASE_URL } }"
        )
    return place.project


def without_package_json(place: Place, major: int) -> Path:
    """Only a schema and migrations, as a program in another language has them: ours is used, of the schema's time."""
    for name in ("package.json", "package-lock.json", "node_modules"):
        (place.project / name).unlink()
    shutil.rmtree(place.project / "left-out", ignore_errors=True)
    if major == 7:
        (place.project / "prisma.config.ts").write_text(CONFIG.format("prisma/schema.prisma"))
    return place.project


@pytest.mark.family(5)
@BOTH
@pytest.mark.parametrize(
    "layout",
    [
        monorepo,
        monorepo_from_its_root,
        named_schema,
        named_folder_of_schemas,
        many_files,
        without_package_json,
    ],
)
def test_it_is_read_and_deployed(
    place: Place, major: int, layout: Callable[[Place, int], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("DATABASE_URL", raising=False)
    named = layout(place, major)
    found = read_project(named)
    assert found.version[0] == major
    assert (found.installed is None) is (layout is without_package_json)
    more = found.migrations / "20260101000000_more"
    more.mkdir()
    (more / "migration.sql").write_text("CREATE TABLE more ();")
    assert [file.name for file in read_folder(named)][1:] == [NAME, more.name]
    place.project = named
    place.record(NAME)
    prisma = place.prisma()
    said = prisma.deploy(role="kb_backend")
    assert said.exit_code == 0, said.output
    with place.admin() as conn:
        assert conn.execute("SELECT to_regclass('more')").fetchone() == ("more",)
    state = state_of(place)
    assert (state.history.pending, state.history.extra) == ((), ())


def state_of(place: Place) -> State:
    with Sessions(place.phase.targets) as sessions, sessions.snapshot(PHASE.prisma.target) as conn:
        return look(conn, read_project(place.project))


# --- schemas and addresses ----------------------------------------------------------------------------------------


@BOTH
def test_several_schemas(place: Place, major: int) -> None:
    """A migration that makes a schema of its own; the history stays where the address says."""
    schema = place.project / "prisma" / "schema.prisma"
    text = schema.read_text().replace(
        '  provider = "postgresql"', '  provider = "postgresql"\n  schemas = ["public", "audit"]'
    )
    for kind in ("model", "enum"):
        text = text.replace(f"\n{kind} ", f"\n// in public\n{kind} ")
    blocks = text.split("\n}\n")
    inside = [b + '\n\n  @@schema("public")' if "// in public" in b else b for b in blocks]
    schema.write_text("\n}\n".join(inside) + '\nmodel Trail {\n  id Int @id\n\n  @@schema("audit")\n}\n')
    place.record(NAME)
    place.execute(f"GRANT CREATE ON DATABASE {place.database} TO kb_backend")
    script = 'CREATE SCHEMA "audit"; CREATE TABLE "audit"."Trail" (id int PRIMARY KEY);'
    place.migrate("20260101000000_audit", script, run=False, record=False)
    prisma = place.prisma()
    assert prisma.project.configuration.schemas == "audit, public"
    said = prisma.deploy(role="kb_backend")
    assert said.exit_code == 0, said.output
    assert prisma.status().up_to_date
    with place.admin() as conn:
        assert conn.execute("""SELECT to_regclass('audit."Trail"')""").fetchone() == ('audit."Trail"',)
        assert conn.execute("SELECT to_regclass('audit._prisma_migrations')").fetchone() == (None,)


@BOTH
def test_the_schema_of_the_address_has_the_history_and_what_is_deployed(
    place: Place, major: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DATABASE_URL", "postgresql://somebody@db/d?schema=app")
    place.execute("CREATE SCHEMA app AUTHORIZATION kb_backend")
    place.migrate("20260101000000_more", "CREATE TABLE more ();", run=False, record=False)
    prisma = place.prisma()
    written = prisma.resolve(applied=[NAME, "20251210093000_init_amazon_inbound"], role="kb_backend")
    assert written.failed is None, written.said
    said = prisma.deploy(role="kb_backend")
    assert said.exit_code == 0, said.output
    with place.admin() as conn:
        assert conn.execute("SELECT to_regclass('app.more')::text").fetchone() == ("app.more",)
        assert conn.execute("SELECT count(*) FROM app._prisma_migrations").fetchone() == (3,)
        assert conn.execute("SELECT count(*) FROM public._prisma_migrations").fetchone() == (1,)


@pytest.mark.parametrize("major", [6])
def test_the_direct_address_is_the_one_of_migrations(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """Prisma 7 has no directUrl. A pooler's address beside it leads nowhere, and is not asked."""
    monkeypatch.setenv("DIRECT_URL", "postgresql://somebody@db/d?schema=public")
    schema = place.project / "prisma" / "schema.prisma"
    text = schema.read_text()
    a = text.index("datasource db")
    schema.write_text(text[:a] + DIRECT + text[text.index("}\n", a) + 2 :])
    prisma = place.prisma()
    assert prisma.project.configuration.fixed is None
    assert prisma.resolve(applied=[NAME]).done == (NAME,)
    assert place.rows(NAME) == [(True, False)]


# --- Prisma 8 -----------------------------------------------------------------------------------------------------


def fake_8(place: Place) -> None:
    """Only its package.json says that it is Prisma 8: there is no such command line to be had here."""
    (place.project / "node_modules").unlink()
    package = place.project / "node_modules" / "prisma" / "package.json"
    package.parent.mkdir(parents=True)
    package.write_text('{"name": "prisma", "version": "8.1.0"}')
    (place.project / "prisma.config.ts").write_text(CONFIG.format("prisma/schema.prisma"))


def test_prisma_8_is_read_and_nothing_is_written(place: Place) -> None:
    fake_8(place)
    prisma = place.prisma()
    assert (prisma.can_write, prisma.version()) == (False, "7.10.0")
    assert "Prisma 8.1.0, which has no `migrate resolve`" in prisma.writing_refused
    assert prisma.status().listed("pending") == (NAME,)
    assert state_of(place).history.pending == (NAME,)
    for write in (lambda: prisma.resolve(applied=[NAME]), prisma.deploy):
        with pytest.raises(
            PreconditionFailed, match=r"8\.1\.0.*history are read, by Prisma 7\.10\.0 of ours"
        ):
            write()
    assert prisma.ran == ["migrate status"]
    assert place.rows(NAME) == []


def test_a_plan_for_prisma_8_is_red_where_something_is_to_be_written(place: Place) -> None:
    assert list(judge_version("leader", place.prisma(), {NAME: "prisma migrate deploy"})) == []
    fake_8(place)
    (refused,) = judge_version("leader", place.prisma(), {NAME: "prisma migrate deploy"})
    assert (refused.check, refused.verdict) == ("migration_is_settled", Verdict.ERROR)
    assert "Prisma 8.1.0" in refused.have
    assert list(judge_version("leader", place.prisma(), {})) == []


def test_prisma_6_and_7_can_write(place: Place) -> None:
    prisma = place.prisma()
    assert (prisma.can_write, prisma.writing_refused) == (True, "")
