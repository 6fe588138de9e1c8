-- Connection slots in use, and the size of this database. One row. Without pg_read_all_stats the sessions of
-- other roles have no backend_type, and are not counted.
SELECT
    (SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend')::integer AS connections,
    current_setting('max_connections')::integer
      - current_setting('superuser_reserved_connections')::integer
      - coalesce(current_setting('reserved_connections', true)::integer, 0) AS usable_connections,
    pg_has_role('pg_read_all_stats', 'USAGE') AS sees_every_session,
    pg_database_size(current_database())::bigint AS database_bytes
