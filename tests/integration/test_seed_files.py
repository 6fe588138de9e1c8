"""Rows declared in a file, against a database of the test's own: every difference is found, none is invented."""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg import sql

from runbooks_lib.facts.contents import SeedFacts
from runbooks_lib.findings import Answer, Verdict
from runbooks_lib.lab.lab import Lab
from runbooks_lib.phase import Column, Phase, Role, Seeds, Table, Target, load_phase, seed_file
from runbooks_lib.postgres.session.connect import Sessions
from runbooks_lib.steps import seed_merge, seed_source, seed_verification

PHASE = load_phase("PH15-AMAZON-DB-FOUNDATION-01")
DATABASE = "scratch_of_seed_sets"
COLUMNS = {
    "id": "bigint",
    "tenant": "text",
    "label": "text",
    "price": "numeric",
    "active": "boolean",
    "doc": "jsonb",
    "at": "timestamp with time zone",
}
HEADER = ",".join(COLUMNS) + "\n"

Ask = Callable[..., tuple[Answer, Answer]]


@pytest.fixture(scope="module")
def database(lab: Lab) -> Iterator[psycopg.Connection[Any]]:
    """A database of its own on the lab's leader, dropped at the end."""
    with lab.admin("postgres") as admin:
        admin.execute(f"CREATE DATABASE {DATABASE}")
        try:
            with lab.admin(DATABASE) as conn:
                conn.execute("ALTER DEFAULT PRIVILEGES GRANT SELECT ON TABLES TO keybuzz_operator")
                yield conn
        finally:
            admin.execute(f"DROP DATABASE {DATABASE} WITH (FORCE)")


@pytest.fixture
def ask(database: psycopg.Connection[Any], tmp_path: Path) -> Iterator[Ask]:
    """Make the table with the rows of a COPY, declare the rows of a file, ask both questions."""

    def _ask(
        stands: str,
        declared: str,
        *,
        key: tuple[str, ...] = ("id",),
        tenant: str | None = "tenant",
        columns: dict[str, str] = COLUMNS,
    ) -> tuple[Answer, Answer]:
        body = sql.SQL(", ").join(
            sql.SQL("{} {}").format(sql.Identifier(name), sql.SQL(type_)) for name, type_ in columns.items()
        )
        database.execute(sql.SQL("CREATE TABLE public.items ({})").format(body))
        with database.cursor() as cursor, cursor.copy("COPY public.items FROM STDIN (FORMAT csv)") as copy:
            copy.write(stands)
        (tmp_path / "items.csv").write_text(declared, encoding="utf-8")
        phase = phase_of(tmp_path, key, tenant, columns)
        with Sessions(phase.targets) as sessions:
            rows = seed_verification.rows(phase, sessions)
            return rows, seed_verification.unexpected(phase, sessions, seen=rows.facts)

    yield _ask
    database.execute("DROP TABLE IF EXISTS public.items")


def phase_of(folder: Path, key: tuple[str, ...], tenant: str | None, columns: dict[str, str]) -> Phase:
    target = Target(name="leader", service="keybuzz_leader", role=Role.PRIMARY, database=DATABASE)
    table = Table(
        name="public.items",
        owner="postgres",
        primary_key=key,
        columns=tuple(Column(name=name, type=type_) for name, type_ in columns.items()),
    )
    seeds = Seeds(table="public.items", key=key, file="items.csv", tenant=tenant, exact=True)
    return replace(PHASE, folder=folder, targets={"leader": target}, tables=(table,), seeds=(seeds,))


def line(number: int, label: str = "", tenant: str = "") -> str:
    tenant = tenant or f"t{number % 2}"
    return (
        f'{number},{tenant},{label or f"label {number}"},1.50,t,"{{""a"": 1}}",2026-01-07 17:47:59.123+00\n'
    )


def lines(*numbers: int) -> str:
    return "".join(line(number) for number in numbers)


def verdicts(answers: tuple[Answer, Answer]) -> list[Verdict]:
    return [answer.verdict for answer in answers]


def told(answer: Answer) -> dict[str, str]:
    return {finding.object.partition("[")[2].rstrip("]"): finding.have for finding in answer.findings}


def test_equal_rows_pass_and_are_counted_by_tenant(ask: Ask) -> None:
    rows, others = ask(lines(*range(40)), HEADER + lines(*range(40)))
    assert verdicts((rows, others)) == [Verdict.PASS, Verdict.PASS]
    assert told(rows) == {"t0": "20 rows as declared", "t1": "20 rows as declared"}
    assert {f.check for f in rows.findings} == {"seed_rows_are"}
    assert rows.facts.sets[0] == {
        "target": "leader",
        "table": "public.items",
        "tenant": "t0",
        "declared": 20,
    }
    assert [(f.check, f.have) for f in others.findings] == [("no_unexpected_seed_rows", "none")]


