-- Connection slots in use, and the size of this database. One row.
SELECT
    (SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend')::integer AS connections,
    current_setting('max_connections')::integer
      - current_setting('superuser_reserved_connections')::integer AS usable_connections,
    pg_database_size(current_database())::bigint AS database_bytes
