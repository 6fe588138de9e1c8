-- Indexes by the definition that PostgreSQL prints; owner is always that of the table.
SELECT
    n.nspname AS schema,
    i.relname AS name,
    c.relname AS relation,
    pg_get_indexdef(x.indexrelid) AS definition,
    x.indisunique AS is_unique,
    x.indisprimary AS is_primary,
    x.indisvalid AND x.indisready AND x.indislive AS is_valid,
    pg_get_userbyid(i.relowner) AS owner,
    CASE WHEN x.indisclustered OR x.indisreplident OR i.reltablespace <> 0
         THEN json_strip_nulls(json_build_object(
             'clustered', nullif(x.indisclustered, false),
             'replica_identity', nullif(x.indisreplident, false),
             'tablespace', (SELECT spcname FROM pg_tablespace WHERE oid = i.reltablespace))) END AS settings
FROM pg_index x
JOIN pg_class i ON i.oid = x.indexrelid
JOIN pg_class c ON c.oid = x.indrelid
JOIN pg_namespace n ON n.oid = i.relnamespace
WHERE n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
ORDER BY n.nspname, i.relname
