-- Which types do names lead to? %(schemas)s and %(names)s: pairs, '' for no schema, which is pg_catalog, then %(schema)s.
-- `safe`: one of PostgreSQL's own that means the same everywhere, or an enum: reading a value of it runs nobody's code.
SELECT DISTINCT ON (w.schema, w.name) w.schema AS asked_schema, w.name, n.nspname AS schema,
  t.typtype = 'e' OR (t.oid < 16384 AND n.nspname = 'pg_catalog' AND t.typtype IN ('b', 'r', 'm')
                      AND t.typname NOT LIKE 'reg%%') AS safe
FROM ROWS FROM (unnest(%(schemas)s::text[]), unnest(%(names)s::text[])) AS w (schema, name)
JOIN pg_type t ON t.typname = w.name
JOIN pg_namespace n ON n.oid = t.typnamespace
WHERE n.nspname = w.schema OR (w.schema = '' AND n.nspname IN ('pg_catalog', %(schema)s))
ORDER BY w.schema, w.name, n.nspname = 'pg_catalog' DESC
