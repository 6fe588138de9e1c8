-- What runs when rows come into a table, or are read from a view? %(schema)s, %(name)s; its partitions and children too.
-- One row a piece of code: `how` it hangs there, on which `part`, the `place` of a column, the `text` of the
-- expression, and the schema and name of a trigger's function. `events` are pg_trigger.tgtype's bits.
WITH RECURSIVE family AS (
    SELECT c.oid, c.relkind FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE n.nspname = %(schema)s AND c.relname = %(name)s
    UNION
    SELECT c.oid, c.relkind FROM family f JOIN pg_inherits i ON i.inhparent = f.oid JOIN pg_class c ON c.oid = i.inhrelid
)
SELECT 'kind' AS how, f.relkind::text AS part, NULL::int AS place, NULL AS text, NULL AS function_schema, NULL AS function_name,
       NULL::int AS events
FROM family f
UNION ALL
SELECT CASE WHEN a.attidentity <> '' THEN 'identity' WHEN a.attgenerated <> '' THEN 'generated' ELSE 'default' END,
       a.attname, (row_number() OVER (PARTITION BY f.oid ORDER BY a.attnum))::int - 1,
       CASE WHEN a.attidentity = '' THEN coalesce(pg_get_expr(d.adbin, d.adrelid), pg_get_expr(t.typdefaultbin, 0)) END,
       NULL, NULL, NULL
FROM family f
JOIN pg_attribute a ON a.attrelid = f.oid AND a.attnum > 0 AND NOT a.attisdropped
JOIN pg_type t ON t.oid = a.atttypid
LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
WHERE f.relkind IN ('r', 'p', 'f')
UNION ALL
SELECT 'check', c.conname, NULL, pg_get_expr(c.conbin, c.conrelid), NULL, NULL, NULL
FROM family f JOIN pg_constraint c ON c.conrelid = f.oid
WHERE c.contype = 'c'
UNION ALL
SELECT 'index', i.indexrelid::regclass::text, NULL,
       concat_ws(', ', pg_get_expr(i.indexprs, i.indrelid), pg_get_expr(i.indpred, i.indrelid)), NULL, NULL, NULL
FROM family f JOIN pg_index i ON i.indrelid = f.oid
WHERE i.indexprs IS NOT NULL OR i.indpred IS NOT NULL
UNION ALL
SELECT 'policy', p.polname, NULL,
       concat_ws(', ', pg_get_expr(p.polqual, p.polrelid), pg_get_expr(p.polwithcheck, p.polrelid)), NULL, NULL, NULL
FROM family f JOIN pg_policy p ON p.polrelid = f.oid
UNION ALL
SELECT 'trigger', t.tgname, NULL, NULL, n.nspname, p.proname, t.tgtype::int
FROM family f
JOIN pg_trigger t ON t.tgrelid = f.oid AND NOT t.tgisinternal AND t.tgenabled IN ('O', 'A')
JOIN pg_proc p ON p.oid = t.tgfoid JOIN pg_namespace n ON n.oid = p.pronamespace
UNION ALL
SELECT 'view', '', NULL, pg_get_viewdef(f.oid), NULL, NULL, NULL
FROM family f
WHERE f.relkind = 'v'
