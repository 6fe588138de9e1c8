-- The relations of a scratch database that hold rows or show them: by oid, with the file that has the rows, if any.
SELECT c.oid, n.nspname AS schema, c.relname AS name, pg_relation_filenode(c.oid) AS file
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind IN ('r', 'p', 'm', 'v', 'f') AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
