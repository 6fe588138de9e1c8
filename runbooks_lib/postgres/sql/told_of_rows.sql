-- What is to be told of the rows that were read: relations whose rows were not, and tables whose row type has a cast of
-- its owner's, which nobody called. Those of extensions are left out, as in a dump.
SELECT CASE c.relkind WHEN 'f' THEN 'foreign table' WHEN 'm' THEN 'materialized view' ELSE 'cast of rows' END AS kind,
       n.nspname AS schema, c.relname AS name
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
  AND (c.relkind IN ('f', 'm')
       OR c.relkind IN ('r', 'p') AND EXISTS (SELECT FROM pg_cast t WHERE t.castsource = c.reltype))
  AND NOT EXISTS (SELECT FROM pg_depend d
                  WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'e')
ORDER BY 1, 2, 3
