"""`runbooks phase`: phase files."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING

import click

from runbooks_lib.cli.help import Group, examples
from runbooks_lib.cli.naming import complete_phase
from runbooks_lib.cli.terminal import say, say_lines

if TYPE_CHECKING:
    from runbooks_lib.phase import Phase


@click.group(
    cls=Group, epilog=examples("runbooks phase list", "runbooks phase check phases/ORDERS/phase.toml")
)
def phase() -> None:
    """Check phase files, bring older ones up to date, and write parts of them."""


@phase.command(epilog=examples("runbooks phase new phases/ORDERS --service shop_leader --database shop"))
@click.argument("folder", type=click.Path(path_type=Path))
@click.option("--service", default="shop_leader", metavar="NAME", help="The libpq service of the database.")
@click.option("--database", default="shop", metavar="NAME", help="The database's name.")
def new(folder: Path, service: str, database: str) -> None:
    """Make FOLDER with a first phase.toml, to be completed by hand; no server is asked.

    Where there is a project and a database, `runbooks phase draft` writes what it finds there.
    """
    from runbooks_lib.drafting.phase_new import new_phase

    say(f"{new_phase(folder, service=service, database=database)}: look for REVIEW in it, then:")
    say(f"runbooks phase check {folder}")


@phase.command(
    epilog=examples("runbooks phase check phases/ORDERS", "runbooks phase check phases/ORDERS --service")
)
@click.argument("phase", shell_complete=complete_phase)
@click.option("--service", is_flag=True, help="Ask its services, too, whether what it names is there.")
@click.option(
    "--prisma-project", metavar="DIR", help="The Prisma project [RUNBOOKS_PRISMA_PROJECT, else this folder]."
)
@click.pass_context
def check(context: click.Context, phase: str, service: bool, prisma_project: str | None) -> None:
    """Load PHASE (a shipped id, or the path of a phase.toml) and name every mistake by its key path.

    With --service its servers are asked, read-only, as step 1 asks them: whether they are what it declares, whether
    the role may do what the steps do, whether the extensions are at hand, and whether what it names is there.
    Exit code 1 when any of it would close a gate, or a drafted phase still waits for a reason.
    """
    from runbooks_lib.cli.ending import waits_in
    from runbooks_lib.phase import load_phase
    from runbooks_lib.prisma.named import name_project
    from runbooks_lib.steps.declared import left_loose, nothing_to_do

    name_project(prisma_project)
    loaded = load_phase(phase)
    say(
        f"{loaded.id}: {len(loaded.targets)} targets, {len(loaded.tables)} tables, {len(loaded.enums)} enums, "
        f"{len(loaded.indexes)} indexes, {sum(len(s.rows) for s in loaded.seeds)} seed rows, "
        f"{len(loaded.routes)} routes, {len(loaded.checklist)} checklist items"
    )
    for step, why in nothing_to_do(loaded).items():
        say(f"{step} has nothing to do: {why}")
    for sentence in left_loose(loaded):
        say(sentence)
    code = _ask_services(loaded) if service else 0
    if reason := waits_in(loaded.folder / "phase.toml"):
        say(f"{reason}: its plan is red until then")
        code = 1
    then = shlex.join(["phase", "check", phase, *["--service"] * service] if code else ["run", phase])
    say(f"next: runbooks {then}{_naming(prisma_project)}")
    context.exit(code)


def _ask_services(phase: Phase) -> int:
    """Print what does not pass at the phase's services; return 1 when any of it closes a gate, else 0."""
    from collections import Counter

    from runbooks_lib.findings import CLOSING, Verdict
    from runbooks_lib.postgres.session.connect import Sessions
    from runbooks_lib.steps import preflight
    from runbooks_lib.steps.scratch_servers import check_extensions

    with Sessions(phase.targets, application_name="runbooks phase check") as sessions:
        found = list(preflight.targets(phase, sessions).findings)
        if not any(each.verdict in CLOSING for each in found):  # else each of the others would say the same
            found += preflight.privileges(phase, sessions).findings
            found += check_extensions(phase, sessions)
            found += preflight.schema(phase, sessions).findings
    for each in found:
        if each.verdict not in (Verdict.PASS, Verdict.SKIP):
            say(
                f"{each.verdict} {each.check} {each.target} {each.object}: {each.have} (expected: {each.want})"
            )
            say(f"  {each.hint}")
    counted = Counter(each.verdict for each in found)
    say(", ".join(f"{counted[verdict]} {verdict}" for verdict in Verdict if counted[verdict]))
    return 1 if any(each.verdict in CLOSING for each in found) else 0


