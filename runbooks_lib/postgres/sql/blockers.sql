-- What would make a later step wait: old transactions, locks on the declared tables, prepared transactions.
-- %(tables)s: the tables' names as to_regclass() reads them; %(old_s)s: seconds from which a transaction is old.
-- Autovacuum gives its locks up to whoever waits for them, but for one that prevents a wraparound.
SELECT 'transaction' AS kind, a.pid::text AS id, a.usename AS owner, coalesce(a.application_name, '') AS application,
       extract(epoch FROM clock_timestamp() - a.xact_start)::float8 AS age_s, left(coalesce(a.query, ''), 120) AS detail
FROM pg_stat_activity a
WHERE a.datname = current_database() AND a.pid <> pg_backend_pid()
  AND a.backend_type = 'client backend'
  AND a.xact_start < clock_timestamp() - make_interval(secs => %(old_s)s)
UNION ALL
SELECT 'lock', l.pid::text, a.usename, coalesce(a.application_name, ''),
       extract(epoch FROM clock_timestamp() - a.xact_start)::float8, l.mode || ' on ' || l.relation::regclass::text
FROM pg_locks l JOIN pg_stat_activity a ON a.pid = l.pid
WHERE l.locktype = 'relation' AND l.granted AND l.pid <> pg_backend_pid()
  AND (a.backend_type <> 'autovacuum worker' OR a.query LIKE '%%(to prevent wraparound)%%')
  AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
  AND l.mode IN ('ShareUpdateExclusiveLock', 'ShareLock', 'ShareRowExclusiveLock', 'ExclusiveLock', 'AccessExclusiveLock')
  AND l.relation = ANY (SELECT to_regclass(name) FROM unnest(%(tables)s::text[]) AS declared (name))
UNION ALL
SELECT 'prepared transaction', p.gid, p.owner, '', extract(epoch FROM clock_timestamp() - p.prepared)::float8, ''
FROM pg_prepared_xacts p
WHERE p.database = current_database()
ORDER BY 5 DESC NULLS LAST
