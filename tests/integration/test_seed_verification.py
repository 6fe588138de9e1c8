"""Step 5 against the lab: the declared rows, on the leader and on its replica."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import psycopg
import pytest

from runbooks_lib.errors import GateClosed
from runbooks_lib.findings import Answer, Finding, Verdict, gate
from runbooks_lib.lab.lab import Lab
from runbooks_lib.phase import Phase, Role, Seeds, Target, load_phase
from runbooks_lib.postgres.session.connect import Sessions
from runbooks_lib.postgres.session.replication import measure_lag
from runbooks_lib.steps import seed_verification

PHASE = load_phase(str(Path(__file__).parents[1] / "phases" / "PH15-AMAZON-DB-FOUNDATION-01"))
ADDRESSES = "public.inbound_addresses"
SCRATCH = "scratch_of_seed_verification"
ODD = 'O\'Brien "q" \\ % {x} é 漢字 🐘 $1 --'


def ask(question: Callable[..., Answer], phase: Phase = PHASE, **options: Any) -> Answer:
    with Sessions(phase.targets) as sessions:
        return question(phase, sessions, **options)


def of(answer: Answer, *, target: str | None = None, object: str | None = None) -> list[Finding]:
    return [f for f in answer.findings if target in (None, f.target) and object in (None, f.object)]


def judged(answer: Answer) -> set[Verdict]:
    return {finding.verdict for finding in answer.findings}


def seeds_of(table: str) -> Seeds:
    return next(seeds for seeds in PHASE.seeds if seeds.table == table)


def with_seeds(table: str, change: Callable[[list[dict[str, object]]], None]) -> Phase:
    """Return the phase with other declared rows: what the database lacks by it, the phase has too much."""
    seeds = seeds_of(table)
    rows = [dict(row) for row in seeds.rows]
    change(rows)
    return replace(PHASE, seeds=(replace(seeds, rows=tuple(rows)),))


# --- the lab as the report found it -----------------------------------------------------------------------------


@pytest.mark.usefixtures("lab")
def test_every_declared_row_is_there_on_leader_and_replica() -> None:
    answer = ask(seed_verification.rows)
    assert judged(answer) == {Verdict.PASS}
    assert {f.check for f in answer.findings} == {"seed_row_is"}
    declared = sum(len(seeds.rows) for seeds in PHASE.seeds)
    assert len(of(answer, target="leader")) == len(of(answer, target="replica")) == declared
    assert not of(answer, target="legacy")
    (finding,) = of(answer, target="replica", object=f"{ADDRESSES}[kbz_test, AMAZON, FR]")
    assert "amazon.kbz_test.fr.x7p4fr@inbound.keybuzz.io" in finding.have
    (fact,) = (
        fact
        for fact in answer.facts.rows
        if fact.target == "leader" and fact.row and fact.row.get("id") == "cmjecdiqj0000p0fvgljq171d"
    )
    assert (fact.table, fact.tenant) == ("public.MarketplaceConnection", "kbz_test")
    assert fact.row["status"] == "CONNECTED"


@pytest.mark.usefixtures("lab")
def test_nothing_else_is_there() -> None:
    answer = ask(seed_verification.unexpected)
    assert judged(answer) == {Verdict.PASS}
    assert {(f.check, f.have) for f in answer.findings} == {("no_unexpected_seed_rows", "none")}
    assert len(answer.findings) == 2 * len(PHASE.seeds)


@pytest.mark.usefixtures("lab")
def test_the_counts_are_those_of_the_report() -> None:
    answer = ask(seed_verification.row_counts)
    assert judged(answer) == {Verdict.PASS}
    assert set(answer.facts.rows) == {"leader", "replica"}
    assert list(answer.facts.rows["replica"].values()) == [2, 5, 2, 5, 0]


@pytest.mark.usefixtures("lab")
def test_a_row_that_is_missing() -> None:
    phase = with_seeds(ADDRESSES, lambda rows: rows.append({**rows[0], "country": "ES"}))
    answer = ask(seed_verification.rows, phase)
    missing = of(answer, object=f"{ADDRESSES}[tenant_test_dev, AMAZON, ES]")
    assert [(f.target, f.verdict, f.have) for f in missing] == [
        ("leader", Verdict.FAIL, "missing"),
        ("replica", Verdict.FAIL, "missing"),
    ]
    assert "emailAddress" in missing[0].want
    assert [f.verdict for f in answer.findings].count(Verdict.PASS) == 10
    with pytest.raises(GateClosed, match="missing"):
        gate(answer.findings)


@pytest.mark.usefixtures("lab")
def test_a_row_that_differs_in_one_column() -> None:
    phase = with_seeds(ADDRESSES, lambda rows: rows[0].update(validationStatus="FAILED"))
    answer = ask(seed_verification.rows, phase)
    (finding,) = of(answer, target="leader", object=f"{ADDRESSES}[tenant_test_dev, AMAZON, DE]")
    assert finding.verdict is Verdict.FAIL
    assert (finding.have, finding.want) == ("validationStatus VALIDATED", "validationStatus FAILED")
    assert finding.hint


@pytest.mark.usefixtures("lab")
def test_a_row_that_nobody_declared() -> None:
    phase = with_seeds(ADDRESSES, lambda rows: rows.pop())
    answer = ask(seed_verification.unexpected, phase)
    assert [(f.target, f.verdict, f.have) for f in answer.findings] == [
        ("leader", Verdict.FAIL, "[kbz_test, AMAZON, FR]"),
        ("replica", Verdict.FAIL, "[kbz_test, AMAZON, FR]"),
    ]


@pytest.mark.usefixtures("lab")
def test_rows_of_tenants_that_are_not_declared_are_not_judged() -> None:
    def only_one_tenant(rows: list[dict[str, object]]) -> None:
        rows[:] = [row for row in rows if row["tenantId"] == "kbz_test"]

    phase = with_seeds(ADDRESSES, only_one_tenant)
    assert judged(ask(seed_verification.unexpected, phase)) == {Verdict.PASS}
    everything = replace(phase, seeds=(replace(phase.seeds[0], tenant=None, exact=True),))
    answer = ask(seed_verification.unexpected, everything)
    assert judged(answer) == {Verdict.FAIL}
    assert answer.findings[0].have.count("tenant_test_dev") == 3
    assert {fact.tenant for fact in ask(seed_verification.rows, everything).facts.rows} == {None}


@pytest.mark.usefixtures("lab")
def test_a_declaration_that_the_type_refuses_is_an_error() -> None:
    phase = with_seeds(ADDRESSES, lambda rows: rows[0].update(validationStatus="VALID"))
    answer = ask(seed_verification.rows, phase)
    assert [(f.target, f.object) for f in answer.findings] == [("leader", ADDRESSES), ("replica", ADDRESSES)]
    assert judged(answer) == {Verdict.ERROR}
    assert 'invalid input value for enum public."InboundValidationStatus": "VALID"' in answer.findings[0].have
    assert judged(ask(seed_verification.unexpected, phase)) == {
        Verdict.PASS
    }  # it looks at keys and tenants alone


@pytest.mark.usefixtures("lab")
@pytest.mark.parametrize("question", [seed_verification.rows, seed_verification.unexpected])
def test_a_table_that_is_not_there_is_an_error(question: Callable[..., Answer]) -> None:
    phase = replace(PHASE, seeds=(replace(PHASE.seeds[0], table="public.gone"), *PHASE.seeds[1:]))
    answer = ask(question, phase)
    assert {f.verdict for f in of(answer, object="public.gone")} == {Verdict.ERROR}
    assert '"public.gone" does not exist' in of(answer, object="public.gone")[0].have
    assert {f.verdict for f in answer.findings if f.object != "public.gone"} == {Verdict.PASS}


@pytest.mark.usefixtures("lab")
def test_the_count_of_a_table_that_is_not_there_fails() -> None:
    phase = replace(PHASE, tables=(replace(PHASE.tables[0], name="public.gone"), *PHASE.tables[1:]))
    answer = ask(seed_verification.row_counts, phase)
    assert [(f.verdict, f.have) for f in of(answer, object="public.gone")] == [
        (Verdict.FAIL, "table absent"),
        (Verdict.FAIL, "table absent"),
    ]
    other = replace(PHASE, tables=(replace(PHASE.tables[0], rows=3),))
    (finding, _) = ask(seed_verification.row_counts, other).findings
    assert (finding.verdict, finding.have, finding.want) == (Verdict.FAIL, "2", "3")


@pytest.mark.usefixtures("lab")
@pytest.mark.parametrize(
    ("question", "check"),
    [
        (seed_verification.rows, "seed_row_is"),
        (seed_verification.unexpected, "no_unexpected_seed_rows"),
        (seed_verification.row_counts, "row_count_is"),
    ],
)
@pytest.mark.parametrize(
    ("service", "said"),
    [("no_such_service", "does not answer"), ("keybuzz_leader", "is declared a standby")],
)
def test_a_replica_that_cannot_be_asked_is_an_error(
    question: Callable[..., Answer], check: str, service: str, said: str
) -> None:
    targets = {**PHASE.targets, "replica": replace(PHASE.targets["replica"], service=service)}
    answer = ask(question, replace(PHASE, targets=targets))
    assert {f.verdict for f in of(answer, target="leader")} == {Verdict.PASS}
    assert {(f.check, f.verdict) for f in of(answer, target="replica")} == {(check, Verdict.ERROR)}
    assert said in of(answer, target="replica")[0].have


# --- a lab that is broken ---------------------------------------------------------------------------------------


def replayed() -> None:
    with Sessions(PHASE.targets) as sessions:
        assert measure_lag(sessions, "replica", PHASE.targets["replica"]).replayed


def test_what_somebody_changed_is_seen_on_both(fresh_lab: Lab) -> None:
    with fresh_lab.admin("keybuzz_backend") as admin:
        admin.execute('DELETE FROM "MarketplaceConnection" WHERE "tenantId" = \'kbz_test\'')
        admin.execute("UPDATE inbound_addresses SET \"emailAddress\" = 'x@y' WHERE country = 'UK'")
        admin.execute(
            'INSERT INTO inbound_connections (id, "tenantId", marketplace, "updatedAt")'
            " VALUES ('new', 'kbz_test', 'FNAC', now()), ('other', 'somebody', 'FNAC', now())"
        )
        replayed()
        answer = ask(seed_verification.rows)
        assert [(f.target, f.object, f.have) for f in answer.findings if f.verdict is Verdict.FAIL] == [
            (target, object, have)
            for target in ("leader", "replica")
            for object, have in (
                (f"{ADDRESSES}[tenant_test_dev, AMAZON, UK]", "emailAddress x@y"),
                ("public.MarketplaceConnection[cmjecdiqj0000p0fvgljq171d]", "missing"),
            )
        ]
        answer = ask(seed_verification.unexpected)
        assert [(f.target, f.object, f.have) for f in answer.findings if f.verdict is Verdict.FAIL] == [
            (target, "public.inbound_connections", "[kbz_test, FNAC]") for target in ("leader", "replica")
        ]
        answer = ask(seed_verification.row_counts)
        assert {(f.object, f.have) for f in answer.findings if f.verdict is Verdict.FAIL} == {
            ("public.MarketplaceConnection", "1"),
            ("public.inbound_connections", "4"),
        }
        admin.execute("REVOKE SELECT ON inbound_addresses FROM keybuzz_operator")
        for question in (seed_verification.rows, seed_verification.unexpected, seed_verification.row_counts):
            errors = [f for f in ask(question).findings if f.verdict is Verdict.ERROR]
            assert {f.target for f in errors} >= {"leader"}
            assert "permission denied for table inbound_addresses" in errors[0].have


def test_a_standby_that_stopped_is_an_error(fresh_lab: Lab) -> None:
    fresh_lab.replica.stop()
    for question in (seed_verification.rows, seed_verification.unexpected, seed_verification.row_counts):
        answer = ask(question)
        assert {f.verdict for f in of(answer, target="replica")} == {Verdict.ERROR}
        assert {f.verdict for f in of(answer, target="leader")} == {Verdict.PASS}


# --- values of every kind, in a database of the test's own -------------------------------------------------------


@pytest.fixture(scope="module")
def scratch(lab: Lab) -> Iterator[psycopg.Connection[Any]]:
    """A database of its own on the lab's leader, dropped at the end."""
    with lab.admin("postgres") as admin:
        admin.execute(f"CREATE DATABASE {SCRATCH}")
        try:
            with lab.admin(SCRATCH) as conn:
                conn.execute("ALTER DEFAULT PRIVILEGES GRANT SELECT ON TABLES TO keybuzz_operator")
                conn.execute("CREATE TYPE public.\"Mood\" AS ENUM ('GOOD', 'BAD''ish')")
                yield conn
        finally:
            admin.execute(f"DROP DATABASE {SCRATCH} WITH (FORCE)")