@phase.command(
    epilog=examples("runbooks phase diff phases/ORDERS", "runbooks phase diff phases/ORDERS phases/SHOP")
)
@click.argument("one", shell_complete=complete_phase)
@click.argument("other", required=False, shell_complete=complete_phase)
@click.option(
    "--prisma-project", metavar="DIR", help="The Prisma project [RUNBOOKS_PRISMA_PROJECT, else this folder]."
)
@click.pass_context
def diff(context: click.Context, one: str, other: str | None, prisma_project: str | None) -> None:
    """Name what two phases assert differently, by its key; OTHER is, unless named, a draft of the database today.

    Values are compared, not texts: comments, prose and order are no difference. Exit code 1 when there is one.
    """
    from runbooks_lib.drafting.phase_diff import compare_phases, compare_with_draft
    from runbooks_lib.phase import load_phase
    from runbooks_lib.prisma.named import name_project

    name_project(prisma_project)
    first = load_phase(one)
    changes = compare_phases(first, load_phase(other)) if other else compare_with_draft(first)
    for each in changes:
        was, now = ("nothing" if value is None else value for value in (each.was, each.now))
        say(f"{each.key}: {was} -> {now}")
    if not changes:
        say("Both assert the same.")
    context.exit(1 if changes else 0)


@phase.command(epilog=examples("runbooks phase upgrade phases/ORDERS/phase.toml --write"))
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--write", is_flag=True, help="Write it to FILE; without it the new text is printed.")
def upgrade(file: Path, write: bool) -> None:
    """Rewrite FILE, a phase.toml of an older version, as one of today's that means the same; comments are kept."""
    from runbooks_lib.archive.files import write_bytes
    from runbooks_lib.given import text_of
    from runbooks_lib.phase import SPEC_VERSION, load_phase
    from runbooks_lib.phase.upgrade import upgraded

    load_phase(str(file))  # names its mistakes: what is wrong is not rewritten
    old = text_of(file.read_bytes())
    new = upgraded(old)
    if not write:
        say_lines("\n".join(new.splitlines()) + "\n")
    elif new == old:
        say(f"{file} is of today's version already.")
    else:
        write_bytes(file.resolve(), new.encode())
        say(f"{file} is of spec_version {SPEC_VERSION} now, and means what it meant.")


@phase.command(epilog=examples("runbooks phase baseline --prisma-project ../shop > baseline.sql"))
@click.option(
    "--prisma-project",
    metavar="DIR",
    help="The Prisma project, or its migrations folder [RUNBOOKS_PRISMA_PROJECT, else this folder].",
)
@click.option(
    "--only", metavar="MIGRATION", multiple=True, help="Only this migration; may be given several times."
)
@click.option("--squash", is_flag=True, help="Only what all of them make in the end, for an empty database.")
@click.option(
    "--concurrently",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="Write the indexes into FILE, to be built CONCURRENTLY; those stay that others hang on.",
)
def baseline(
    prisma_project: str | None, only: tuple[str, ...], squash: bool, concurrently: Path | None
) -> None:
    """Print migrations as one idempotent script, for a phase's [baseline].

    Each statement gets a form that does nothing where it is done already. What can't be told by the catalogue, such as
    a change of rows, is left over: it stands in the script as a comment, and on stderr. With --squash the migrations
    run in a scratch server, and the script is proved there: it makes the schema that they make, and does it once.
    """
    from runbooks_lib.drafting.apart import Apart
    from runbooks_lib.drafting.baseline import write_baseline
    from runbooks_lib.drafting.squash import squash as squashed
    from runbooks_lib.errors import PreconditionFailed
    from runbooks_lib.prisma.history import read_scripts

    if squash and only:
        raise click.UsageError("--squash is of all migrations: leave --only out.")
    if squash and concurrently:
        raise click.UsageError(
            "--squash is for an empty database, where nobody writes: leave --concurrently out."
        )
    if concurrently and concurrently.exists():
        raise PreconditionFailed(
            f"{concurrently} is there already.", "Name a file that is not: nothing is written over."
        )
    (scripts, schema), which = read_scripts(prisma_project), Apart.ALL if concurrently else Apart.NONE
    if squash and schema != "public":
        raise PreconditionFailed(
            f"The project's address names the schema {schema}, and --squash writes what is in public.",
            "Leave --squash out: then each migration is written for that schema.",
        )
    written = (
        squashed(scripts)
        if squash
        else write_baseline(scripts, only or None, concurrently=which, schema=schema)
    )
    say_lines(written.sql)
    if concurrently and written.indexes:
        concurrently.write_text(written.indexes, encoding="utf-8")
        say(f"{concurrently}: the indexes; name it in the phase: [baseline] concurrently.", err=True)
    done = written.statements - len(written.left)
    say(f"{done} of {written.statements} statements written.", err=True)
    for left in written.left:
        say(
            f"left over: {left.migration}, line {left.line}, {left.words}: {left.why}. {left.by_hand}",
            err=True,
        )


