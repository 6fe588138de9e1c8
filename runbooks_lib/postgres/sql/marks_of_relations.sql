-- For each relation with columns and each domain: a mark that is another one when a row is made, written or removed
-- from which its columns, constraints and indexes are printed. Each statement in between has a transaction of its own.
WITH own AS MATERIALIZED (
    SELECT c.oid, n.nspname AS schema, c.relname AS name, c.xmin::text::bigint AS written
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE c.oid >= 16384 AND c.relkind IN ('r', 'p', 'v', 'm', 'f')
      AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
    UNION ALL
    SELECT t.oid, n.nspname, t.typname, t.xmin::text::bigint
    FROM pg_type t JOIN pg_namespace n ON n.oid = t.typnamespace
    WHERE t.oid >= 16384 AND t.typtype = 'd' AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
), part (oid, written) AS (
    SELECT oid, written FROM own
    UNION ALL
    SELECT c.oid, t.xmin::text::bigint FROM pg_class c JOIN pg_class t ON t.oid = c.reltoastrelid WHERE c.oid >= 16384
    UNION ALL
    SELECT attrelid, xmin::text::bigint FROM pg_attribute WHERE attrelid >= 16384 AND attnum > 0
    UNION ALL
    SELECT adrelid, xmin::text::bigint FROM pg_attrdef WHERE adrelid >= 16384
    UNION ALL
    SELECT greatest(conrelid, contypid), xmin::text::bigint FROM pg_constraint WHERE oid >= 16384
    UNION ALL
    SELECT indrelid, xmin::text::bigint FROM pg_index WHERE indrelid >= 16384
    UNION ALL
    SELECT x.indrelid, i.xmin::text::bigint
    FROM pg_index x JOIN pg_class i ON i.oid = x.indexrelid WHERE x.indrelid >= 16384
)
SELECT own.oid, own.schema, own.name, parts.written, parts.number
FROM own JOIN (SELECT oid, max(written) AS written, count(*) AS number FROM part GROUP BY oid) AS parts USING (oid)