def scratch_phase(
    *rows: Mapping[str, object], key: tuple[str, ...] = ("k",), tenant: str | None = None
) -> Phase:
    target = Target(name="leader", service="keybuzz_leader", role=Role.PRIMARY, database=SCRATCH)
    seeds = Seeds(table='public."Odd ""name"', key=key, rows=rows, tenant=tenant, exact=True)
    return replace(PHASE, targets={"leader": target}, seeds=(seeds,))


@pytest.fixture
def table(scratch: psycopg.Connection[Any]) -> Iterator[Callable[..., None]]:
    """Make the table with the columns and rows given."""

    def make(columns: str, *rows: tuple[object, ...]) -> None:
        scratch.execute(f'CREATE TABLE public."Odd ""name" ({columns})')
        for row in rows:
            places = ", ".join(["%s"] * len(row))
            with psycopg.ClientCursor(scratch) as cursor:  # literals: they take the column's type
                cursor.execute(f'INSERT INTO public."Odd ""name" VALUES ({places})', row)

    yield make
    scratch.execute('DROP TABLE public."Odd ""name"')


@pytest.mark.parametrize(
    ("column", "stored", "declared", "different"),
    [
        ("text", ODD, ODD, ODD + " "),
        ("text", "", "", " "),
        ("text", None, None, ""),
        ("text", "", "", None),
        ("text", "7", 7, 8),
        ("varchar(5)", "abc", "abc", "abd"),
        ("char(5)", "ab", "ab", "ac"),
        ("integer", 7, 7, 8),
        ("bigint", 2**62 + 1, 2**62 + 1, 2**62 + 2),
        ("numeric(30, 10)", Decimal("1.5"), "1.50", "1.51"),
        ("numeric", Decimal("0.1"), 0.1, 0.2),
        ("double precision", 0.1, 0.1, 0.10000001),
        ("boolean", True, True, False),
        ("text[]", ["a", "b'c", None], "{a,b'c,NULL}", "{b'c,a,NULL}"),
        ("integer[]", [1, 2], "{1, 2}", "{1,2,3}"),
        ("timestamp(3)", "2026-01-07 17:47:59.123", datetime(2026, 1, 7, 17, 47, 59, 123000), "2026-01-07"),
        ("timestamptz", "2026-01-07 18:47:59+01", datetime(2026, 1, 7, 17, 47, 59, tzinfo=UTC), "2026-01-07Z"),
        ("date", "2026-01-07", "2026-01-07", "2026-01-08"),
        ("bytea", b"\x00\xff", "\\x00ff", "\\x00fe"),
        ("jsonb", '{"a": [1, "b"]}', '{"a":[1,"b"]}', '{"a": [1, "c"]}'),
        ("uuid", "A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11", "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11",
         "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a12"),
        ('public."Mood"', "BAD'ish", "BAD'ish", "GOOD"),
    ],
)  # fmt: skip
def test_values_are_compared_as_the_server_knows_them(
    table: Callable[..., None], column: str, stored: object, declared: object, different: object
) -> None:
    table(f'k text, "v ""q" {column}', ("one", stored), ("two", stored))
    phase = scratch_phase({"k": "one", 'v "q': declared}, {"k": "two", 'v "q': different})
    answer = ask(seed_verification.rows, phase)
    assert [f.verdict for f in answer.findings] == [Verdict.PASS, Verdict.FAIL], answer.findings
    assert answer.findings[0].have == answer.findings[0].want
    assert judged(ask(seed_verification.unexpected, phase)) == {Verdict.PASS}


