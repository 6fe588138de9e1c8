"""Prisma's status asked for ahead: found in the very state that it was asked in, and in no other."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from runbooks_lib.errors import PrismaError
from runbooks_lib.postgres.session.connect import Sessions
from runbooks_lib.prisma import ahead
from runbooks_lib.prisma.command import CliResult, Prisma
from runbooks_lib.prisma.named import find_project
from runbooks_lib.prisma.project import read_project
from runbooks_lib.prisma.url import DatabaseUrl

SAID = """Datasource "db": PostgreSQL database "shop", schema "public" at "localhost:5432"
1 migration found in prisma/migrations
Database schema is up to date!"""


class Telling(Prisma):
    """Prisma that says the same each time and notes that it was started: the real one costs a second."""

    output = SAID
    ran = 0

    def _run(self, *arguments: str, **options: object) -> CliResult:
        self.ran += 1
        self._check_aim(self.output, self._address())
        code = "P1001" if "P1001" in self.output else None
        return CliResult(
            command=f"prisma {' '.join(arguments)}",
            exit_code=0,
            output=self.output,
            code=code,
            duration_s=1.5,
        )


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv(ahead.VARIABLE, str(tmp_path))
    return tmp_path


@pytest.fixture
def prisma(lab: object) -> Callable[..., Telling]:
    del lab  # it has the project
    return lambda dbname="shop": Telling(
        find_project(),
        DatabaseUrl(
            host="localhost", port=5432, user="u", dbname=dbname, password="secret-1", system_identifier="7"
        ),
    )


def test_an_answer_that_was_asked_for_ahead_is_found(folder: Path, prisma: Callable[..., Telling]) -> None:
    ahead.ask(prisma(), lambda: "state", folder)
    ours = prisma()
    assert ours.status(state="state").output == SAID
    assert ours.ran == 0
    assert (ours.resolve(applied=["x"]).failed, ours.ran) == (None, 1)  # it is known to aim well
    assert not any("secret-1" in path.read_text(encoding="utf-8") for path in folder.iterdir())


@pytest.mark.parametrize("other", ["state", "address", "project"])
def test_in_another_state_it_is_asked_anew(folder: Path, prisma: Callable[..., Telling], other: str) -> None:
    ahead.ask(prisma(), lambda: "state", folder)
    ours = prisma("else") if other == "address" else prisma()
    ours.output = SAID.replace('"shop"', '"else"') if other == "address" else SAID
    if other == "project":
        said = replace(ours.project.configuration, schema_files=(Path(__file__),))
        ours.project = replace(ours.project, configuration=said)
    ours.status(state="another" if other == "state" else "state")
    assert ours.ran == 1


def test_what_changed_meanwhile_is_not_kept(folder: Path, prisma: Callable[..., Telling]) -> None:
    looks = iter(["before", "after"])
    ahead.ask(prisma(), lambda: next(looks), folder)
    ours = prisma()
    ours.status(state="before")
    ours.status(state="after")
    assert ours.ran == 2


def test_an_error_is_not_kept(folder: Path, prisma: Callable[..., Telling]) -> None:
    failing = prisma()
    failing.output = "Error: P1001: Can't reach database server"
    ahead.ask(failing, lambda: "state", folder)
    failing.status(state="state")
    failing.status(state="state")
    ours = prisma()
    ours.status(state="state")
    assert (failing.ran, ours.ran) == (3, 1)


def test_nothing_is_asked_twice_in_one_state(prisma: Callable[..., Telling]) -> None:
    ours = prisma()
    assert ours.status(state="one") == ours.status(state="one")
    assert ours.ran == 1
    ours.status(state="two")
    ours.status()
    assert ours.ran == 3


def test_an_answer_about_another_database_is_refused(folder: Path, prisma: Callable[..., Telling]) -> None:
    ours = prisma()
    answer = folder / f"{ours.key('state')}.json"
    ahead.ask(prisma(), lambda: "state", folder)
    answer.write_text(answer.read_text(encoding="utf-8").replace('"shop', '"other').replace("shop", "other"))
    with pytest.raises(PrismaError, match="Prisma talks to the database other"):
        ours.status(state="state")


def test_whoever_is_too_early_waits_for_the_answer(folder: Path, prisma: Callable[..., Telling]) -> None:
    asked, go_on = threading.Event(), threading.Event()

    class Slow(Telling):
        def _run(self, *arguments: str, **options: object) -> CliResult:
            asked.set()
            assert go_on.wait(10)
            return super()._run(*arguments)

    ours = prisma()
    slow = Slow(ours.project.folder, ours._address())
    asker = threading.Thread(target=ahead.ask, args=(slow, lambda: "state", folder))
    asker.start()
    assert asked.wait(10)
    threading.Timer(0.05, go_on.set).start()
    assert ours.status(state="state").output == SAID
    asker.join()
    assert ours.ran == 0


def test_a_state_differs_by_its_history_and_its_files(lab: object) -> None:
    del lab
    from runbooks_lib.phase import load_phase
    from runbooks_lib.prisma.state import look

    phase = load_phase("PH15-AMAZON-DB-FOUNDATION-01")
    with Sessions(phase.targets) as sessions, sessions.snapshot(phase.prisma.target) as conn:
        state = look(conn, read_project(find_project()))
    assert state.rows
    edited = replace(state.files[0], script="SELECT 1;")
    others = [
        replace(state, rows=None),
        replace(state, rows=state.rows[1:]),
        replace(state, rows=(replace(state.rows[0], finished_at=None), *state.rows[1:])),
        replace(state, files=(edited, *state.files[1:])),
    ]
    assert len({state.digest, *(other.digest for other in others)}) == 5
