-- What of the code that a question names is not PostgreSQL's own, or has effects? A row each: `what` and `name`.
-- A name without a schema leads to PostgreSQL's own first, but for arguments that fit another one of that name better:
-- one of that name in %(schema)s is therefore one too many. Casts are used without being named.
SELECT 'function' AS what, f.name
FROM unnest(%(functions)s::text[]) AS f (name)
WHERE NOT EXISTS (SELECT FROM pg_proc p WHERE p.proname = f.name AND p.pronamespace = 'pg_catalog'::regnamespace
                  AND p.oid < 16384)
  OR EXISTS (SELECT FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace
             WHERE p.proname = f.name AND (n.nspname = %(schema)s OR n.nspname = 'pg_catalog' AND p.oid >= 16384))
UNION ALL
SELECT 'volatile', f.name
FROM unnest(%(functions)s::text[]) AS f (name)
WHERE EXISTS (SELECT FROM pg_proc p WHERE p.proname = f.name AND p.pronamespace = 'pg_catalog'::regnamespace
              AND p.provolatile = 'v')
UNION ALL
SELECT DISTINCT 'operator', o.oprname::text
FROM pg_operator o JOIN pg_namespace n ON n.oid = o.oprnamespace JOIN pg_proc p ON p.oid = o.oprcode
WHERE o.oprname = ANY (%(operators)s)
  AND (n.nspname = %(schema)s OR n.nspname = 'pg_catalog' AND (o.oid >= 16384 OR p.provolatile = 'v'))
UNION ALL
SELECT 'cast', format_type(c.castsource, NULL) || ' AS ' || format_type(c.casttarget, NULL)
FROM pg_cast c JOIN pg_proc p ON p.oid = c.castfunc JOIN pg_roles r ON r.oid = p.proowner
WHERE NOT r.rolsuper
