-- Which locks does this transaction hold on relations that others may use, beside those that every reader has?
SELECT n.nspname AS schema, c.relname AS name, l.mode
FROM pg_locks l JOIN pg_class c ON c.oid = l.relation JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE l.pid = pg_backend_pid() AND l.locktype = 'relation' AND l.granted AND l.mode <> 'AccessShareLock'
  AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
  AND n.nspname NOT IN ('pg_catalog', 'pg_toast')
ORDER BY 1, 2, 3
