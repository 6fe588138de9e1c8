-- Who else carries a runbook out in this database? %(run)s: the id of the run that asks; sessions are named
-- `runbooks STEP RUN`. Whether one is idle is not told of other roles without pg_read_all_stats: then it is at work.
SELECT a.usename AS role_name, a.application_name AS application, split_part(a.application_name, ' ', 3) AS run,
       host(a.client_addr) AS address, min(a.backend_start) AS since, bool_and(a.state = 'idle') IS TRUE AS idle
FROM pg_stat_activity a
WHERE a.datname = current_database() AND a.application_name LIKE 'runbooks %%' AND a.pid <> pg_backend_pid()
  AND split_part(a.application_name, ' ', 3) <> %(run)s
GROUP BY 1, 2, 3, 4
ORDER BY 5
