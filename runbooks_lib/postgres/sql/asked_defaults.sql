-- Which of these columns, %(schemas)s, %(tables)s and %(names)s by turns, stand, may hold NULL, and are not known to have been
-- added with their default? A column that is added so says it (`atthasmissing`) until its table is written anew.
SELECT n.nspname AS schema, c.relname AS table, a.attname AS name
FROM ROWS FROM (unnest(%(schemas)s::text[]), unnest(%(tables)s::text[]), unnest(%(names)s::text[]))
  AS w (schema, relation, name)
JOIN pg_namespace n ON n.nspname = w.schema
JOIN pg_class c ON c.relnamespace = n.oid AND c.relname = w.relation AND c.relkind IN ('r', 'p')
JOIN pg_attribute a ON a.attrelid = c.oid AND a.attname = w.name AND a.attnum > 0
WHERE NOT a.attisdropped AND NOT a.attnotnull AND NOT a.atthasmissing
ORDER BY 1, 2, 3
