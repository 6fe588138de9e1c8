"""Prisma 7 for tests: installed by npm once in a session (240 MB, about 12 seconds), where it is asked for.

RUNBOOKS_TEST_PRISMA7=1 installs it for these tests; RUNBOOKS_TEST_PRISMA7=FOLDER uses, or fills, that folder.
"""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

from runbooks_lib.npm.node import find_node, find_npm, search_path

VARIABLE = "RUNBOOKS_TEST_PRISMA7"
PACKAGES = {
    "@prisma/adapter-pg": "7.10.0",
    "@prisma/driver-adapter-utils": "7.10.0",
    "@prisma/schema-engine-wasm": "7.10.0-4.0edf323efd1d98336f3f0a68684b56f689b900d3",
    "prisma": "7.10.0",
}


def wanted() -> bool:
    """Return whether tests with Prisma 7 are to run."""
    return bool(os.environ.get(VARIABLE))


def install(empty: Path) -> Path:
    """Return a folder with the node_modules of Prisma 7, without the packages' install scripts."""
    given = os.environ[VARIABLE]
    folder = empty if given == "1" else Path(given).absolute()
    if not (folder / "node_modules" / "prisma").is_dir():
        folder.mkdir(parents=True, exist_ok=True)
        package = {"name": "prisma7", "version": "0.0.0", "private": True, "devDependencies": PACKAGES}
        (folder / "package.json").write_text(json.dumps(package))
        subprocess.run(
            [*map(str, find_npm()), "install", "--ignore-scripts", "--no-audit", "--no-fund"],
            cwd=folder,
            env=os.environ | {"PATH": search_path(find_node())},
            check=True,
        )
    return folder