@phase.command(
    epilog=examples("runbooks phase draft --service shop --prisma-project ../shop --out phases/SHOP")
)
@click.option("--service", metavar="NAME", required=True, help="The libpq service of the database.")
@click.option(
    "--prisma-project", metavar="DIR", help="The Prisma project [RUNBOOKS_PRISMA_PROJECT, else this folder]."
)
@click.option(
    "--seed",
    metavar="TABLE[:COLUMN=VALUE]",
    multiple=True,
    help="Rows that must be there: a table's, or a tenant's of it; may be given several times.",
)
@click.option(
    "--out", metavar="DIR", required=True, help="The folder that is made; its name is the phase's id."
)
@click.option(
    "--repair", metavar="WHY", default="", help="Make anew what is missing of a recorded migration."
)
@click.option(
    "--concurrently",
    is_flag=True,
    help="Have every index that is missing built CONCURRENTLY, where it can be.",
)
def draft(
    service: str, prisma_project: str | None, seed: tuple[str, ...], out: str, repair: str, concurrently: bool
) -> None:
    """Write a phase for a database: phase.toml, baseline.sql where something is missing, seed rows as CSV.

    What is expected is what the project's migrations make; the database is only looked at, and nothing is written to
    it. REVIEW marks in the file what a person has to decide.
    """
    from runbooks_lib.drafting.apart import Apart
    from runbooks_lib.drafting.phase_draft import draft_phase
    from runbooks_lib.drafting.seed_rows import read_wish
    from runbooks_lib.prisma.named import name_project

    name_project(prisma_project)
    wishes, which = [read_wish(each) for each in seed], Apart.ALL if concurrently else Apart.KEPT
    drafted = draft_phase(service, Path(out), wishes, repair=repair, concurrently=which)
    for what, count in sorted(drafted.becomes.items()):
        say(f"migrations: {count}: {what}")
    say(f"{out}: {drafted.lines} lines. Look for REVIEW in it.")
    say(f"next: runbooks phase check {shlex.quote(out)} --service{_naming(prisma_project)}")


def _naming(prisma_project: str | None) -> str:
    return f" --prisma-project {shlex.quote(prisma_project)}" if prisma_project else ""


@phase.command(name="list", epilog=examples("runbooks phase list", "runbooks phase list phases"))
@click.argument("folder", required=False)
def list_(folder: str | None) -> None:
    """Name the phases that are shipped, and those in FOLDER."""
    from runbooks_lib.errors import SpecError
    from runbooks_lib.phase import load_phase, shipped_ids

    beside = sorted(each.parent for each in Path(folder).glob("*/phase.toml")) if folder else []
    for ref in (*shipped_ids(), *map(str, beside)):
        try:
            say(f"{ref}: {load_phase(ref).title.in_('en')}")
        except SpecError as error:
            say(f"{ref}: {error.what_happened.splitlines()[0]}")
