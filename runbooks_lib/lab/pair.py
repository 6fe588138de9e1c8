"""The lab's two servers: a leader, and a hot standby that streams from it."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from runbooks_lib.errors import LabError
from runbooks_lib.lab.initial_state import REPLICATION, REPLICATOR, SLOT, LeaderTemplate
from runbooks_lib.postgres.scratch.cluster import Cluster, copy_data
from runbooks_lib.postgres.scratch.processes import POLL_S
from runbooks_lib.postgres.scratch.programs import ServerPrograms
from runbooks_lib.postgres.scratch.storage import write_private

STREAMING_TIMEOUT_S = 30.0
# A commit of its own is flushed whole; what others have written so far may end in the middle of a record.
MARK = "SELECT pg_logical_emit_message(true, 'runbooks lab', '')::text"
CAUGHT_UP = """
    SELECT coalesce(bool_or(state = 'streaming' AND replay_lsn >= %s::pg_lsn), false)
    FROM pg_stat_replication
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """Leader and standby; `passfile` is the caller's, with the superuser's password in it."""

    leader: Cluster
    replica: Cluster
    passfile: Path

    @classmethod
    def of(
        cls, *, programs: ServerPrograms, home: Path, leader_port: int, replica_port: int, passfile: Path
    ) -> Pair:
        """Return the pair whose data lies in `home`, whether it runs or not."""
        return cls(
            leader=Cluster(programs=programs, home=home, name="leader", port=leader_port),
            replica=Cluster(programs=programs, home=home, name="replica", port=replica_port),
            passfile=passfile,
        )

    def start(self, template: LeaderTemplate) -> None:
        """Start both from copies of the template and wait until the standby has caught up.

        A copy of a cleanly stopped leader is a base backup: the standby needs no other.

        Raises LabError, PortTaken among them.
        """
        copy_data(template.data, [self.leader.data, self.replica.data])
        self.leader.configure(REPLICATION)
        self.replica.configure({**REPLICATION, **self._standby_settings(template.passwords()[REPLICATOR])})
        write_private(self.replica.data / "standby.signal", "", self.replica.programs.account)
        self.leader.start()
        self.replica.start()
        self.leader.wait_ready()
        self.replica.wait_ready()
        self.wait_streaming()

    def wait_streaming(self) -> None:
        """Wait until the standby streams and has replayed all that the leader wrote until now.

        Raises LabError when it does not.
        """
        deadline = time.monotonic() + STREAMING_TIMEOUT_S
        with self.leader.connect("postgres", passfile=str(self.passfile)) as connection:
            mark = connection.execute(MARK).fetchone()
            while time.monotonic() < deadline:
                if connection.execute(CAUGHT_UP, mark).fetchone() == (True,):
                    return
                time.sleep(POLL_S)
        raise LabError(f"The lab's standby does not stream from its leader; see {self.replica.log}.")

    def is_ready(self) -> bool:
        """Tell whether both let clients in."""
        return self.leader.is_ready() and self.replica.is_ready()

    def stop(self) -> None:
        """Stop both, at the same time. Raises LabError when one cannot be ended."""
        self.leader.begin_stop()
        self.replica.begin_stop()
        self.leader.stop()
        self.replica.stop()

    def _standby_settings(self, password: str) -> Mapping[str, str]:
        """Return the standby's settings; the replicator's password goes to a file of the servers' account."""
        passfile = self.replica.home / "replicator.pgpass"
        line = f"127.0.0.1:{self.leader.port}:*:{REPLICATOR}:{password}\n"
        write_private(passfile, line, self.replica.programs.account)
        conninfo = (
            f"host=127.0.0.1 port={self.leader.port} user={REPLICATOR} passfile='{passfile}' "
            "sslmode=disable application_name=replica"
        )
        return {"primary_conninfo": conninfo, "primary_slot_name": SLOT}
