-- How far is this standby? One row. pg_stat_wal_receiver shows its columns to pg_read_all_stats only.
SELECT
    pg_last_wal_receive_lsn()::text AS receive_lsn,
    pg_last_wal_replay_lsn()::text AS replay_lsn,
    (SELECT status FROM pg_stat_wal_receiver) AS receiver_status,
    pg_has_role('pg_read_all_stats', 'USAGE') AS may_see,
    pg_get_wal_replay_pause_state() <> 'not paused' AS is_paused,
    (SELECT setting::bigint FROM pg_settings WHERE name = 'recovery_min_apply_delay') AS apply_delay_ms,
    extract(epoch FROM clock_timestamp() - pg_last_xact_replay_timestamp())::float8 AS since_last_replay_s
