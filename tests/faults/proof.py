"""What each row of the campaign asserts: nothing lost, nothing green that was not done, cause and next step told."""

from __future__ import annotations

import json
import re
import subprocess
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from runbooks_lib.archive.seal.verify import verify
from runbooks_lib.lab.lab import Lab
from runbooks_lib.postgres.binaries import clean_environment
from runbooks_lib.postgres.dump.clients import choose, find_clients
from runbooks_lib.postgres.scratch.cluster import SUPERUSER, Cluster

DATABASES = ("keybuzz", "keybuzz_backend")
GREEN = ("PASS", "OPEN")


def dumps(lab: Lab, *databases: str, of: Cluster | None = None) -> dict[str, str]:
    """Return what pg_dump says of databases of the lab's leader (or `of` another server): schema and rows."""
    server = of or lab.leader
    address, client = server.address(), choose(find_clients(), server.programs.major)
    env = clean_environment(
        {
            "PGHOST": address["host"],
            "PGPORT": address["port"],
            "PGUSER": SUPERUSER,
            "PGPASSFILE": lab.env()["PGPASSFILE"],
        }
    )
    return {
        database: subprocess.run(
            [str(client.pg_dump), "--restrict-key=proof", f"--dbname={database}"],
            env=env,
            capture_output=True,
            text=True,
            timeout=120,
            check=True,
        ).stdout
        for database in databases or DATABASES
    }


def require_unchanged(before: Mapping[str, str], after: Mapping[str, str]) -> None:
    """Nothing was written at all: the dumps are the same."""
    for database, dump in before.items():
        changed = set(dump.splitlines()) ^ set(after[database].splitlines())
        assert dump == after[database], f"{database} has changed: {sorted(changed)[:10]}"


def require_nothing_lost(before: Mapping[str, str], after: Mapping[str, str]) -> None:
    """Something may have been added: every line of the dumps before, rows too, is in those after."""
    for database, dump in before.items():
        lost = Counter(dump.splitlines()) - Counter(after[database].splitlines())
        assert not lost, f"{database} has lost {list(lost)[:10]}"


def require_no_green(runs: Path, code: int, *, steps: Iterable[str] = ()) -> None:
    """The command failed, and no run in the archive says otherwise; a folder that verifies says how it ended.

    `steps` are those that may not have passed; without any it is the run as a whole.
    """
    assert code != 0, "exit code 0"
    for header in sorted(runs.glob("*/2*/run.json")):
        said = json.loads(header.read_text("utf-8"))
        assert said["verdict"] not in GREEN, (header.parent.name, said["verdict"])
        assert said["finished_at"] is None, f"{header.parent.name} says that it came to its end"
        for step in steps:
            for record in header.parent.glob(f"*_{step}.json"):
                assert json.loads(record.read_text("utf-8"))["verdict"] not in GREEN, record.name
        found = verify(header.parent)
        assert found.trusted or found.problems, "neither sealed nor refused"


def require_told(text: str, *, cause: str, next_step: str, secrets: Iterable[str] = ()) -> None:
    """What the user is told matches both expressions, and has no traceback and no secret in it."""
    flat = " ".join(text.split())
    assert re.search(cause, flat), f"no cause ({cause}) in: {flat}"
    assert re.search(next_step, flat), f"no next step ({next_step}) in: {flat}"
    assert "Traceback (most recent call last)" not in text, text
    for secret in secrets:
        assert secret not in text


def passwords(lab: Lab) -> list[str]:
    """Return every password of the lab."""
    lines = Path(lab.env()["PGPASSFILE"]).read_text("utf-8").splitlines()
    return [line.rsplit(":", 1)[1] for line in lines]


def findings(runs: Path) -> list[dict[str, Any]]:
    """Return what closed a gate in any run of the archive: findings as they are recorded."""
    return [
        finding
        for record in sorted(runs.glob("*/2*/0*.json"))
        for answer in json.loads(record.read_text("utf-8"))["answers"].values()
        for finding in answer["findings"]
        if finding["verdict"] in ("FAIL", "ERROR")
    ]
