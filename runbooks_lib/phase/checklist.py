"""The checklist of a phase that declares none: a box for each thing that it does declare."""

from __future__ import annotations

from runbooks_lib.checks import Check
from runbooks_lib.phase.model import ChecklistItem, Phase
from runbooks_lib.phase.text import Text


def derived(phase: Phase) -> tuple[ChecklistItem, ...]:
    """Return a box for each kind of thing that a phase declares, ticked by the findings that prove it."""
    with_data = any(target.data for target in phase.targets.values())
    counts = with_data and any(table.rows is not None for table in phase.tables)
    boxes = (
        (
            phase.tables,
            "The declared tables exist",
            "Les tables déclarées existent",
            "report",
            Check.HAS_TABLE,
        ),
        (phase.enums, "The declared enums exist", "Les enums déclarés existent", "report", Check.HAS_ENUM),
        (
            phase.indexes,
            "The declared indexes exist",
            "Les index déclarés existent",
            "report",
            Check.HAS_INDEX,
        ),
        (
            phase.baseline,
            "The baseline is applied",
            "La baseline est appliquée",
            "baseline_migration",
            Check.BASELINE_IS_APPLIED,
        ),
        (
            phase.prisma,
            "Prisma migrate status: up to date",
            "Prisma migrate status : à jour",
            "prisma_resolve",
            Check.PRISMA_IS_UP_TO_DATE,
        ),
        (
            with_data and any(seeds.rows for seeds in phase.seeds),
            "The declared rows are present",
            "Les lignes déclarées sont présentes",
            "seed_verification",
            Check.SEED_ROW_IS,
        ),
        (
            with_data and any(seeds.file for seeds in phase.seeds),
            "The rows of the files are present",
            "Les lignes des fichiers sont présentes",
            "seed_verification",
            Check.SEED_ROWS_ARE,
        ),
        (
            counts,
            "The tables hold as many rows as declared",
            "Les tables ont le nombre de lignes déclaré",
            "seed_verification",
            Check.ROW_COUNT_IS,
        ),
        (
            phase.routes,
            "The declared routes are served",
            "Les routes déclarées sont servies",
            "api_routes",
            Check.ROUTE_IS_SERVED,
        ),
    )
    return tuple(
        ChecklistItem(text=Text(by_language={"en": en, "fr": fr}), steps=(step,), checks=(check,))
        for declared, en, fr, step, check in boxes
        if declared
    )
