-- Which functions does a call of one of these names run? %(names)s: an array. Of an aggregate its parts run too.
-- A built-in one has no body here: its volatility tells. `called_in` is the schema that a call names.
WITH called AS (
    SELECT p.oid, n.nspname AS called_in
    FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace
    WHERE p.proname = ANY(%(names)s)
), run AS (
    SELECT oid, called_in FROM called
    UNION
    SELECT part, c.called_in
    FROM called c JOIN pg_aggregate a ON a.aggfnoid = c.oid, unnest(ARRAY[a.aggtransfn, a.aggfinalfn]::oid[]) AS part
)
SELECT r.called_in, n.nspname AS schema, p.proname AS name, l.lanname AS language, p.provolatile AS volatility,
       n.nspname IN ('pg_catalog', 'information_schema') AS built_in,
       EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_proc'::regclass AND d.objid = p.oid AND d.deptype = 'e')
       OR p.prokind = 'a' AS compiled,
       CASE WHEN l.lanname IN ('sql', 'plpgsql') THEN coalesce(pg_get_function_sqlbody(p.oid), p.prosrc) END AS body,
       pg_get_expr(p.proargdefaults, 0) AS defaults
FROM run r
JOIN pg_proc p ON p.oid = r.oid
JOIN pg_namespace n ON n.oid = p.pronamespace
JOIN pg_language l ON l.oid = p.prolang