@pytest.mark.usefixtures("lab")
def test_a_key_of_several_odd_columns(table: Callable[..., None]) -> None:
    table('"a ""x" text, b integer, v text', (ODD, 1, "x"), (ODD, 2, "y"), ("o", 1, "z"), (None, 1, "n"))
    key = ('a "x', "b")
    rows = ({'a "x': ODD, "b": 1, "v": "x"}, {'a "x': ODD, "b": 2, "v": "y"})
    phase = scratch_phase(*rows, key=key)
    answer = ask(seed_verification.rows, phase)
    assert judged(answer) == {Verdict.PASS}
    assert answer.findings[0].object == f'public."Odd ""name"[{ODD}, 1]'
    (finding,) = ask(seed_verification.unexpected, phase).findings
    assert (finding.verdict, finding.have) == (Verdict.FAIL, "[o, 1], [NULL, 1]")
    (finding,) = ask(seed_verification.unexpected, scratch_phase(*rows, key=key, tenant='a "x')).findings
    assert finding.verdict is Verdict.PASS


def test_a_column_that_a_row_leaves_out_is_not_judged(table: Callable[..., None]) -> None:
    table("k text, v text, w text", ("one", "x", "y"), ("two", "x", "y"), ("three", "x", "y"))
    phase = scratch_phase({"k": "one", "v": "x"}, {"k": "two"}, {"w": "y", "k": "three", "v": "other"})
    answer = ask(seed_verification.rows, phase)
    verdicts = {f.object.partition("[")[2]: (f.verdict, f.have) for f in answer.findings}
    assert verdicts == {
        "one]": (Verdict.PASS, "v x"),
        "two]": (Verdict.PASS, "there"),
        "three]": (Verdict.FAIL, "v x"),
    }
    assert judged(ask(seed_verification.unexpected, phase)) == {Verdict.PASS}


