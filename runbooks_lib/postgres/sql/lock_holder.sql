-- Who holds our advisory lock in this database? %(key)s as pg_advisory_lock(bigint) takes it.
SELECT a.pid, a.usename AS role_name, a.application_name AS application, a.client_addr::text AS address,
       coalesce(a.xact_start, a.backend_start) AS since,
       CASE WHEN a.state = 'idle' THEN a.state_change END AS idle_since,
       a.query_start AS asked_at
FROM pg_locks l
JOIN pg_stat_activity a ON a.pid = l.pid
WHERE l.locktype = 'advisory' AND l.granted AND l.objsubid = 1
  AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
  AND (l.classid::bigint << 32 | l.objid::bigint) = %(key)s
