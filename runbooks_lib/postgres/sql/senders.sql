-- To whom does this server send WAL, which it wrote or received, and how is it reached itself? One row for each sender, one without if there is none.
-- pg_stat_replication shows its columns to pg_read_all_stats only.
SELECT
    s.pid,
    s.application_name,
    host(s.client_addr) AS client_addr,
    s.flush_lsn::text AS flush_lsn,
    (SELECT slot_name FROM pg_replication_slots WHERE active_pid = s.pid) AS slot_name,
    (CASE
        WHEN pg_is_in_recovery() THEN greatest(pg_last_wal_receive_lsn(), pg_last_wal_replay_lsn())
        ELSE pg_current_wal_lsn()
    END)::text AS current_lsn,
    host(inet_server_addr()) AS own_addr,
    ARRAY[inet_server_port(), current_setting('port')::integer] AS own_ports,
    pg_has_role('pg_read_all_stats', 'USAGE') AS may_see
FROM (VALUES (1)) AS one LEFT JOIN pg_stat_replication AS s ON s.state IN ('streaming', 'catchup') OR s.state IS NULL
