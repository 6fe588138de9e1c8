-- What others are printed with the name of, of the rows that were written since a transaction: where each stands, and
-- its name. A new default operator class changes what is printed of an index, whatever its name.
SELECT 'class' AS catalogue, oid, 0 AS part, relname::text AS name, relnamespace AS schema
  FROM pg_class WHERE oid >= 16384 AND xmin::text::bigint >= %(since)s
UNION ALL
SELECT 'attribute', attrelid, attnum, attname, 0
  FROM pg_attribute WHERE attrelid >= 16384 AND attnum > 0 AND NOT attisdropped AND xmin::text::bigint >= %(since)s
UNION ALL
SELECT 'type', oid, 0, typname, typnamespace FROM pg_type WHERE oid >= 16384 AND xmin::text::bigint >= %(since)s
UNION ALL
SELECT 'enum', oid, 0, enumlabel, 0 FROM pg_enum WHERE xmin::text::bigint >= %(since)s
UNION ALL
SELECT 'proc', oid, 0, proname, pronamespace FROM pg_proc WHERE oid >= 16384 AND xmin::text::bigint >= %(since)s
UNION ALL
SELECT 'namespace', oid, 0, nspname, 0 FROM pg_namespace WHERE xmin::text::bigint >= %(since)s
UNION ALL
SELECT 'operator', oid, 0, oprname, oprnamespace
  FROM pg_operator WHERE oid >= 16384 AND xmin::text::bigint >= %(since)s
UNION ALL
SELECT 'collation', oid, 0, collname, collnamespace
  FROM pg_collation WHERE oid >= 16384 AND xmin::text::bigint >= %(since)s
UNION ALL
SELECT 'ts_config', oid, 0, cfgname, cfgnamespace
  FROM pg_ts_config WHERE oid >= 16384 AND xmin::text::bigint >= %(since)s
UNION ALL
SELECT 'ts_dict', oid, 0, dictname, dictnamespace
  FROM pg_ts_dict WHERE oid >= 16384 AND xmin::text::bigint >= %(since)s
UNION ALL
SELECT 'opclass', 0, 0, oid::text, opcnamespace
  FROM pg_opclass WHERE oid >= 16384 AND xmin::text::bigint >= %(since)s
