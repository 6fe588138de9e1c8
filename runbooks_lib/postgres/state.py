"""The state of a database in three figures: its catalogue, its row counts, its sequences. Equal before and after?"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from runbooks_lib.postgres.catalog import count_rows, read_catalog, read_sequences
from runbooks_lib.postgres.connect import Connection


def read_state(conn: Connection) -> dict[str, Any]:
    """Read the catalogue's fingerprint, every table's row count and every sequence's value, in plain values.

    Call it inside a transaction. Reads every table: counting takes its time on large ones.
    """
    catalog = read_catalog(conn)
    return {
        "fingerprint": catalog.fingerprint(),
        "rows": count_rows(conn, catalog.tables()),
        "sequences": read_sequences(conn),
    }


def state_in_words(state: Mapping[str, Any]) -> str:
    """Say the catalogue and the row counts in one line, which is equal exactly when both are."""
    rows = state["rows"]
    digest = hashlib.sha256(json.dumps(rows, sort_keys=True).encode()).hexdigest()
    return f"catalogue {state['fingerprint'][:16]}, {sum(rows.values())} rows in {len(rows)} tables ({digest[:8]})"


def moved_sequences(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[str]:
    """Return the sequences whose value changed: no rollback restores them."""
    return [name for name, value in after["sequences"].items() if value != before["sequences"].get(name)]
