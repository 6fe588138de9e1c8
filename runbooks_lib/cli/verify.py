"""`runbooks verify` and `runbooks keygen`."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from runbooks_lib.cli.archive import RUNS, where
from runbooks_lib.cli.help import examples
from runbooks_lib.cli.naming import complete_run
from runbooks_lib.cli.terminal import say, say_json

if TYPE_CHECKING:
    from runbooks_lib.archive.seal.verify import Verification


@click.command(
    epilog=examples(
        "runbooks verify latest",
        "runbooks verify runs/PH15/20260107T174759Z-3f9c2a --chain --key runbooks-key.pub",
    )
)
@click.argument("run", shell_complete=complete_run)
@RUNS
@click.option(
    "--key", metavar="PUB", type=click.Path(path_type=Path), help="Public key that must have signed the run."
)
@click.option(
    "--chain", is_flag=True, help="Also verify all other runs of the phase, and that none is missing."
)
@click.option(
    "--head",
    metavar="SHA256",
    help="Digest of the newest run's manifest, kept from an earlier --chain: that run must still be there.",
)
@click.option(
    "--since", metavar="RUN", help="The oldest run that must be there: `runs prune` deleted those before it."
)
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON on stdout.")
def verify(
    run: str,
    folder: str | None,
    key: Path | None,
    chain: bool,
    head: str | None,
    since: str | None,
    as_json: bool,
) -> None:
    """Verify that a RUN is sealed and whole, and that its files tell one story; needs no server.

    RUN is a folder or URL, an id, the beginning of an id, or latest. Each file that was changed, added, removed or
    reordered is named, each cell that was not executed in order, code that is not the shipped notebooks', records that
    say something else than the notebooks show. Ends with 0 only for a sealed run that is whole, whatever its verdict;
    else with 1.

    A chain cannot show by itself that its newest runs were removed: keep the digest that --chain prints elsewhere,
    and give it to --head the next time.
    """
    from runbooks_lib.archive.seal.verify import verify as judge
    from runbooks_lib.archive.store.remote import located

    if head is not None and not re.fullmatch("[0-9a-f]{64}", head.strip().lower()):
        raise click.UsageError("--head takes the 64 digits (0-9, a-f) that an earlier --chain printed.")
    chain = chain or head is not None or since is not None
    with located(where(run, folder), chain=chain) as path:
        found = judge(path, key=key, chain=chain, head=head and head.strip().lower(), since=since)
    if as_json:
        say_json(as_json_of(found))
    else:
        print_verification(found)
    sys.exit(0 if found.trusted else 1)


@click.command(epilog=examples("runbooks keygen --out ~/.config/runbooks"))
@click.option(
    "--out",
    metavar="DIR",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("."),
    help="Folder to write the two files to; default: this one.",
)
def keygen(out: Path) -> None:
    """Make a pair of ed25519 keys to sign runs with: a private one (mode 0600) and a public one, in PEM.

    Overwrites nothing. Point RUNBOOKS_SIGNING_KEY at the private one, and give the public one to whoever verifies.
    """
    from runbooks_lib.archive.seal.keys import generate

    for path in generate(out.absolute()):
        say(path)


def as_json_of(found: Verification) -> dict[str, Any]:
    """Return what `--json` prints of a verification."""
    from runbooks_lib.typed import plain

    manifest = plain(found.manifest) or {}
    return {
        "run": found.folder.name,
        "folder": str(found.folder),
        "trusted": found.trusted,
        **{name: manifest.get(name) for name in ("phase", "verdict", "complete", "sealed_at")},
        "mode": found.mode,
        "signed_by": found.signed_by,
        "chain": plain(found.chain),
        "problems": plain(found.problems),
        "notes": found.notes,
    }


def print_verification(found: Verification) -> None:
    """Print what was found out: what it is, each problem, each note, and whether it can be trusted."""
    from runbooks_lib.amounts import counted

    name = found.folder.name
    if found.manifest is not None:
        state = "complete" if found.manifest.complete else "stopped before its end"
        said = f"{found.manifest.phase} {found.mode or '-'}, {state}, verdict {found.manifest.verdict}"
        say(f"{name}  {said}, sealed {found.manifest.sealed_at}")
    for problem in found.problems:
        say(f"  {problem.kind:14} {problem.where}: {problem.what}")
    for note in found.notes:
        say(f"  note: {note}")
    if found.chain:
        say(
            f"  chain of {len(found.chain.runs)}, the newest {found.chain.runs[-1]}, "
            f"its manifest {found.chain.head}: keep this digest elsewhere, for --head"
        )
    signed = f", signed with key {found.signed_by}" if found.signed_by else ""
    if found.trusted:
        say(f"{name} is sealed and whole{signed}")
    elif found.manifest is None and [p.kind for p in found.problems] == ["incomplete"]:
        say(f"{name} is incomplete")
    else:
        which = f"{name}, or a run in its chain," if found.chain else name
        say(f"{which} cannot be trusted: {counted(len(found.problems), 'problem')}")