def test_each_kind_of_difference_is_counted_and_named(ask: Ask) -> None:
    stands = lines(2, 3, 6, 8, 9) + line(4, "other") + line(100)
    rows, others = ask(stands, HEADER + lines(1, 2, 3, 4, 5, 6, 7))
    assert told(rows) == {
        "t0": "1 different: [4] (label other instead of label 4)",
        "t1": "3 missing: [1], [5], [7]",
    }
    assert [f.want for f in rows.findings] == ["4 rows as declared", "3 rows as declared"]
    assert [f.have for f in others.findings] == ["1 unexpected: [9]; 2 unexpected: [8], [100]"]
    assert verdicts((rows, others)) == [Verdict.FAIL, Verdict.FAIL]


def test_only_the_first_of_many_are_named(ask: Ask) -> None:
    rows, others = ask(lines(*range(100, 150)), HEADER + lines(*range(50)), tenant=None)
    assert [f.have for f in rows.findings] == ["50 missing: [0], [1], [2], [3], [4] …"]
    assert [f.have for f in others.findings] == ["50 unexpected: [100], [101], [102], [103], [104] …"]


@pytest.mark.parametrize("sort_in_memory", [3, 1000])
def test_a_file_in_another_order(ask: Ask, monkeypatch: pytest.MonkeyPatch, sort_in_memory: int) -> None:
    monkeypatch.setattr("runbooks_lib.phase.seed_file.SORTED_IN_MEMORY", sort_in_memory)
    numbers = list(range(30))
    random.Random(3).shuffle(numbers)
    rows, others = ask(lines(*range(30)), HEADER + lines(*numbers))
    assert verdicts((rows, others)) == [Verdict.PASS, Verdict.PASS]


@pytest.mark.parametrize(
    "declared",
    [
        '1,t1,label 1,1.5,true,"{""a"":1}",2026-01-07 18:47:59.123+01\n',
        '"1","t1","label 1","1.500","yes","{""a"": 1.0}","2026-01-07T17:47:59.123Z"\n',
        '01,t1,label 1,1.50,t,"{""a"": 1}",2026-01-07 17:47:59.123+00\n',
        '+1,t1,label 1,1.50,1,"{""a"": 1}",2026-01-07 17:47:59.123+00\r\n',
    ],
)
def test_other_spellings_of_the_same_are_the_same(ask: Ask, declared: str) -> None:
    rows, others = ask(line(1), HEADER + declared)
    assert verdicts((rows, others)) == [Verdict.PASS, Verdict.PASS], (rows.findings, others.findings)


@pytest.mark.parametrize(
    ("declared", "said"),
    [
        ('1,t1,"",1.5,true,"{""a"":1}",2026-01-07 17:47:59.123+00\n', "label label 1 instead of ''"),
        ('1,t1,,1.5,true,"{""a"":1}",2026-01-07 17:47:59.123+00\n', "label label 1 instead of NULL"),
        ('1,t1,label 1,1.51,true,"{""a"":1}",2026-01-07 17:47:59.123+00\n', "price 1.50 instead of 1.51"),
        ('1,t1,label 1,1.5,f,"{""a"":1}",2026-01-07 17:47:59.123+00\n', "active t instead of f"),
        ('1,t1,label 1,1.5,t,"{""a"":2}",2026-01-07 17:47:59.123+00\n', 'doc {"a": 1} instead of {"a": 2}'),
        (
            '1,t1,label 1,1.5,t,"{""a"":1}",2026-01-07 17:47:59.124+00\n',
            "at 2026-01-07 17:47:59.123+00 instead of 2026-01-07 17:47:59.124+00",
        ),
        ('1,t1,label 1,1.5,t,"{""a"":1}",\n', "instead of NULL"),
        ('1,t2,label 1,1.5,t,"{""a"":1}",2026-01-07 17:47:59.123+00\n', "tenant t1 instead of t2"),
    ],
)
def test_another_value_is_another_value(ask: Ask, declared: str, said: str) -> None:
    rows, _ = ask(line(1), HEADER + declared)
    (finding,) = rows.findings
    assert finding.verdict is Verdict.FAIL
    assert finding.have.startswith("1 different: [1] (")
    assert said in finding.have


def test_columns_that_the_file_leaves_out_are_not_judged(ask: Ask) -> None:
    rows, others = ask(line(1, "whatever"), "tenant,id\nt1,1\n")
    assert verdicts((rows, others)) == [Verdict.PASS, Verdict.PASS]
    assert told(rows) == {"t1": "1 rows as declared"}


