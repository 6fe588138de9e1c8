"""What is open to others of the machine or the network while a lab runs, and what may be brought in with a package."""

from __future__ import annotations

import re
import stat
import tomllib
from pathlib import Path

import psutil

from runbooks_lib.lab.lab import Lab

from .campaign import fault
from .proof import dumps, passwords, require_unchanged

ROOT = Path(__file__).parents[2]


@fault(
    kind="doors",
    fault="somebody on the network looks for the lab's servers",
    injected="every address that a process of the lab listens on",
    seen="loopback alone",
    told="nothing: nobody is reached",
    goes_on="nothing is to be done",
    fast=True,
)
def test_a_lab_listens_on_loopback_alone(lab: Lab) -> None:
    before = dumps(lab)
    ports = {
        lab.leader.port,
        lab.replica.port,
        *(int(lab.env()[name].rpartition(":")[2]) for name in lab.env() if name.endswith("_URL")),
    }
    listening = [
        c.laddr
        for c in psutil.net_connections("tcp")
        if c.status == psutil.CONN_LISTEN and c.laddr.port in ports
    ]
    assert {address.ip for address in listening} == {"127.0.0.1"}
    assert {lab.leader.port, lab.replica.port} <= {address.port for address in listening}
    require_unchanged(before, dumps(lab))


@fault(
    kind="doors",
    fault="another account of the machine looks for a lab's passwords",
    injected="the folders and files of a running lab, its pg_hba.conf, its passwords",
    seen="folders 0700, files of passwords 0600, SCRAM for everybody, a long random password for each role",
    told="nothing: nobody may read them",
    goes_on="nothing is to be done",
    fast=True,
)
def test_a_labs_passwords_are_its_owners(lab: Lab) -> None:
    assert stat.S_IMODE(lab.directory.stat().st_mode) == 0o700
    assert stat.S_IMODE(Path(lab.env()["PGPASSFILE"]).stat().st_mode) == 0o600
    for server in (lab.leader, lab.replica):
        assert stat.S_IMODE(server.data.stat().st_mode) == 0o700
        lines = [
            line.split("#")[0].split()
            for line in (server.data / "pg_hba.conf").read_text("utf-8").splitlines()
        ]
        assert {line[-1] for line in lines if line} == {"scram-sha-256"}
    known = {
        line.split(":")[3]: line.rsplit(":", 1)[1]
        for line in Path(lab.env()["PGPASSFILE"]).read_text("utf-8").splitlines()
    }
    assert len(set(known.values())) == len(known) > 1
    assert min(map(len, passwords(lab))) >= 20
    with lab.admin("postgres") as admin:
        kept = admin.execute("SELECT rolpassword FROM pg_authid WHERE rolpassword IS NOT NULL").fetchall()
    assert all(str(password).startswith("SCRAM-SHA-256$") for (password,) in kept)


@fault(
    kind="doors",
    fault="a package of another content than the one that was locked is offered",
    injected="uv.lock is read",
    seen="each package has a digest, which the installer compares",
    told="by uv: the digest differs",
    goes_on="find out who changed it",
    fast=True,
)
def test_every_locked_package_has_a_digest() -> None:
    lock = tomllib.loads((ROOT / "uv.lock").read_text("utf-8"))
    files = [
        file
        for package in lock["package"]
        for file in (*package.get("wheels", ()), *filter(None, (package.get("sdist"),)))
    ]
    assert len(files) > 100
    assert [file for file in files if not re.fullmatch("sha256:[0-9a-f]{64}", file.get("hash", ""))] == []
