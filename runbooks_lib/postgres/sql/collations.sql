-- Collations by which the indexes of this database are sorted and its partitions are told apart: the version that is
-- recorded, and the one of this server's libraries now; both null where there are no versions (C, or musl).
-- `is_told` is false where PostgreSQL records none for the database's own collation, before 15. `relations` are the
-- first %(named)s of those that rely on it, `relied_on_by` is how many there are.
WITH relying (relation, sorted_by) AS (
    SELECT indexrelid, unnest(indcollation::oid[]) FROM pg_index
    UNION SELECT partrelid, unnest(partcollation::oid[]) FROM pg_partitioned_table
), versions AS (
    SELECT k.oid, k.oid::regcollation::text AS name, k.collversion AS recorded, true AS is_told
    FROM pg_collation k WHERE k.collprovider <> 'd'
    UNION ALL
    SELECT k.oid, 'of the database', to_jsonb(d) ->> 'datcollversion',
           current_setting('server_version_num')::integer >= 150000 OR d.datcollate IN ('C', 'POSIX')
    FROM pg_collation k, pg_database d WHERE k.collprovider = 'd' AND d.datname = current_database()
)
SELECT v.name, v.recorded, pg_collation_actual_version(v.oid) AS actual, v.is_told,
       count(*)::integer AS relied_on_by,
       (array_agg(r.relation::regclass::text ORDER BY r.relation::regclass::text))[1:%(named)s] AS relations
FROM relying r
JOIN pg_class c ON c.oid = r.relation
JOIN pg_namespace n ON n.oid = c.relnamespace
JOIN versions v ON v.oid = r.sorted_by
WHERE n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
GROUP BY v.oid, v.name, v.recorded, v.is_told
ORDER BY v.name
