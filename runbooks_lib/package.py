"""The package itself: its files and their digest, and how a Python of ours starts that imports it and no other."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path

# Of Python's own variables these decide how texts and files are treated, and not what is imported or executed.
_HARMLESS = frozenset(
    {
        "PYTHONHOME", "PYTHONUTF8", "PYTHONIOENCODING", "PYTHONHASHSEED", "PYTHONWARNINGS", "PYTHONNOUSERSITE",
        "PYTHONDONTWRITEBYTECODE", "PYTHONPYCACHEPREFIX",
    }
)  # fmt: skip
DISTRIBUTION = "runbooks-lib"  # what it is installed as; `runbooks` on PyPI is somebody else's
_NOT_OURS = frozenset({"node_modules", "__pycache__", "notebooks"})
# A kernel's working directory is not looked into for modules, and nobody's startup file is executed.
_KERNEL = {"InteractiveShellApp": {"ignore_cwd": True, "exec_PYTHONSTARTUP": False}}


def package() -> Path:
    """Return the folder that the package is imported from."""
    return Path(__file__).parent


def package_files() -> Iterator[Path]:
    """Yield every file of the package, in order; its notebooks have a digest of their own."""
    for parent, folders, names in os.walk(package()):
        folders[:] = sorted(name for name in folders if name not in _NOT_OURS)
        yield from (Path(parent, name) for name in sorted(names) if not name.endswith(".pyc"))


def how_to_add(extra: str) -> str:
    """Return the sentence that says how an extra is installed: from our own files, by no name of an index."""
    return f"Install {DISTRIBUTION} with its extra {extra}; in its checkout: pip install '.[{extra}]'."


@cache
def library_digest() -> str:
    """Return the SHA-256 (hex) over all files of the package: an edited one is another library."""
    digest = hashlib.sha256()
    for path in package_files():
        name = path.relative_to(package()).as_posix()
        digest.update(f"{name} {hashlib.sha256(path.read_bytes()).hexdigest()}\n".encode())
    return digest.hexdigest()


def own_python(env: Mapping[str, str]) -> dict[str, str]:
    """Return an environment in which a Python imports nothing from its working directory, nor what variables name.

    Where the package itself is reached by PYTHONPATH alone, its own place is handed on, and nothing else of that.
    """
    own = {name: value for name, value in env.items() if not name.startswith("PYTHON") or name in _HARMLESS}
    own["PYTHONSAFEPATH"] = "1"
    place = package().parent.resolve()
    named = [Path(entry).resolve() for entry in env.get("PYTHONPATH", "").split(os.pathsep) if entry]
    return {**own, "PYTHONPATH": str(place)} if place in named else own


def own_ipython(folder: Path) -> str:
    """Make a private folder for IPython, with our settings and nobody's startup files; return it for IPYTHONDIR."""
    profile = folder / "profile_default"
    profile.mkdir(mode=0o700, parents=True, exist_ok=True)
    (profile / "ipython_kernel_config.json").write_text(json.dumps(_KERNEL), encoding="utf-8")
    return str(folder)
