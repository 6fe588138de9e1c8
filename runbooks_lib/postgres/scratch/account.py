"""The account that PostgreSQL servers of ours run as.

PostgreSQL's server programs refuse to run as root. For an ordinary user the
account is that user; for root it is `nobody`, and each child is started as it.
"""

from __future__ import annotations

import os
import pwd
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import TypedDict

from runbooks_lib.errors import PreconditionFailed

UNPRIVILEGED = "nobody"


class Switch(TypedDict, total=False):
    """What subprocess needs to start a child as another account."""

    user: int
    group: int
    extra_groups: list[int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """An account of the operating system; `switched` when it is not the caller's own."""

    uid: int
    gid: int
    switched: bool

    @property
    def name(self) -> str:
        """Return the account's name, or its number where it has none."""
        try:
            return pwd.getpwuid(self.uid).pw_name
        except KeyError:
            return str(self.uid)

    @property
    def switch(self) -> Switch:
        """Arguments for subprocess: empty when the account is the caller's own."""
        return Switch(user=self.uid, group=self.gid, extra_groups=[]) if self.switched else Switch()

    def own(self, path: Path) -> None:
        """Make this account the owner of `path`."""
        if self.switched:
            os.chown(path, self.uid, self.gid)

    def can_enter(self, folder: Path) -> bool:
        """Tell whether this account may pass through `folder` and all folders above it.

        Reads the permission bits only: access lists are not looked at.
        """
        real = folder.resolve()
        return all(self._may_pass(parent.stat()) for parent in (real, *real.parents))

    def _may_pass(self, folder: os.stat_result) -> bool:
        if folder.st_uid == self.uid:
            return bool(folder.st_mode & stat.S_IXUSR)
        if folder.st_gid == self.gid:
            return bool(folder.st_mode & stat.S_IXGRP)
        return bool(folder.st_mode & stat.S_IXOTH)


def server_account() -> Account:
    """Return the account for servers: the caller's, or `nobody` for root.

    Raises PreconditionFailed when root has no such account to switch to.
    """
    if os.geteuid() != 0:
        return Account(uid=os.geteuid(), gid=os.getegid(), switched=False)
    try:
        entry = pwd.getpwnam(UNPRIVILEGED)
    except KeyError as error:
        raise PreconditionFailed(
            f"PostgreSQL does not run as root, and there is no account {UNPRIVILEGED!r} to run it as.",
            "Run this as an ordinary user.",
        ) from error
    return Account(uid=entry.pw_uid, gid=entry.pw_gid, switched=True)
