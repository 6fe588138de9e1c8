-- Which locks does the session %(pid)s hold on relations of this database?
SELECT DISTINCT relation, mode FROM pg_locks
WHERE pid = %(pid)s AND locktype = 'relation' AND granted
  AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
