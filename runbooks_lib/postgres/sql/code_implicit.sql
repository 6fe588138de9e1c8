-- What runs without being named in a statement? Event triggers, users' operators and casts, and checks and defaults of domains.
-- A row: `how`, its `part`, the function, or the `text` of expressions.
SELECT 'event trigger' AS how, e.evtname AS part, n.nspname AS function_schema, p.proname AS function_name, NULL AS text
FROM pg_event_trigger e JOIN pg_proc p ON p.oid = e.evtfoid JOIN pg_namespace n ON n.oid = p.pronamespace
WHERE e.evtenabled IN ('O', 'A')
UNION ALL
SELECT 'operator', o.oprname, n.nspname, p.proname, NULL
FROM pg_operator o JOIN pg_proc p ON p.oid = o.oprcode JOIN pg_namespace n ON n.oid = p.pronamespace
WHERE o.oprnamespace <> 'pg_catalog'::regnamespace AND n.nspname <> 'pg_catalog'
UNION ALL
SELECT 'cast', format('%s to %s', c.castsource::regtype, c.casttarget::regtype), n.nspname, p.proname, NULL
FROM pg_cast c JOIN pg_proc p ON p.oid = c.castfunc JOIN pg_namespace n ON n.oid = p.pronamespace
JOIN pg_language l ON l.oid = p.prolang
WHERE n.nspname <> 'pg_catalog' AND l.lanname NOT IN ('c', 'internal')
UNION ALL
SELECT 'domain', t.typname, NULL, NULL,
       concat_ws(', ', pg_get_expr(t.typdefaultbin, 0),
                 (SELECT string_agg(pg_get_expr(c.conbin, 0), ', ') FROM pg_constraint c
                  WHERE c.contypid = t.oid AND c.contype = 'c'))
FROM pg_type t JOIN pg_namespace n ON n.oid = t.typnamespace
WHERE t.typtype = 'd' AND n.nspname NOT IN ('pg_catalog', 'information_schema')
  AND (t.typdefaultbin IS NOT NULL OR EXISTS (SELECT FROM pg_constraint c WHERE c.contypid = t.oid AND c.contype = 'c'))