@pytest.mark.parametrize(
    ("stands", "declared", "said"),
    [
        (lines(1, 2), lines(1, 1), "1 declared twice: [1]"),  # so that the numbers agree
        (lines(1, 2), line(1) + line(1).replace("1,", "01,", 1), "1 declared twice: [1]"),
        (lines(1, 1), lines(1), "1 stands twice: [1]"),
        (lines(1, 1), lines(1, 2), "1 stands twice: [1]"),
        (lines(1, 1), lines(1, 1), "1 declared twice: [1]; 1 stands twice: [1]"),
        (lines(1, 1) + lines(2), lines(1, 1, 2), "1 declared twice: [1]; 1 stands twice: [1]"),
        (lines(1, 1), line(1).replace("1,", "+1,", 1), "1 stands twice: [1]"),
    ],
)
def test_rows_that_stand_twice_are_seen_on_either_side(
    ask: Ask, stands: str, declared: str, said: str
) -> None:
    rows, others = ask(stands, HEADER + declared, tenant=None)
    assert Verdict.FAIL in verdicts((rows, others))
    assert said in told(rows)[""]


def test_rows_of_other_tenants_are_not_judged(ask: Ask) -> None:
    stands = lines(1) + line(2, tenant="else") + line(4, tenant="t1")
    rows, others = ask(stands, HEADER + lines(1))
    assert rows.verdict is Verdict.PASS
    assert [f.have for f in others.findings] == ["1 unexpected: [4]"]


def test_many_tenants_are_told_together(ask: Ask) -> None:
    many = "".join(line(number, tenant=f"t{number}") for number in range(30))
    rows, _ = ask(many, HEADER + many)
    assert told(rows) == {"": "30 rows as declared"}


@pytest.mark.parametrize(
    "type_", ["text", "character varying", "character(4)", "uuid", "numeric", "date", "boolean"]
)
def test_keys_of_other_types(ask: Ask, type_: str) -> None:
    values = {
        "uuid": [f"a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a{n}" for n in (10, 11, 12)],
        "numeric": ["-1", "2", "10"],
        "date": ["2026-01-07", "2026-02-01", "1999-12-31"],
        "boolean": ["f", "t"],
    }.get(type_, ["B", "a", "é"])
    body = "".join(f"{value},x\n" for value in values)
    columns = {"k": type_, "v": "text"}
    rows, others = ask(body + ",x\n", "k,v\n" + body, key=("k",), tenant=None, columns=columns)
    assert rows.verdict is Verdict.PASS, rows.findings
    assert [f.have for f in others.findings] == ["1 unexpected: [NULL]"]


@pytest.mark.parametrize("declared_sorted", [True, False])
def test_a_key_of_several_columns_with_odd_texts(ask: Ask, declared_sorted: bool) -> None:
    columns = {'a "x': "text", "b": "integer", "v": "text"}
    body = ['"",1,w\n', '"\\.",1,z\n', '"o,""q""\nz",2,x\n', '"o,""q""\nz",10,y\n']
    declared = '"a ""x",b,v\n' + "".join(body if declared_sorted else reversed(body))
    answers = ask("".join(body), declared, key=('a "x', "b"), tenant=None, columns=columns)
    assert verdicts(answers) == [Verdict.PASS, Verdict.PASS], answers


