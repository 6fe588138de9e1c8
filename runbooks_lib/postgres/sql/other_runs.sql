-- Who else carries a runbook out in this database? %(run)s: the id of the run that asks; sessions are named
-- `runbooks STEP RUN`.
SELECT a.usename AS role_name, a.application_name AS application, a.client_addr::text AS address,
       min(a.backend_start) AS since
FROM pg_stat_activity a
WHERE a.datname = current_database() AND a.application_name LIKE 'runbooks %%' AND a.pid <> pg_backend_pid()
  AND split_part(a.application_name, ' ', 3) <> %(run)s
GROUP BY 1, 2, 3
ORDER BY 4
