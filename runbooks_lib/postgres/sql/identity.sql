-- Who is this server, and what is it doing? One row. Any role may run it.
-- A primary names its timeline in the file that it writes: after a promotion the control file has it only from the
-- next checkpoint on. A standby's is that which it receives; without a receiver, that of its last restart point.
SELECT
    current_database() AS database,
    current_user AS role_name,
    (SELECT system_identifier::text FROM pg_control_system()) AS system_identifier,
    CASE
        WHEN pg_is_in_recovery()
            THEN coalesce((SELECT received_tli FROM pg_stat_wal_receiver), (SELECT timeline_id FROM pg_control_checkpoint()))
        ELSE ('x' || left(pg_walfile_name(pg_current_wal_lsn()), 8))::bit(32)::integer
    END AS timeline,
    pg_is_in_recovery() AS in_recovery,
    current_setting('server_version') AS server_version,
    current_setting('server_version_num')::integer AS server_version_num,
    (CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn() ELSE pg_current_wal_lsn() END)::text AS lsn,
    current_setting('cluster_name') AS cluster_name,
    current_setting('data_checksums') AS data_checksums,
    CASE WHEN pg_has_role('pg_read_all_settings', 'USAGE') THEN current_setting('data_directory') END AS data_directory,
    has_function_privilege('pg_read_file(text, bigint, bigint, boolean)', 'EXECUTE') AS may_read_files
