"""Declared rows in a file: what was found of them is counted, by tenant where there is one, and the first are named."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

from runbooks_lib.checks import Check
from runbooks_lib.findings import Finding, Verdict
from runbooks_lib.phase import Phase, Seeds
from runbooks_lib.phase.seed_file import SeedFile
from runbooks_lib.postgres.session.connect import Sessions
from runbooks_lib.steps.seed_merge import Comparison, NotSorted
from runbooks_lib.steps.seed_source import Declared, Tally, Tenant
from runbooks_lib.temporary import temporary_folder


def all_missing(phase: Phase, seeds: Seeds) -> dict[Tenant, Tally]:
    """Return what there is to say of a table that is still to come: every row of the file is missing."""
    declared = sum(1 for _ in SeedFile(phase.folder / str(seeds.file)).records())
    return {None: Tally(declared=declared, counts=Counter(missing=declared), named={"missing": ["all"]})}


def undeclared(tallies: Mapping[Tenant, Tally]) -> str:
    """Say which rows nobody declared; empty when there are none."""
    return "; ".join(words for tally in tallies.values() if (words := tally.words("unexpected")))


def judge_rows(target: str, seeds: Seeds, tenant: Tenant, tally: Tally) -> Finding:
    """Judge the declared rows of a tenant, or all of a table."""
    as_declared = f"{tally.declared:,} rows as declared"
    wrong = tally.words(*(kind for kind in tally.counts if kind != "unexpected"))
    return Finding(
        check=Check.SEED_ROWS_ARE,
        target=target,
        object=seeds.table if tenant is None else f"{seeds.table}[{tenant}]",
        have=wrong or as_declared,
        want=as_declared,
        verdict=Verdict.FAIL if wrong else Verdict.PASS,
        hint=f"Compare with {seeds.file}: restore the rows, or correct the file." if wrong else "",
    )


def look(phase: Phase, sessions: Sessions, target: str, seeds: Seeds) -> dict[Tenant, Tally]:
    """Compare a target's table with the file of `seeds`; return what was found, per tenant where there is one.

    Reads table and file; writes nothing but temporary files. With more than MOST_TENANTS tenants all rows are told
    together. Raises SpecError when the file is not what it should be, PreconditionFailed when the table lacks what it
    declares, ConnectionFailed when it can't be read.
    """
    with temporary_folder("seeds") as folder:
        for sorted_by_us in (False, True):
            try:
                with sessions.snapshot(target) as conn:
                    declared = Declared(phase, seeds, conn)
                    records = declared.file.records()
                    if sorted_by_us:
                        records = declared.file.sorted_records(declared.order, folder)
                    return Comparison(declared, conn, folder).run(records)
            except NotSorted:
                continue
        raise AssertionError("a sorted file is sorted")
