-- Who holds our advisory lock in this database? %(key)s as pg_advisory_lock(bigint) takes it.
SELECT a.pid, a.usename AS role_name, coalesce(a.application_name, '') AS application, a.client_addr::text AS address,
       a.xact_start AS since, extract(epoch FROM clock_timestamp() - a.xact_start)::float8 AS age_s
FROM pg_locks l
JOIN pg_stat_activity a ON a.pid = l.pid
WHERE l.locktype = 'advisory' AND l.granted AND l.objsubid = 1
  AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
  AND (l.classid::bigint << 32 | l.objid::bigint) = %(key)s
