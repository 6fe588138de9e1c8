-- Who is this server, and what is it doing? One row. Any role may run it.
SELECT
    current_database() AS database,
    current_user AS role_name,
    (SELECT system_identifier::text FROM pg_control_system()) AS system_identifier,
    (SELECT timeline_id FROM pg_control_checkpoint()) AS timeline,
    pg_is_in_recovery() AS in_recovery,
    current_setting('server_version') AS server_version,
    current_setting('server_version_num')::integer AS server_version_num,
    (CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn() ELSE pg_current_wal_lsn() END)::text AS lsn,
    current_setting('cluster_name') AS cluster_name,
    current_setting('data_checksums') AS data_checksums
