"""Findings, the gate and the errors: an answer that did not look is never good news."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runbooks_lib import errors
from runbooks_lib.amounts import in_words
from runbooks_lib.errors import GateClosed, PrismaError, RunbookError, SpecError
from runbooks_lib.findings import (
    MANY,
    NAMED,
    Answer,
    Finding,
    Note,
    Verdict,
    could_not_run,
    gate,
    in_short,
    judge,
    same_fault,
    worst,
)
from runbooks_lib.steps.confirming import Changed
from runbooks_lib.typed import typed


def finding(verdict: Verdict, check: str = "has_table", hint: str = "") -> Finding:
    return Finding(
        check=check, target="leader", object="public.t", have="a", want="b", verdict=verdict, hint=hint
    )


@pytest.mark.parametrize(
    ("have", "want", "blocking", "verdict"),
    [
        (1, 1, True, Verdict.PASS),
        (1, 2, True, Verdict.FAIL),
        (1, 2, False, Verdict.OPEN),
        (1, 1, False, Verdict.PASS),
        (0, None, True, Verdict.FAIL),
        ("", "absent", True, Verdict.FAIL),
    ],
)
def test_judge(have: object, want: object, blocking: bool, verdict: Verdict) -> None:
    judged = judge("c", "t", "o", have=have, want=want, hint="mend it", blocking=blocking)
    assert judged.verdict is verdict
    assert (judged.have, judged.want) == (in_words(have), in_words(want))
    assert judged.hint == ("" if verdict is Verdict.PASS else "mend it")


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (None, "none"),
        (True, "yes"),
        (False, "no"),
        ((), "none"),
        ({}, "none"),
        ("", ""),
        (0, "0"),
        (("a", None, True), "a, none, yes"),
        (frozenset({"b", "a"}), "a, b"),
        ({"public.a": 2, "public.b": None}, "public.a 2, public.b none"),
        (Changed("settlement", {"m": "resolve"}, None), "settlement (was m resolve, is none)"),
        (Changed("sql", "a1" * 32, ["a1" * 32]), "sql (was a1a1a1a1a1a1a1a1, is a1a1a1a1a1a1a1a1)"),
        (Verdict.PASS, "PASS"),
    ],
)
def test_what_is_found_is_said_as_people_write_it(value: object, said: str) -> None:
    found = judge("has_table", "leader", "public.a", have=value, want=value, hint="")
    assert (found.have, found.want) == (said, said)


def test_could_not_run_is_error_with_the_errors_own_words() -> None:
    made = could_not_run("c", "t", "o", RunbookError("It broke.", "Mend it."))
    assert (made.verdict, made.have, made.hint) == (Verdict.ERROR, "It broke.", "Mend it.")


def test_an_empty_answer_is_error_and_closes_the_gate() -> None:
    assert Answer(findings=()).verdict is Verdict.ERROR
    assert worst(()) is Verdict.ERROR
    with pytest.raises(GateClosed, match="no finding"):
        gate(())


def test_the_gate_consumes_an_iterator_once_and_still_sees_all() -> None:
    with pytest.raises(GateClosed, match="1 of 2"):
        gate(finding(v) for v in (Verdict.PASS, Verdict.FAIL))


@pytest.mark.parametrize("verdict", [Verdict.PASS, Verdict.OPEN, Verdict.SKIP])
def test_the_gate_opens(verdict: Verdict) -> None:
    gate([finding(verdict)])


@pytest.mark.parametrize("verdict", [Verdict.FAIL, Verdict.ERROR])
def test_the_gate_closes_and_names_what_failed(verdict: Verdict) -> None:
    rows = [
        finding(Verdict.PASS, "good_one"),
        finding(verdict, "bad_one", "Do this."),
        finding(Verdict.OPEN, "open_one"),
    ]
    with pytest.raises(GateClosed) as closed:
        gate(rows)
    text = str(closed.value)
    assert f"{verdict} bad_one leader public.t: found a, expected b. Do this." in text
    assert "good_one" not in text
    assert "open_one" not in text
    assert closed.value.exit_code == 1


def test_the_same_fault_is_one_line() -> None:
    def seen(check: str, target: str, verdict: Verdict, have: str) -> Finding:
        return Finding(check=check, target=target, object="o", have=have, want="w", verdict=verdict, hint="h")

    shown = same_fault(
        [
            seen("a", "leader", Verdict.FAIL, "x"),
            seen("a", "replica", Verdict.FAIL, "x"),
            seen("b", "replica", Verdict.FAIL, "x"),  # another check: another fault
            seen("a", "replica", Verdict.ERROR, "no answer"),
            seen("b", "replica", Verdict.ERROR, "no answer"),
        ]
    )
    assert [(f.check, f.target, f.object) for f in shown] == [
        ("a", "leader, replica", "o"),
        ("b", "replica", "o"),
        ("a, b", "replica", "o"),
    ]


@settings(deadline=None, database=None)
@given(st.lists(st.sampled_from(Verdict), min_size=1))
def test_worst_is_one_of_them_and_never_milder(verdicts: list[Verdict]) -> None:
    order = [Verdict.SKIP, Verdict.PASS, Verdict.OPEN, Verdict.FAIL, Verdict.ERROR]
    assert worst(finding(v) for v in verdicts) is max(verdicts, key=order.index)


@settings(deadline=None, database=None)
@given(st.lists(st.sampled_from(Verdict)))
def test_the_gate_opens_only_without_fail_and_error(verdicts: list[Verdict]) -> None:
    opened = True
    try:
        gate([finding(v) for v in verdicts])
    except GateClosed:
        opened = False
    assert opened == (bool(verdicts) and not {Verdict.FAIL, Verdict.ERROR} & set(verdicts))


@settings(deadline=None, database=None)
@given(st.builds(Finding, **dict.fromkeys(("check", "target", "object", "have", "want", "hint"), st.text()),
                 verdict=st.sampled_from(Verdict)))  # fmt: skip
def test_findings_survive_json(made: Finding) -> None:
    assert typed(made.to_dict(), Finding, Path("x")) == made
    assert all(type(value) is str for value in made.to_dict().values())


@pytest.mark.parametrize(
    ("name", "exit_code"),
    [
        ("RunbookError", 4),
        ("SpecError", 3),
        ("PreconditionFailed", 3),
        ("ConnectionFailed", 3),
        ("GateClosed", 1),
        ("BackupError", 4),
        ("MigrationError", 4),
        ("PrismaError", 4),
        ("EvidenceError", 4),
        ("LabError", 4),
        ("ExecutionError", 4),
    ],
)
def test_errors_say_what_happened_and_what_to_do(name: str, exit_code: int) -> None:
    kind: type[RunbookError] = getattr(errors, name)
    error = kind("It broke.", "Mend it.")
    assert str(error) == "It broke. Mend it."
    assert str(kind("It broke.")) == "It broke."
    assert error.exit_code == exit_code
    assert error._render_traceback_() == [f"{name}: It broke. Mend it."]
    assert name in (errors.__doc__ or "")


def test_what_single_errors_carry() -> None:
    assert errors.MigrationError("x", sqlstate="55P03").sqlstate == "55P03"
    assert PrismaError("x", code="P3008").code == "P3008"
    assert SpecError("x", mistakes=("a", "b")).mistakes == ("a", "b")


def test_a_note_is_kept_and_said_only_where_there_is_one() -> None:
    plain = Finding(check="has_table", target="t", object="o", have="absent", want="x", verdict=Verdict.PASS)
    assert "note" not in plain.to_dict()
    noted = replace(plain, note=Note.ABSENT)
    assert noted.to_dict()["note"] == "absent"
    assert [typed(f.to_dict(), Finding, Path("x")) for f in (plain, noted)] == [plain, noted]


def test_what_passed_many_times_is_one_line_and_nothing_else_is() -> None:
    one = finding(Verdict.PASS)
    passed = [replace(one, target=t, object=f"public.a{n}") for n in range(MANY) for t in ("x", "y")]
    few = [replace(one, check="has_enum", object=f"public.e{n}") for n in range(MANY)]
    failed = [replace(each, verdict=verdict) for each in passed for verdict in (Verdict.FAIL, Verdict.OPEN)]
    line, *rest = in_short([*passed, *few, *failed])
    assert rest == [*few, *failed]
    assert (line.verdict, line.check, line.target) == (Verdict.PASS, "has_table", "x, y")
    assert line.object.startswith(f"{MANY}: public.a0, public.a1,")
    assert line.object.endswith(f"and {MANY - NAMED} more")
    assert line.have == f"passed {2 * MANY} times"
    assert in_short([]) == ()


def of_table(table: str, number: int, verdict: Verdict = Verdict.FAIL) -> Finding:
    return replace(finding(verdict), object=f"{table}_{number}", have=f"missing {number}", of=table)


def test_of_very_many_that_failed_each_table_has_one_line_with_their_number() -> None:
    failed = [of_table(table, number) for table in ("public.a", "public.b") for number in range(MANY)]
    alone = finding(Verdict.FAIL)  # of no table: what is to be done about it is told
    first, second, last = in_short([*failed, alone])
    assert (first.object, first.have) == (
        f"public.a_0 (and {MANY - 1} more of public.a, each in the record)", "missing 0"
    )  # fmt: skip
    assert second.object.startswith("public.b_0 (")
    assert last == alone
    assert in_short(failed[:MANY]) == tuple(failed[:MANY])  # not so many
    with pytest.raises(GateClosed) as closed:
        gate(failed)
    assert closed.value.what_happened.startswith(f"Stopped by {2 * MANY} of {2 * MANY} findings.")
    assert len(closed.value.what_happened.splitlines()) == 3


def test_very_many_that_were_skipped_are_one_line() -> None:
    skipped = [replace(finding(Verdict.SKIP, hint="x"), object=f"{number}_m") for number in range(MANY + 1)]
    (line,) = in_short(skipped)
    assert (line.verdict, line.have) == (Verdict.SKIP, f"skipped {MANY + 1} times")
    assert line.object.startswith(f"{MANY + 1}: 0_m, 1_m")
