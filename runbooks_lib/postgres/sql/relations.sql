-- Tables, partitioned tables, views, materialized views, foreign tables and sequences outside the system schemas.
-- `settings` is what is seldom set, null where nothing of it is.
SELECT
    n.nspname AS schema,
    c.relname AS name,
    c.relkind::text AS kind,
    pg_get_userbyid(c.relowner) AS owner,
    c.relpersistence::text AS persistence,
    c.relrowsecurity AS row_security,
    CASE WHEN t.reloptions IS NULL THEN c.reloptions
         ELSE c.reloptions || ARRAY(SELECT 'toast.' || o FROM unnest(t.reloptions) AS o) END AS options,
    concat_ws(' ', pg_get_partkeydef(c.oid), pg_get_expr(c.relpartbound, c.oid)) AS partition,
    CASE WHEN c.relforcerowsecurity OR c.relreplident <> 'd' AND c.relkind IN ('r', 'p', 'm') OR c.reloftype <> 0 OR c.reltablespace <> 0
              OR c.relam NOT IN (0, 2) AND c.relkind <> 'S' OR NOT c.relispopulated -- 2 is heap
         THEN json_strip_nulls(json_build_object(
             'force_row_security', nullif(c.relforcerowsecurity, false),
             'replica_identity', CASE WHEN c.relkind IN ('r', 'p', 'm')
                                     THEN CASE c.relreplident WHEN 'f' THEN 'full' WHEN 'i' THEN 'index' WHEN 'n' THEN 'nothing' END END,
             'of_type', CASE WHEN c.reloftype <> 0 THEN c.reloftype::regtype::text END,
             'access_method', (SELECT amname FROM pg_am WHERE oid = c.relam AND amname <> 'heap' AND c.relkind <> 'S'),
             'tablespace', (SELECT spcname FROM pg_tablespace WHERE oid = c.reltablespace),
             'not_populated', nullif(NOT c.relispopulated, false))) END AS settings
FROM pg_class c
JOIN pg_namespace n ON n.oid = c.relnamespace
LEFT JOIN pg_class t ON t.oid = c.reltoastrelid AND t.reloptions IS NOT NULL
WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f', 'S')
  AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
ORDER BY n.nspname, c.relname
