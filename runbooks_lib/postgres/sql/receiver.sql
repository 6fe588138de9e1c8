-- From whom does this standby receive WAL? One row, without a status if no receiver runs.
-- pg_stat_wal_receiver shows its columns to pg_read_all_stats only.
SELECT
    r.pid,
    r.status,
    r.received_tli,
    r.slot_name,
    r.sender_host,
    r.sender_port,
    r.flushed_lsn::text AS flushed_lsn,
    nullif(current_setting('cluster_name'), '') AS cluster_name,
    host(inet_server_addr()) AS own_addr,
    pg_has_role('pg_read_all_stats', 'USAGE') AS may_see
FROM (VALUES (1)) AS one LEFT JOIN pg_stat_wal_receiver AS r ON true