def test_a_row_that_stands_twice_fails(table: Callable[..., None]) -> None:
    table("k text, v text", ("one", "x"), ("one", "x"), ("two", "x"))
    answer = ask(seed_verification.rows, scratch_phase({"k": "one", "v": "x"}, {"k": "two", "v": "x"}))
    assert [(f.verdict, f.have) for f in answer.findings] == [
        (Verdict.FAIL, "stands 2 times"),
        (Verdict.PASS, "v x"),
    ]


def test_many_unexpected_rows_are_counted(table: Callable[..., None]) -> None:
    table("k integer", *((n,) for n in range(25)))
    (finding,) = ask(seed_verification.unexpected, scratch_phase({"k": 0})).findings
    assert finding.verdict is Verdict.FAIL
    assert finding.have.startswith("[1], [10], ")
    assert finding.have.endswith(" and 4 more")


@pytest.mark.parametrize(
    ("columns", "row"),
    [
        ("k text", {"k": "one", "no_such_column": 1}),
        ("k integer", {"k": "no number"}),
        ("k json", {"k": '{"a"'}),
        ("k regclass", {"k": "no.such_table"}),
        ("k text", {"k": "a\0b"}),
    ],
)
def test_what_cannot_be_compared_is_an_error(
    table: Callable[..., None], columns: str, row: dict[str, object]
) -> None:
    table(columns)
    answer = ask(seed_verification.rows, scratch_phase(row))
    assert judged(answer) == {Verdict.ERROR}


