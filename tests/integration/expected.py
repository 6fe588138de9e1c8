"""What does one of some scripts make? Told from a replay of all of them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from runbooks_lib.postgres.catalog.catalog import Key
from runbooks_lib.postgres.catalog.differences import Described
from runbooks_lib.postgres.scratch.replay import replay
from runbooks_lib.postgres.scratch.replayed import Ran
from runbooks_lib.postgres.scratch.stage import Script
from runbooks_lib.postgres.scratch.surroundings import Surroundings


@dataclass(frozen=True, slots=True, kw_only=True)
class Expected:
    """What one of some scripts makes, changes and removes, and what stands after all of them, as `describe` says it.

    `before` and `made` are the same objects before and after that script; `removed` are those that it drops.
    `stands` is what all scripts together leave behind; `gone` is what one of them made and is not there at the end.
    `ran` says of each script how it ran; `borrowed` is what was taken from a copy of the target because the scripts
    need it; `lacking` is what of the target's surroundings the scratch server does not have, in words.
    `server_version` is that of the scratch server.
    """

    before: Described
    made: Described
    removed: frozenset[Key]
    stands: Described
    gone: frozenset[Key]
    server_version: str
    ran: Mapping[str, Ran] = field(default_factory=dict)
    borrowed: tuple[Key, ...] = ()
    lacking: tuple[str, ...] = ()


def expect(
    scripts: Sequence[Script],
    *,
    owner: str,
    server_major: int,
    like: Surroundings,
    of: str | None = None,
    dump: Path | None = None,
    schema: str = "public",
    servers: frozenset[str] = frozenset(),
    allowed: Iterable[str] = (),
) -> Expected:
    """Replay named scripts; say what one of them does: `of`, by default the last. The rest is as for `replay`."""
    replayed = replay(
        scripts,
        owner=owner,
        server_major=server_major,
        like=like,
        dump=dump,
        schema=schema,
        servers=servers,
        allowed=allowed,
    )
    of = of or (scripts[-1][0] if scripts else None)
    names = [name for name, _ in scripts]
    replayed.look_at(names)
    before, after = (replayed.before(of), replayed.after(of)) if of else (replayed.end, replayed.end)
    seen = set(before).union(after, *map(replayed.before, names))
    changed = {key: value for key, value in after.items() if before.get(key) != value}
    removed = frozenset(set(before) - set(after))
    return Expected(
        before={key: value for key, value in before.items() if key in changed or key in removed},
        made=changed,
        removed=removed,
        stands={key: value for key, value in replayed.end.items() if replayed.start.get(key) != value},
        gone=frozenset(seen - set(replayed.end)),
        server_version=replayed.server_version,
        ran=replayed.ran,
        borrowed=replayed.borrowed,
        lacking=replayed.lacking,
    )
