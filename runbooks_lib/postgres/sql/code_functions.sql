-- Which functions have these names? %(names)s: an array. A built-in one has no body here: its volatility tells.
SELECT n.nspname AS schema, p.proname AS name, l.lanname AS language, p.provolatile AS volatility,
       n.nspname IN ('pg_catalog', 'information_schema') AS built_in,
       CASE WHEN l.lanname IN ('sql', 'plpgsql') THEN coalesce(pg_get_function_sqlbody(p.oid), p.prosrc) END AS body
FROM pg_proc p
JOIN pg_namespace n ON n.oid = p.pronamespace
JOIN pg_language l ON l.oid = p.prolang
WHERE p.proname = ANY(%(names)s)