def test_keys_in_other_spellings_are_the_same_however_many(ask: Ask, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(seed_merge, "BATCH", 7)
    monkeypatch.setattr(seed_file, "SORTED_IN_MEMORY", 5)
    columns = {"k": "numeric", "v": "text"}
    stands = "".join(f"{n}.0,x\n" for n in range(60))
    declared = "k,v\n" + "".join(f"{n}.00,x\n" for n in range(60) if n != 30)
    rows, others = ask(stands, declared, key=("k",), tenant=None, columns=columns)
    assert [f.have for f in (*rows.findings, *others.findings)] == [
        "59 rows as declared",
        "1 unexpected: [30.0]",
    ]


@pytest.mark.parametrize(
    ("declared", "said"),
    [
        ("one,t1,x,1,t,{},2026-01-07\n", "a key that is no integer"),
        ("1,t1,x,much,t,{},2026-01-07\n", 'invalid input syntax for type numeric: "much"'),
        ("1,t1,x,1,t,{,2026-01-07\n", "invalid input syntax for type json"),
        ("1,t1,x\n", "a row of 3 values under a header of 7"),
        ('1,t1,"x\n', "a quote that is not closed"),
    ],
)
def test_what_cannot_be_compared_is_an_error(ask: Ask, declared: str, said: str) -> None:
    for answer in ask(line(1), HEADER + declared):
        (finding,) = answer.findings
        assert finding.verdict is Verdict.ERROR
        assert said in finding.have


@pytest.mark.usefixtures("lab")
def test_a_table_that_is_not_there_is_an_error(database: psycopg.Connection[Any], tmp_path: Path) -> None:
    del database
    (tmp_path / "items.csv").write_text(HEADER + line(1), encoding="utf-8")
    phase = phase_of(tmp_path, ("id",), "tenant", COLUMNS)
    with Sessions(phase.targets) as sessions:
        for question in (seed_verification.rows, seed_verification.unexpected):
            (finding,) = question(phase, sessions).findings
            assert finding.verdict is Verdict.ERROR
            assert '"public.items" does not exist' in finding.have


def test_the_second_question_tells_what_it_is_handed_and_else_looks_itself(
    database: psycopg.Connection[Any], ask: Ask, tmp_path: Path
) -> None:
    ask(lines(1), HEADER + lines(1))
    phase = phase_of(tmp_path, ("id",), "tenant", COLUMNS)
    with Sessions(phase.targets) as sessions:
        seen = seed_verification.rows(phase, sessions).facts
        database.execute("INSERT INTO public.items SELECT 3, tenant FROM public.items")
        assert seed_verification.unexpected(phase, sessions).verdict is Verdict.FAIL
        assert seed_verification.unexpected(phase, sessions, seen=seen).verdict is Verdict.PASS
        nothing = SeedFacts()
        assert seed_verification.unexpected(phase, sessions, seen=nothing).verdict is Verdict.FAIL


def test_random_differences_are_those_that_were_made(ask: Ask, database: psycopg.Connection[Any]) -> None:
    rng = random.Random(15)
    for _ in range(25):
        numbers = rng.sample(range(60), 40)
        missing, extra, other = numbers[:3], numbers[3:7], numbers[7:9]
        stands = [line(n, "other" if n in other else "") for n in numbers if n not in missing]
        declared = [line(n) for n in numbers if n not in extra]
        rng.shuffle(stands)
        if rng.random() < 0.5:
            declared.sort(key=lambda text: int(text.split(",")[0]))
        rows, _ = ask("".join(stands), HEADER + "".join(declared), tenant=None)
        (fact,) = rows.facts.sets
        assert (fact.get("missing", 0), fact.get("different", 0), fact.get("unexpected", 0)) == (3, 2, 4)
        database.execute("DROP TABLE public.items")


def test_every_key_with_a_fault_is_named_and_no_other(
    ask: Ask, database: psycopg.Connection[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Keys in random spellings, twice or missing on either side, in random order: against a count of both sides."""
    for module, name, value in (
        (seed_merge, "NAMED", 99),
        (seed_source, "NAMED", 99),
        (seed_merge, "BATCH", 3),
        (seed_file, "SORTED_IN_MEMORY", 4),
    ):
        monkeypatch.setattr(module, name, value)
    rng = random.Random(10)
    for round_ in range(30):
        sides: list[list[tuple[int, str]]] = []
        for _ in range(2):
            keys = [key for key in range(8) for _ in range(rng.choices((1, 0, 2), (12, 1, 1))[0])]
            sides.append([(key, "x" if rng.random() < 0.95 else "y") for key in keys])
            rng.shuffle(sides[-1])
        if round_ % 3 == 0:
            sides[1] = list(sides[0])
        stands, declared = (
            "".join(f"{key}{rng.choice(('', '.0', '.00'))},{value}\n" for key, value in side)
            for side in sides
        )
        if not declared:
            continue
        columns = {"k": "numeric", "v": "text"}
        answers = ask(stands, "k,v\n" + declared, key=("k",), tenant=None, columns=columns)
        database.execute("DROP TABLE public.items")
        have, want = ({key: [v for k, v in side if k == key] for key in range(8)} for side in sides)
        wrong = {
            key for key in range(8) if have[key] != want[key] or len(have[key]) > 1 or len(want[key]) > 1
        }
        words = " ".join(finding.have for answer in answers for finding in answer.findings)
        named = {int(float(key)) for key in re.findall(r"\[([\d.]+)\]", words)}
        assert named == wrong, (sides, words)
        assert (set(verdicts(answers)) == {Verdict.PASS}) is not bool(wrong)


def test_the_row_with_a_value_that_its_type_refuses_is_named(ask: Ask) -> None:
    many = "".join(line(number) for number in range(500)) + line(500).replace(
        "1.50", "1,50".replace(",", "'")
    )
    for answer in ask(line(1), HEADER + many):
        (finding,) = answer.findings
        assert finding.verdict is Verdict.ERROR
        assert "a value of price that its type refuses" in finding.have
        assert "id 500" in finding.have
