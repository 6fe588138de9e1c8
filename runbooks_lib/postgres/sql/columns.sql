-- Columns in their order, with types, defaults and NOT NULL as PostgreSQL prints them.
-- `settings` is what is seldom set, null where nothing of it is.
SELECT
    n.nspname AS schema,
    c.relname AS relation,
    a.attname AS name,
    format_type(a.atttypid, a.atttypmod) AS type,
    a.attnotnull AS not_null,
    pg_get_expr(d.adbin, d.adrelid) AS "default",
    a.attidentity::text AS identity,
    a.attgenerated::text AS generated,
    CASE WHEN a.attcollation <> t.typcollation THEN a.attcollation::regcollation::text END AS collation,
    CASE WHEN a.attstattarget >= 0 OR a.attstorage <> t.typstorage OR a.attcompression <> '' OR NOT a.attislocal
              OR a.attoptions IS NOT NULL OR a.attfdwoptions IS NOT NULL
         THEN json_strip_nulls(json_build_object(
             'statistics', CASE WHEN a.attstattarget >= 0 THEN a.attstattarget END,
             'storage', CASE WHEN a.attstorage <> t.typstorage THEN a.attstorage::text END,
             'compression', nullif(a.attcompression::text, ''),
             'inherited', nullif(NOT a.attislocal, false),
             'options', a.attoptions,
             'foreign_options', a.attfdwoptions)) END AS settings
FROM pg_class c
JOIN pg_namespace n ON n.oid = c.relnamespace
JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
JOIN pg_type t ON t.oid = a.atttypid
LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f')
  AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
ORDER BY n.nspname, c.relname, a.attnum
