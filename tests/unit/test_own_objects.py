"""What the phase's own scripts attach to tables is told by name, as PostgreSQL names it by default."""

# ruff: noqa: E501
from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from runbooks_lib.phase import load_phase
from runbooks_lib.steps import own_objects as module
from runbooks_lib.steps.own_objects import made_by, own_objects, superuser_names

T = "public.t"


@pytest.mark.parametrize(
    ("script", "made"),
    [
        ("CREATE TRIGGER a BEFORE INSERT ON t EXECUTE FUNCTION f()", {("trigger", f"{T}.a")}),
        ('CREATE RULE a AS ON INSERT TO s."T" DO INSTEAD NOTHING', {("rule", "s.T.a")}),
        ("CREATE POLICY a ON t USING (true)", {("policy", f"{T}.a")}),
        ("CREATE UNIQUE INDEX a ON t (b)", {("index", "public.a")}),
        ("ALTER TABLE t ENABLE ROW LEVEL SECURITY", {("row security", T)}),
        ("ALTER TABLE t FORCE ROW LEVEL SECURITY", {("row security forced", T)}),
        ("ALTER TABLE t ADD CONSTRAINT c CHECK (a > 0)", {("constraint", f"{T}.c"), ("index", "public.c")}),
        ("CREATE TABLE t (a int UNIQUE)", {("constraint", f"{T}.t_a_key"), ("index", "public.t_a_key")}),
        ("CREATE TABLE t (a int REFERENCES u)", {("constraint", f"{T}.t_a_fkey"), ("index", "public.t_a_fkey")}),
        ("CREATE TABLE t (a int, b int, UNIQUE (a, b))", {("constraint", f"{T}.t_a_b_key"), ("index", "public.t_a_b_key")}),
        ("CREATE TABLE t (a int, FOREIGN KEY (a) REFERENCES u)", {("constraint", f"{T}.t_a_fkey"), ("index", "public.t_a_fkey")}),
        ("CREATE TABLE t (a int CHECK (a > 0))", {("constraint", f"{T}.t_a_check"), ("index", "public.t_a_check")}),
        ("ALTER TABLE t ALTER COLUMN a SET DATA TYPE bigint, ALTER b DROP DEFAULT", set()),
        ("CREATE TABLE t () INHERITS (u)", {("inherits", T)}),
        ("GRANT INSERT, UPDATE ON t TO a", {(k, f"{T}.a.{p}") for k in ("privileges", "column privileges") for p in ("INSERT", "UPDATE")}),
        ("GRANT ALL ON t TO PUBLIC", {(k, f"{T}.public.ALL") for k in ("privileges", "column privileges")}),
        ("CREATE TABLE t (a int PRIMARY KEY); SELECT 1", set()),
        ("no SQL at all", set()),
    ],
)  # fmt: skip
def test_what_a_script_attaches(script: str, made: set[tuple[str, str]]) -> None:
    assert set(made_by(script)) == made


def test_the_baseline_counts_and_what_cannot_be_read_makes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    phase = replace(load_phase("PH15-AMAZON-DB-FOUNDATION-01"), folder=tmp_path)
    monkeypatch.setenv("RUNBOOKS_PRISMA_PROJECT", str(tmp_path / "nowhere"))
    assert own_objects(phase) == frozenset(), "neither can be read"
    (tmp_path / phase.baseline.file).write_text("ALTER TABLE t ENABLE ROW LEVEL SECURITY")
    assert own_objects(phase) == {("row security", T)}


def test_names_of_migrations_are_of_the_schema_that_prisma_works_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    script = (
        "CREATE POLICY a ON t USING (true); CREATE UNIQUE INDEX i ON t (b); GRANT INSERT ON public.t TO o;"
        "CREATE TABLE u (a int UNIQUE); ALTER TABLE t FORCE ROW LEVEL SECURITY;"
        "CREATE FUNCTION f() RETURNS int LANGUAGE c AS 'x', 'y'"
    )
    (tmp_path / "1_a").mkdir()
    (tmp_path / "1_a" / "migration.sql").write_text(script)
    project = SimpleNamespace(configuration=SimpleNamespace(history_schema="app"), migrations=tmp_path)
    monkeypatch.setattr(module, "find_project", lambda: tmp_path)
    monkeypatch.setattr(module, "read_project", lambda folder: project)
    phase = replace(load_phase("PH15-AMAZON-DB-FOUNDATION-01"), baseline=None)
    assert own_objects(phase) == {
        ("policy", "app.t.a"),
        ("index", "app.i"),
        ("constraint", "app.u.u_a_key"),
        ("index", "app.u_a_key"),
        ("row security forced", "app.t"),
        ("privileges", "public.t.o.INSERT"),
        ("column privileges", "public.t.o.INSERT"),
    }
    assert superuser_names(phase) == {"app.f"}
