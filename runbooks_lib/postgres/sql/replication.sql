-- How far is this standby? One row. pg_stat_wal_receiver shows its columns to pg_read_all_stats only.
SELECT
    pg_last_wal_receive_lsn()::text AS receive_lsn,
    pg_last_wal_replay_lsn()::text AS replay_lsn,
    (SELECT coalesce(status, 'hidden from this role: it needs pg_read_all_stats') FROM pg_stat_wal_receiver)
      AS receiver_status,
    pg_is_wal_replay_paused() AS is_paused,
    extract(epoch FROM clock_timestamp() - pg_last_xact_replay_timestamp())::float8 AS since_last_replay_s
