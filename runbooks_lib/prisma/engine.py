"""Which schema engine Prisma starts: Prisma's own, the one that is named, or our stand-in, and of what that is made."""

from __future__ import annotations

import os
import re
from enum import StrEnum
from pathlib import Path

from runbooks_lib.npm.install import install_packages
from runbooks_lib.prisma.project import PACKAGES, PrismaProject, find_package, package_version

ENGINE_VARIABLE = "PRISMA_SCHEMA_ENGINE_BINARY"
STAND_IN = Path(__file__).with_name("schema-engine.cjs")
ROLLED_BACK_IS_PENDING = (7, 9)  # the first version whose engine takes a rolled-back migration as pending
_WEBASSEMBLY = "@prisma/schema-engine-wasm"
_NEEDED = (_WEBASSEMBLY, "@prisma/adapter-pg", "@prisma/driver-adapter-utils")


class Engine(StrEnum):
    """Which schema engine Prisma starts."""

    NATIVE = "native"
    WEBASSEMBLY = "webassembly"
    NAMED = "named by PRISMA_SCHEMA_ENGINE_BINARY"


def engine_of(project: PrismaProject) -> Engine:
    """Return which engine the project's Prisma starts: Prisma's own where it is installed."""
    if os.environ.get(ENGINE_VARIABLE):
        return Engine.NAMED
    return Engine.NATIVE if project.native_engine else Engine.WEBASSEMBLY


def stand_in_packages(project: PrismaProject) -> Path:
    """Return the folder whose node_modules has what the stand-in needs: the project, else our own.

    Ours is the engine of the project's time, so that it says of a database what the project's own would say.
    """
    if all(find_package(project.folder, name) for name in _NEEDED):
        return project.folder
    return install_packages(PACKAGES[7 if project.version >= ROLLED_BACK_IS_PENDING else 6])


def engine_version(project: PrismaProject) -> tuple[int, ...]:
    """Return the version (major, minor) of Prisma whose engine is started; () where it does not say."""
    if engine_of(project) is not Engine.WEBASSEMBLY:
        return project.version[:2]
    package = find_package(stand_in_packages(project), _WEBASSEMBLY)
    return tuple(map(int, re.findall(r"\d+", package_version(package))[:2])) if package else ()
