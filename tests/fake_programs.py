"""Server programs that say what real ones say, and do nothing."""

from __future__ import annotations

from pathlib import Path


def installation(prefix: Path, version: str, extensions: str) -> Path:
    """Programs that say what real ones say, and the control files of extensions."""
    share = prefix / "share"
    (share / "extension").mkdir(parents=True)
    for name in extensions.split():
        (share / "extension" / f"{name}.control").touch()
    (prefix / "bin").mkdir()
    for program, said in (
        ("postgres", f"postgres (PostgreSQL) {version}"),
        ("initdb", f"VERSION={version}\nshare_path={share}"),
    ):
        (prefix / "bin" / program).write_text(f"#!/bin/sh\nprintf '%s\\n' '{said}'\n")
        (prefix / "bin" / program).chmod(0o755)
    return prefix / "bin"
