-- The columns of a table that hold text. %(table)s: the table's oid.
SELECT a.attname AS name
FROM pg_attribute a
WHERE a.attrelid = %(table)s AND a.attnum > 0 AND NOT a.attisdropped
  AND a.atttypid IN ('text'::regtype, 'varchar'::regtype)
ORDER BY a.attnum