def test_it_leaves_no_session_behind(lab: Lab) -> None:
    ask(seed_verification.rows)
    deadline = time.monotonic() + 30
    with lab.admin("postgres") as admin:
        query = "SELECT count(*) FROM pg_stat_activity WHERE usename = 'keybuzz_operator'"
        while (found := admin.execute(query).fetchone()) != (0,) and time.monotonic() < deadline:
            time.sleep(0.02)
    assert found == (0,)


# --- columns whose values are known, and whose names are not -----------------------------------------------------


@pytest.mark.parametrize("name", ["email", "Address of it", "emailAddress"])
def test_a_column_may_be_found_by_its_values(table: Callable[..., None], name: str) -> None:
    table(
        f'id integer, other text, "{name}" varchar(80)',
        (1, "y@x", "a@x"),
        (2, "b@x", "b@x"),
        (3, None, "d@x"),
    )
    declared = (
        {"id": 1, "emailAddress": "a@x"},
        {"id": 2, "emailAddress": "b@x"},
        {"id": 3, "emailAddress": "c@x"},
    )
    phase = scratch_phase(*declared, key=("id",))
    phase = replace(phase, seeds=(replace(phase.seeds[0], anywhere=("emailAddress",)),))
    answer = ask(seed_verification.rows, phase)
    assert [(f.verdict, f.have) for f in answer.findings] == [
        (Verdict.PASS, f"{name} a@x"),
        (Verdict.PASS, f"{name} b@x"),
        (Verdict.FAIL, f"{name} d@x"),
    ]
    assert [fact.row for fact in answer.facts.rows] == [
        {"id": "1", "emailAddress": "a@x"},
        {"id": "2", "emailAddress": "b@x"},
        {"id": "3", "emailAddress": "d@x"},
    ]


def test_values_that_stand_nowhere_are_no_column(table: Callable[..., None]) -> None:
    table("id integer, email text", (1, "z@x"))
    phase = scratch_phase({"id": 1, "emailAddress": "a@x"}, key=("id",))
    phase = replace(phase, seeds=(replace(phase.seeds[0], anywhere=("emailAddress",)),))
    (finding,) = ask(seed_verification.rows, phase).findings
    assert (finding.verdict, "emailAddress" in finding.have) == (Verdict.ERROR, True)


@pytest.mark.parametrize(
    ("row", "anywhere"),
    [({"first": "z", "second": "y"}, ("first", "second")), ({"a": "z", "second": "y"}, ("second",))],
)
def test_no_column_is_two_of_the_declared_ones(
    table: Callable[..., None], row: dict[str, object], anywhere: tuple[str, ...]
) -> None:
    """Else the value of one of them would not be looked for: here nothing of row 1 is "z"."""
    table("id integer, a text", (1, "y"), (9, "z"))
    phase = scratch_phase({"id": 1, **row}, key=("id",))
    phase = replace(phase, seeds=(replace(phase.seeds[0], anywhere=anywhere),))
    (finding,) = ask(seed_verification.rows, phase).findings
    assert (finding.verdict, "second" in finding.have) == (Verdict.ERROR, True)
