"""Every check has a page, every page a check, and `runbooks explain` prints them."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from runbooks_lib.cli import commands
from runbooks_lib.steps import declared

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "runbooks_lib"
PAGES = {page.stem: page for page in sorted((PACKAGE / "checks").glob("*.md"))}
HEADINGS = ["problem", "what good looks like", "what to do", "source"]
OFFICIAL = (
    "https://www.postgresql.org/docs/current/",
    "https://www.prisma.io/docs/",
    "https://kubernetes.io/docs/",
    "https://www.rfc-editor.org/rfc/",
    "https://expressjs.com/en/guide/",
    "https://squawkhq.com/docs/",
)
# Says SKIP in the name of checks that other calls emit.
IN_THEIR_NAME = "not_declared(check, '-', what)"
LAYERS = ("steps", "postgres", "archive", "findings.py")


class Untold(Exception):
    """The sources name a check in a way that this test cannot follow."""


def sources() -> dict[str, str]:
    files = [f for name in LAYERS for f in ([PACKAGE / name] if name.endswith(".py") else
                                            sorted((PACKAGE / name).rglob("*.py")))]  # fmt: skip
    return {str(f.relative_to(PACKAGE)): f.read_text(encoding="utf-8") for f in files}


def check_ids(modules: dict[str, str]) -> set[str]:
    """Return every check id that the sources can emit.

    A check is emitted by Finding(check=…) and by functions that hand one of their own parameters on as the check
    (judge, could_not_run and their like): these are followed until no new one appears.
    """
    trees = [ast.parse(text) for text in modules.values()]
    emitters: dict[str, tuple[int, str]] = {"Finding": (-1, "check")}
    while True:
        known = len(emitters)
        found: set[str] = set()
        for tree in trees:
            for function, call in calls(tree):
                found |= ids_of(call, function, emitters)
        if len(emitters) == known:
            return found


def calls(
    tree: ast.AST, function: ast.FunctionDef | None = None
) -> Iterator[tuple[ast.FunctionDef | None, ast.Call]]:
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.Call):
            yield function, node
        yield from calls(node, node if isinstance(node, ast.FunctionDef) else function)


def ids_of(
    call: ast.Call, function: ast.FunctionDef | None, emitters: dict[str, tuple[int, str]]
) -> set[str]:
    """Return the ids that one call emits; note its function as an emitter where it hands a parameter on."""
    name = getattr(call.func, "id", getattr(call.func, "attr", ""))
    if name not in emitters or ast.unparse(call) == IN_THEIR_NAME:
        return set()
    position, keyword = emitters[name]
    given = [k.value for k in call.keywords if k.arg == keyword]
    if not given and 0 <= position < len(call.args):
        given = [call.args[position]]
    if not given:
        raise Untold(ast.unparse(call))
    (value,) = given
    if isinstance(value, ast.Constant) and isinstance(value.value, str):
        return {value.value}
    if function is not None and isinstance(value, ast.Name):
        parameters = [a.arg for a in (*function.args.posonlyargs, *function.args.args)]
        if value.id in parameters:
            emitters[function.name] = (parameters.index(value.id), value.id)
            return set()
        if names := keys_looped_over(function, value.id):
            return names
    raise Untold(ast.unparse(call))


def keys_looped_over(function: ast.FunctionDef, variable: str) -> set[str]:
    """Return the keys of the dict literal whose items() bind `variable`, in a loop or a comprehension."""
    literals = {
        target.id: node.value
        for node in ast.walk(function)
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Dict)
        for target in node.targets
        if isinstance(target, ast.Name)
    }
    for node in ast.walk(function):
        if isinstance(node, ast.For | ast.comprehension) and isinstance(node.iter, ast.Call):
            first = node.target.elts[0] if isinstance(node.target, ast.Tuple) else node.target
            looped = getattr(getattr(node.iter.func, "value", None), "id", "")
            if getattr(first, "id", "") == variable and looped in literals:
                keys = literals[looped].keys
                return {k.value for k in keys if isinstance(k, ast.Constant) and isinstance(k.value, str)}
    return set()


def explain(*arguments: str) -> Result:
    return CliRunner().invoke(commands, ["explain", *arguments])


def test_what_may_be_left_out_is_asked_by_checks_that_exist() -> None:
    assert declared.ASKED.keys() <= check_ids(sources())


def test_every_check_has_a_page_and_every_page_a_check() -> None:
    assert sorted(check_ids(sources())) == sorted(PAGES)


@pytest.mark.parametrize(
    ("source", "ids"),
    [
        ('Finding(check="a_is", target="")', {"a_is"}),
        ('def judge(check, have): return Finding(check=check)\njudge("b_is", 1)', {"b_is"}),
        (
            'def f(x, check): return Finding(check=check)\ndef g(check): f(1, check)\ng("c_is")\nf(1, "d_is")',
            {"c_is", "d_is"},
        ),
        ('def f():\n    d = {"e_is": 1}\n    return [Finding(check=c) for c, n in d.items()]', {"e_is"}),
        ("other(1)", set()),
    ],
)
def test_checks_are_found_in_the_sources(source: str, ids: set[str]) -> None:
    assert check_ids({"x.py": source}) == ids


@pytest.mark.parametrize(
    "source", ['Finding(check="a" + "b")', "Finding(target='')", "Finding(check=f'{x}_is')"]
)
def test_a_check_that_cannot_be_followed_is_no_silent_gap(source: str) -> None:
    with pytest.raises(Untold):
        check_ids({"x.py": source})


@pytest.mark.parametrize("check", PAGES)
def test_a_page_has_its_title_and_the_four_headings(check: str) -> None:
    text = PAGES[check].read_text(encoding="utf-8")
    title, *rest = text.splitlines()
    assert re.fullmatch(rf"# {check}: \S.{{10,80}}", title)
    assert [line.removeprefix("## ") for line in rest if line.startswith("#")] == HEADINGS
    sections = re.split(r"^## .*$", text, flags=re.MULTILINE)[1:]
    assert all(section.strip() for section in sections)
    assert 10 <= len(rest) + 1 <= 25


@pytest.mark.parametrize("check", PAGES)
def test_a_page_has_a_source_that_can_be_looked_up(check: str) -> None:
    source = PAGES[check].read_text(encoding="utf-8").partition("## source\n")[2]
    urls = re.findall(r"https?://\S+", source)
    files = re.findall(r"runbooks_lib/\S+", source)
    assert urls or files
    assert [url for url in urls if not url.startswith(OFFICIAL)] == []
    assert [file for file in files if not (ROOT / file).is_file()] == []


@pytest.mark.parametrize("check", PAGES)
def test_a_page_refers_to_checks_that_exist(check: str) -> None:
    text = PAGES[check].read_text(encoding="utf-8")
    lists = re.findall(r"[Ss]ee (?:the checks )?((?:[a-z]+_[a-z_]+(?:, | and )?)+)", text)
    named = [name for words in lists for name in re.findall(r"[a-z_]+_[a-z_]+", words)]
    assert [name for name in named if name not in PAGES and not name.startswith("pg_")] == []


def test_explain_prints_the_page_as_it_is_when_nobody_watches() -> None:
    done = explain("has_table")
    assert done.exit_code == 0
    assert done.stdout == PAGES["has_table"].read_text(encoding="utf-8")


def test_explain_lists_all_checks_with_what_they_hold() -> None:
    done = explain()
    assert done.exit_code == 0
    lines = done.stdout.splitlines()
    assert [line.split()[0] for line in lines] == list(PAGES)
    assert "  a declared table exists" in next(line for line in lines if line.startswith("has_table "))


@pytest.mark.parametrize(("asked", "near"), [("has_tabel", "has_table"), ("enum_labels", "enum_has_labels")])
def test_explain_names_the_nearest_checks(asked: str, near: str) -> None:
    done = explain(asked)
    assert done.exit_code == 2
    assert done.stdout == ""
    assert f"There is no check '{asked}'. Did you mean " in done.stderr
    assert near in done.stderr


def test_explain_says_where_the_ids_are_when_nothing_is_near() -> None:
    done = explain("xyzzy")
    assert done.exit_code == 2
    assert "`runbooks explain` lists all of them." in done.stderr


@pytest.mark.skipif(os.name != "posix", reason="pseudo-terminals are POSIX")
def test_explain_renders_the_page_on_a_terminal() -> None:
    import pty

    primary, secondary = pty.openpty()
    code = "from runbooks_lib.cli import main; main()"
    command = [sys.executable, "-c", code, "explain", "has_table"]
    environment = {**os.environ, "TERM": "xterm-256color", "COLUMNS": "100"}
    with subprocess.Popen(command, stdout=secondary, stderr=subprocess.PIPE, env=environment) as child:
        os.close(secondary)
        shown = b""
        try:
            while chunk := os.read(primary, 4096):
                shown += chunk
        except OSError:
            pass  # how Linux says that the other end was closed
        errors = child.stderr.read() if child.stderr else b""
    os.close(primary)
    assert (child.returncode, errors) == (0, b"")
    assert "what good looks like" in shown.decode()
    assert "## problem" not in shown.decode()
