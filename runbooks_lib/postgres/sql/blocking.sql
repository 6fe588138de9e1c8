-- Who keeps the session %(pid)s waiting now? pid 0 is a prepared transaction, which has no session.
-- Source: https://www.postgresql.org/docs/current/functions-info.html (pg_blocking_pids)
SELECT DISTINCT blocking.pid, coalesce(a.usename, '') AS role_name, coalesce(a.application_name, '') AS application,
       coalesce(a.state, '') AS state, left(coalesce(a.query, ''), 200) AS query,
       extract(epoch FROM clock_timestamp() - a.xact_start)::float8 AS age_s
FROM unnest(pg_blocking_pids(%(pid)s)) AS blocking (pid)
LEFT JOIN pg_stat_activity a ON a.pid = blocking.pid
ORDER BY age_s DESC NULLS LAST
