"""The chain of a phase's runs: each manifest names the one before it, so none can be removed or replaced unnoticed."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from runbooks_lib.archive.manifest import MANIFEST, Sealed, read
from runbooks_lib.archive.seal.problem import Kind, Problem
from runbooks_lib.errors import EvidenceError
from runbooks_lib.evidence import HEADER


def chain(phase_folder: Path, *, since: str | None = None) -> tuple[list[Sealed], list[Problem], list[str]]:
    """Follow the chain of a phase; return its runs in order, what is wrong with it, and the runs not sealed.

    Whether the newest run was removed cannot be seen from the rest: its digest must be kept elsewhere. The run `since`
    may follow one that is not there any more; it must be there itself.
    """
    sealed: list[Sealed] = []
    problems: list[Problem] = []
    unsealed: list[str] = []
    for folder in sorted(path for path in phase_folder.iterdir() if path.is_dir()):
        try:
            sealed.append(read(folder))
        except FileNotFoundError:
            if os.path.lexists(folder / HEADER):
                unsealed.append(folder.name)
        except EvidenceError as error:
            problems.append(Problem(Kind.CHAIN, f"{folder.name}/{MANIFEST}", str(error)))
    sealed.sort(key=lambda each: each.order)
    problems += _link_problems(sealed, phase_folder, since)
    if since is not None and since not in {each.path.name for each in sealed}:
        problems.append(Problem(Kind.CHAIN, phase_folder.name, f"run {since} is missing, or not sealed"))
    return sealed, problems, unsealed


def _link_problems(sealed: list[Sealed], phase_folder: Path, since: str | None) -> Iterator[Problem]:
    by_id = {each.path.name: each for each in sealed}
    for each in sealed:
        name = each.path.name
        if each.content.run != name:
            yield Problem(Kind.CHAIN, name, f"its manifest is that of run {each.content.run}")
        if each.content.phase != phase_folder.name:
            yield Problem(Kind.CHAIN, name, f"its manifest is of phase {each.content.phase}")
        previous = each.content.previous
        if previous is None:
            continue
        before = by_id.get(previous.run)
        if before is None and name == since:
            continue
        if before is None:
            state = "not sealed" if (phase_folder / previous.run).is_dir() else "missing"
            yield Problem(Kind.CHAIN, name, f"run {previous.run}, which it follows, is {state}")
        elif before.sha256 != previous.sha256:
            yield Problem(Kind.CHAIN, previous.run, f"its manifest is not the one that run {name} follows")
        elif before.order[0] >= each.order[0]:
            yield Problem(Kind.CHAIN, name, f"it was sealed before run {previous.run}, which it follows")
    yield from _fork_problems(sealed)


def _fork_problems(sealed: list[Sealed]) -> Iterator[Problem]:
    """Yield runs that follow the same run as another, or none though they are not the first."""
    seen: dict[str | None, str] = {}
    for each in sealed:
        name = each.path.name
        if each.follows in seen:
            what = f"run {each.follows}" if each.follows else "no run"
            yield Problem(Kind.CHAIN, name, f"it follows {what}, and so does run {seen[each.follows]}")
        seen.setdefault(each.follows, name)
