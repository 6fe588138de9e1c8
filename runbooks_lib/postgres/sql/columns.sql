-- Columns in their order, with types, defaults and NOT NULL as PostgreSQL prints them.
-- `settings` is what is seldom set, null where nothing of it is. PostgreSQL 18 stores NOT NULL as constraints: only what
-- pg_dump has to say of them. A line that ends in `-- since N` is of that version and newer.
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
              OR NOT k.convalidated OR k.connoinherit OR NOT k.conislocal -- since 18
              OR k.conname <> c.relname || '_' || a.attname || '_not_null' -- since 18
         THEN json_strip_nulls(json_build_object(
             'statistics', CASE WHEN a.attstattarget >= 0 THEN a.attstattarget END,
             'storage', CASE WHEN a.attstorage <> t.typstorage THEN a.attstorage::text END,
             'compression', nullif(a.attcompression::text, ''),
             'inherited', nullif(NOT a.attislocal, false),
             'not_null', k.conname, -- since 18
             'not_valid', nullif(NOT k.convalidated, false), -- since 18
             'not_null_no_inherit', nullif(k.connoinherit, false), -- since 18
             'not_null_inherited', nullif(NOT k.conislocal, false), -- since 18
             'options', a.attoptions,
             'foreign_options', a.attfdwoptions)) END AS settings
FROM pg_class c
JOIN pg_namespace n ON n.oid = c.relnamespace
JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
JOIN pg_type t ON t.oid = a.atttypid
LEFT JOIN pg_constraint k ON k.contype = 'n' AND k.conrelid = a.attrelid AND k.conkey[1] = a.attnum -- since 18
LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f')
  AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
ORDER BY a.attrelid, a.attnum
