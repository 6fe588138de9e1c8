-- Which unique keys does the table %(schema)s, %(name)s have? A row an index: its name and its columns in order.
-- `columns` is NULL where an expression or a condition makes it uncertain which rows conflict.
SELECT i.indexrelid::regclass::text AS name,
       CASE WHEN i.indexprs IS NULL AND i.indpred IS NULL AND NOT i.indisexclusion
            THEN (SELECT array_agg(a.attname::text ORDER BY k.place)
                  FROM unnest(i.indkey::smallint[]) WITH ORDINALITY AS k (attnum, place)
                  JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = k.attnum
                  WHERE k.place <= i.indnkeyatts) END AS columns
FROM pg_index i
JOIN pg_class c ON c.oid = i.indrelid
JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE n.nspname = %(schema)s AND c.relname = %(name)s AND (i.indisunique OR i.indisexclusion) AND i.indislive
