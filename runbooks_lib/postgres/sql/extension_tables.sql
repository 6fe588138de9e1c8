-- Tables that belong to an extension: CREATE EXTENSION makes them, so that a dump does not.
SELECT n.nspname AS schema, c.relname AS name
FROM pg_depend d
JOIN pg_class c ON c.oid = d.objid
JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE d.classid = 'pg_class'::regclass AND d.refclassid = 'pg_extension'::regclass AND d.deptype = 'e'
  AND c.relkind IN ('r', 'p')
