-- The commands that take objects out of a database, given as parallel arrays of schemas and names: whatever has one of
-- these names there, with all that hangs on it.
WITH wanted AS (SELECT * FROM unnest(%(schemas)s::text[], %(names)s::text[]) AS w (schema, name))
SELECT format('DROP %%s IF EXISTS %%s CASCADE',
              CASE c.relkind WHEN 'v' THEN 'VIEW' WHEN 'm' THEN 'MATERIALIZED VIEW' WHEN 'S' THEN 'SEQUENCE'
                             WHEN 'f' THEN 'FOREIGN TABLE' WHEN 'c' THEN 'TYPE' ELSE 'TABLE' END, c.oid::regclass) AS command
FROM wanted w JOIN pg_namespace n ON n.nspname = w.schema
JOIN pg_class c ON c.relnamespace = n.oid AND c.relname = w.name AND c.relkind IN ('r', 'p', 'v', 'm', 'S', 'f', 'c')
UNION ALL
SELECT format('ALTER TABLE IF EXISTS %%s DROP CONSTRAINT IF EXISTS %%I CASCADE', k.conrelid::regclass, k.conname)
FROM wanted w JOIN pg_namespace n ON n.nspname = w.schema
JOIN pg_class c ON c.relnamespace = n.oid AND c.relname = w.name AND c.relkind IN ('i', 'I')
JOIN pg_constraint k ON k.conindid = c.oid AND k.contype IN ('p', 'u', 'x')
UNION ALL
SELECT format('DROP INDEX IF EXISTS %%s CASCADE', c.oid::regclass)
FROM wanted w JOIN pg_namespace n ON n.nspname = w.schema
JOIN pg_class c ON c.relnamespace = n.oid AND c.relname = w.name AND c.relkind IN ('i', 'I')
UNION ALL
SELECT format('DROP TYPE IF EXISTS %%s CASCADE', t.oid::regtype)
FROM wanted w JOIN pg_namespace n ON n.nspname = w.schema
JOIN pg_type t ON t.typnamespace = n.oid AND t.typname = w.name AND t.typtype IN ('e', 'd', 'r')
UNION ALL
SELECT format('DROP ROUTINE IF EXISTS %%s CASCADE', p.oid::regprocedure)
FROM wanted w JOIN pg_namespace n ON n.nspname = w.schema
JOIN pg_proc p ON p.pronamespace = n.oid AND p.proname = w.name
