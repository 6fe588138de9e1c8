-- Constraints of relations and domains. PostgreSQL 18 also stores NOT NULL here ('n'): columns.sql has it already, and
-- attached.sql what is unusual of it. Of foreign keys that PostgreSQL makes for each partition, on either side, it chooses
-- the names, and no dump has them: who has the parent's has these.
SELECT
    n.nspname AS schema,
    coalesce(c.relname, t.typname) AS relation,
    k.conname AS name,
    k.contype::text AS kind,
    pg_get_constraintdef(k.oid) AS definition,
    k.convalidated AS validated,
    (SELECT array_agg(a.attname::text ORDER BY key.position)
       FROM unnest(k.conkey) WITH ORDINALITY AS key (attnum, position)
       JOIN pg_attribute a ON a.attrelid = k.conrelid AND a.attnum = key.attnum) AS columns,
    k.conrelid <> 0 AND NOT k.conislocal AS inherited
FROM pg_constraint k
LEFT JOIN pg_class c ON c.oid = k.conrelid
LEFT JOIN pg_type t ON t.oid = k.contypid
JOIN pg_namespace n ON n.oid = k.connamespace
WHERE k.contype <> 'n' AND (k.contype <> 'f' OR k.conparentid = 0)
  AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
ORDER BY n.nspname, relation, k.conname
