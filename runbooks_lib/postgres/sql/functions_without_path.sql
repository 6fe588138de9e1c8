-- The functions of the session's role that have no search_path of their own: what gives each of them one with every
-- schema, public first, and what takes it away again.
SELECT format('ALTER ROUTINE %s SET search_path = %s', p.oid::regprocedure, path.schemas) AS help,
       format('ALTER ROUTINE %s RESET search_path', p.oid::regprocedure) AS reset
FROM pg_proc p
JOIN pg_language l ON l.oid = p.prolang
CROSS JOIN (SELECT string_agg(quote_ident(nspname), ', ' ORDER BY nspname <> 'public', nspname) AS schemas
              FROM pg_namespace
             WHERE nspname !~ '^pg_' AND nspname <> 'information_schema') AS path
WHERE pg_get_userbyid(p.proowner) = current_user
  AND p.prokind <> 'a' AND l.lanname NOT IN ('c', 'internal')
  AND NOT EXISTS (SELECT FROM unnest(p.proconfig) AS setting WHERE setting LIKE 'search\_path=%')
ORDER BY 1
