"""PostgreSQL: guarded sessions, catalogue snapshots, client programs, throw-away clusters."""
