"""The checklist of a phase that declares none: a box for each kind of thing that it does declare."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from runbooks_lib.checks import Check
from runbooks_lib.phase.model import ChecklistItem, Phase
from runbooks_lib.phase.text import Text


class _Box(NamedTuple):
    """A box, the step and the check that tick it, and whether a phase declares what it is about."""

    en: str
    fr: str
    step: str
    check: Check
    declared: Callable[[Phase], object]
    objects: tuple[str, ...] = ()


def _with_data(phase: Phase) -> bool:
    return any(target.data for target in phase.targets.values())


_BOXES = (
    _Box(
        "The schema is as its file makes it",
        "Le schéma est celui que fait son fichier",
        "report",
        Check.MIGRATION_OBJECTS_STAND,
        lambda p: p.schema.file,
        objects=("every object of *",),
    ),
    _Box(
        "The declared tables exist",
        "Les tables déclarées existent",
        "report",
        Check.HAS_TABLE,
        lambda p: p.tables,
    ),
    _Box(
        "The declared enums exist", "Les enums déclarés existent", "report", Check.HAS_ENUM, lambda p: p.enums
    ),
    _Box(
        "The declared indexes exist",
        "Les index déclarés existent",
        "report",
        Check.HAS_INDEX,
        lambda p: p.indexes,
    ),
    _Box(
        "The baseline is applied",
        "La baseline est appliquée",
        "baseline_migration",
        Check.BASELINE_IS_APPLIED,
        lambda p: p.baseline,
    ),
    _Box(
        "Prisma migrate status: up to date",
        "Prisma migrate status : à jour",
        "prisma_resolve",
        Check.PRISMA_IS_UP_TO_DATE,
        lambda p: p.prisma,
    ),
    _Box(
        "The declared rows are present",
        "Les lignes déclarées sont présentes",
        "seed_verification",
        Check.SEED_ROW_IS,
        lambda p: _with_data(p) and any(seeds.rows for seeds in p.seeds),
    ),
    _Box(
        "The rows of the files are present",
        "Les lignes des fichiers sont présentes",
        "seed_verification",
        Check.SEED_ROWS_ARE,
        lambda p: _with_data(p) and any(seeds.file for seeds in p.seeds),
    ),
    _Box(
        "The tables hold as many rows as declared",
        "Les tables ont le nombre de lignes déclaré",
        "seed_verification",
        Check.ROW_COUNT_IS,
        lambda p: _with_data(p) and any(table.rows is not None for table in p.tables),
    ),
    _Box(
        "The declared routes are served",
        "Les routes déclarées sont servies",
        "api_routes",
        Check.ROUTE_IS_SERVED,
        lambda p: p.routes,
    ),
)


def derived(phase: Phase) -> tuple[ChecklistItem, ...]:
    """Return a box for each kind of thing that a phase declares, ticked by the findings that prove it."""
    return tuple(
        ChecklistItem(
            text=Text(by_language={"en": box.en, "fr": box.fr}),
            steps=(box.step,),
            checks=(box.check,),
            objects=box.objects,
        )
        for box in _BOXES
        if box.declared(phase)
    )
