"""A phase begun by hand, and two phases compared by what they assert."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from runbooks_lib.cli import commands
from runbooks_lib.drafting.phase_diff import Change, compare_phases
from runbooks_lib.drafting.phase_new import new_phase
from runbooks_lib.errors import PreconditionFailed
from runbooks_lib.phase import load_phase


def run(*words: str) -> Result:
    return CliRunner().invoke(commands, ["phase", *words])


def made(folder: Path, more: str = "") -> Path:
    file = new_phase(folder, service="shop_leader", database="shop")
    file.write_text(file.read_text() + more)
    return folder


def test_a_new_phase_loads_at_once_and_with_its_commented_sections(tmp_path: Path) -> None:
    done = run("new", str(tmp_path / "in" / "SHOP"), "--service", "sh_leader", "--database", 'sh"op')
    assert (done.exit_code, f"runbooks phase check {tmp_path}" in done.output) == (0, True)
    file = tmp_path / "in" / "SHOP" / "phase.toml"
    phase = load_phase(str(file))
    assert (phase.spec_version, phase.id, phase.targets["leader"].service) == (3, "SHOP", "sh_leader")
    assert phase.targets["leader"].database == 'sh"op'
    lines = file.read_text().splitlines()
    begin = next(number for number, line in enumerate(lines) if line.startswith("# [owners]"))
    whole = [line.removeprefix("# ").replace("…", "sh_standby") if number >= begin or line.startswith("# replica")
             else line for number, line in enumerate(lines)]  # fmt: skip
    file.write_text("\n".join(whole))
    (file.parent / "baseline.sql").write_text("CREATE SCHEMA IF NOT EXISTS app;")
    phase = load_phase(str(file))
    assert (phase.owner, phase.tables[0].rows, len(phase.seeds)) == ("shop_owner", 249, 1)
    assert set(phase.targets) == {"leader", "replica"}


def test_a_new_phase_writes_nothing_over_and_takes_no_name_that_is_no_id(tmp_path: Path) -> None:
    made(tmp_path / "SHOP", "# mine\n")
    with pytest.raises(PreconditionFailed, match="is there already"):
        new_phase(tmp_path / "SHOP", service="s", database="d")
    assert (tmp_path / "SHOP" / "phase.toml").read_text().endswith("# mine\n")
    with pytest.raises(PreconditionFailed, match="can't be the id"):
        new_phase(tmp_path / "a b", service="s", database="d")
    with pytest.raises(PreconditionFailed, match="can't be made"):
        new_phase(tmp_path / "SHOP" / "phase.toml" / "X", service="s", database="d")


TABLES = """
[[tables]]
name = "public.A"
rows = 1
[[tables]]
name = "public.B"
columns = [{ name = "c", type = "integer" }]
"""


def test_two_phases_are_compared_by_their_values_and_not_by_order_comments_and_prose(tmp_path: Path) -> None:
    one = made(tmp_path / "ONE", f"{TABLES}\nobjective = 1\n".replace("\nobjective = 1\n", ""))
    first, *others = TABLES.strip().split("[[tables]]\n")[1:]
    turned = "".join(f"\n[[tables]] # turned\n{each}" for each in (*others, first))
    same = made(tmp_path / "SAME", turned)
    assert compare_phases(load_phase(str(one)), load_phase(str(same))) == ()
    done = run("diff", str(one), str(same))
    assert (done.exit_code, done.output) == (0, "Both assert the same.\n")
    other = made(tmp_path / "OTHER", TABLES.replace("rows = 1", "rows = 2").replace("integer", "bigint"))
    assert compare_phases(load_phase(str(one)), load_phase(str(other))) == (
        Change("tables.public.A.rows", 1, 2),
        Change("tables.public.B.columns.c.type", "integer", "bigint"),
    )
    assert compare_phases(load_phase(str(one)), load_phase(str(other)), only=("seeds",)) == ()
    done = run("diff", str(one), str(other))
    assert (done.exit_code, done.output.splitlines()[0]) == (1, "tables.public.A.rows: 1 -> 2")


BASELINE = '\n[baseline]\nfile = "baseline.sql"\nconcurrently = "indexes.sql"\ntarget = "leader"\n'
SEEDS = '\n[[seeds]]\ntable = "public.A"\nkey = ["id"]\nfile = "a.csv"\n'


def test_a_baseline_is_compared_by_its_statements_and_a_seed_file_by_its_content(tmp_path: Path) -> None:
    one, other = (made(tmp_path / name, BASELINE + SEEDS) for name in ("ONE", "OTHER"))
    for folder in (one, other):
        (folder / "baseline.sql").write_text(
            "CREATE SCHEMA IF NOT EXISTS a;\nCREATE SCHEMA IF NOT EXISTS b;\n"
        )
        (folder / "a.csv").write_text("id,n\n1,2\n")
    (other / "baseline.sql").write_text(
        "-- why\nCREATE SCHEMA IF NOT EXISTS a;CREATE SCHEMA IF NOT EXISTS c;"
    )
    (one / "indexes.sql").write_text("CREATE INDEX CONCURRENTLY IF NOT EXISTS i ON t (a);")
    (other / "indexes.sql").write_text("CREATE INDEX CONCURRENTLY IF NOT EXISTS i ON t (b);")
    (other / "a.csv").write_text("id,n\n1,3\n")
    found = {each.key: each for each in compare_phases(load_phase(str(one)), load_phase(str(other)))}
    assert set(found) == {
        "baseline.statements.schema b",
        "baseline.statements.schema c",
        "baseline.statements.index public.i",
        "seeds.public.A.sha256",
    }
    assert found["baseline.statements.schema c"].was is None


def test_a_phase_that_writes_nothing_has_no_draft_to_be_compared_with(tmp_path: Path) -> None:
    folder = made(tmp_path / "ONE")
    file = folder / "phase.toml"
    file.write_text(file.read_text().replace('[prisma]\ntarget = "leader"\nsettle = "all"', "", 1)
                    .replace('from = "migrations"', ""))  # fmt: skip
    done = run("diff", str(folder))
    assert isinstance(done.exception, PreconditionFailed)


@pytest.mark.parametrize("named", ["phase.toml", "other.toml"])
def test_a_phase_that_waits_for_a_reason_is_no_plan_yet(tmp_path: Path, named: str) -> None:
    folder = made(tmp_path / "SHOP")
    text = (folder / "phase.toml").read_text()
    waits = text.replace(
        'settle = "all"', 'settle = "all"\naccept = [\n  # { migration = "1_a", why = "…" },\n]\n#'
    )
    (folder / "phase.toml").rename(folder / named)
    (folder / named).write_text(waits)
    done = run("check", str(folder / named), "--prisma-project", "a b")
    assert done.exit_code == (1 if named == "phase.toml" else 0), done.output
    *_, reason, then = done.output.splitlines()
    if named == "phase.toml":
        line = next(n for n, each in enumerate(waits.splitlines(), 1) if "1_a" in each)
        assert reason.startswith(f"first: say why in {folder / named}, line {line}, ")
        assert then == f"next: runbooks phase check {folder / named} --prisma-project 'a b'"
    (folder / named).write_text(waits.replace("  # {", "  {"))
    done = run("check", str(folder / named))
    assert (done.exit_code, done.output.splitlines()[-1]) == (0, f"next: runbooks run {folder / named}")
