-- What has this very transaction done so far? Its own counters of rows and its own locks, whoever else writes.
-- A row changed takes ROW EXCLUSIVE on its table until the end, and so does nextval or setval on its sequence.
-- Source: https://www.postgresql.org/docs/current/monitoring-stats.html (pg_stat_xact_…), explicit-locking.html
SELECT n.nspname AS schema, c.relname AS name, c.relkind::text AS kind,
       pg_stat_get_xact_tuples_inserted(c.oid) AS inserted,
       pg_stat_get_xact_tuples_updated(c.oid) AS updated,
       pg_stat_get_xact_tuples_deleted(c.oid) AS deleted
FROM pg_locks l
JOIN pg_class c ON c.oid = l.relation
JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE l.pid = pg_backend_pid() AND l.locktype = 'relation' AND l.granted
  AND l.mode NOT IN ('AccessShareLock', 'RowShareLock')
  AND (c.relkind IN ('r', 'p', 'm', 'f') OR c.relkind = 'S' AND l.mode = 'RowExclusiveLock')
  AND n.nspname <> 'pg_catalog'
GROUP BY n.nspname, c.relname, c.relkind, c.oid
UNION ALL
SELECT 'pg_catalog', '', 'c', coalesce(sum(n_tup_ins), 0)::bigint, coalesce(sum(n_tup_upd), 0)::bigint,
       coalesce(sum(n_tup_del), 0)::bigint
FROM pg_stat_xact_sys_tables
WHERE schemaname = 'pg_catalog' AND relname NOT LIKE 'pg_largeobject%'
UNION ALL
SELECT schemaname, relname, 'r', n_tup_ins, n_tup_upd, n_tup_del
FROM pg_stat_xact_sys_tables
WHERE schemaname = 'pg_catalog' AND relname LIKE 'pg_largeobject%'
