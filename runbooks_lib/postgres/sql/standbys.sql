-- Who receives this server's WAL, and how far is each behind? One row a receiver; pg_stat_replication shows the columns of others to pg_read_all_stats only.
SELECT
    s.application_name AS name,
    host(s.client_addr) AS address,
    pg_wal_lsn_diff(
        CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn() ELSE pg_current_wal_flush_lsn() END, s.replay_lsn
    )::bigint AS lag_bytes
FROM pg_stat_replication AS s
WHERE s.state IS DISTINCT FROM 'backup'
ORDER BY 1, 2
