"""Are the files of a run those that its steps made? Compared with the digests that they recorded then."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from runbooks_lib.archive.manifest import Listed
from runbooks_lib.archive.seal.problem import Kind, Problem
from runbooks_lib.evidence import HEADER, Evidence, step_name
from runbooks_lib.facts.contents import Reports
from runbooks_lib.facts.databases import Dumps, RowsDump
from runbooks_lib.postgres.dump.directory import directory_digest


def recorded_problems(files: Mapping[str, Listed], evidence: Evidence) -> Iterator[Problem]:
    """Yield the files of a run whose SHA-256 is not the one that run.json or the record of a step has for it."""
    dumps = evidence.facts(Dumps).dumps.values()
    reports = evidence.facts(Reports).files.values()
    recorded = {name: (HEADER, digest) for name, digest in evidence.header.digests.items()}
    recorded |= {f"backup/{dump.path}": (_record("backup"), dump.sha256) for dump in dumps}
    recorded |= {report.file: (_record("report"), report.sha256) for report in reports}
    for name, (by, digest) in recorded.items():
        said = f"{by} says that its SHA-256 is {digest}"
        if name not in files:
            yield Problem(Kind.REMOVED, name, said)
        elif files[name].sha256 != digest:
            yield Problem(Kind.CONTRADICTS, name, said)
    for dump in dumps:
        if dump.data:
            yield from _rows_problem(files, dump.data)


def _rows_problem(files: Mapping[str, Listed], data: RowsDump) -> Iterator[Problem]:
    """Yield the problem of a directory with dumped rows: its files are not those whose digest was recorded."""
    name = f"backup/{data.path}"
    inside = {
        path.removeprefix(f"{name}/"): file.sha256
        for path, file in files.items()
        if path.startswith(f"{name}/")
    }
    if not inside or directory_digest(inside) != data.sha256:
        said = f"{_record('backup')} says that the digest of its files is {data.sha256}"
        yield Problem(Kind.CONTRADICTS if inside else Kind.REMOVED, name, said)


def _record(step: str) -> str:
    return f"{step_name(step)}.json"
