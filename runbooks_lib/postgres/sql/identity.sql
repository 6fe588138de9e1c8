-- Who is this server, and what is it doing? One row. Any role may run it; `may_call` has the functions that say more and
-- that this role may execute: managed services keep some of them from their customers.
SELECT
    current_database() AS database,
    current_user AS role_name,
    pg_is_in_recovery() AS in_recovery,
    current_setting('server_version') AS server_version,
    current_setting('server_version_num')::integer AS server_version_num,
    (CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn() ELSE pg_current_wal_lsn() END)::text AS lsn,
    extract(epoch FROM pg_postmaster_start_time())::text AS started,
    current_setting('cluster_name') AS cluster_name,
    current_setting('data_checksums') AS data_checksums,
    CASE WHEN pg_has_role('pg_read_all_settings', 'USAGE') THEN current_setting('data_directory') END AS data_directory,
    (SELECT received_tli FROM pg_stat_wal_receiver) AS received_timeline,
    ARRAY(SELECT f FROM unnest(%(functions)s::text[]) AS f WHERE has_function_privilege(f, 'EXECUTE')) AS may_call
