-- For each catalogue from which anything but columns, constraints and indexes is printed: a mark that is another one
-- when a row of it that counts is made, written or removed. The first column says whether its rows are printed by what
-- other objects are at the moment, as a view is by the columns of its tables.
SELECT true, 'views', max(xmin::text::bigint), count(*) FROM pg_rewrite WHERE oid >= 16384
UNION ALL
SELECT true, 'bodies', max(xmin::text::bigint), count(*) FROM pg_proc WHERE oid >= 16384 AND prosqlbody IS NOT NULL
UNION ALL
SELECT false, 'namespace', max(xmin::text::bigint), count(*) FROM pg_namespace
UNION ALL
SELECT false, 'class', max(xmin::text::bigint), count(*) FROM pg_class
 WHERE oid >= 16384 AND (relkind IN ('S', 'c', 'v', 'm') OR relacl IS NOT NULL)
UNION ALL
SELECT false, 'attribute', max(a.xmin::text::bigint), count(*)
  FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid
 WHERE a.attrelid >= 16384 AND (c.relkind = 'c' OR a.attacl IS NOT NULL OR a.attstattarget >= 0)
UNION ALL
SELECT false, 'type', max(xmin::text::bigint), count(*) FROM pg_type
 WHERE oid >= 16384 AND (typtype <> 'c' AND typcategory <> 'A' OR typacl IS NOT NULL)
UNION ALL
SELECT false, 'owned sequence', max(d.xmin::text::bigint), count(*)
  FROM pg_sequence s JOIN pg_depend d ON d.classid = 'pg_class'::regclass AND d.objid = s.seqrelid
UNION ALL
SELECT false, 'depend', max(xmin::text::bigint), count(*) FROM pg_depend WHERE refclassid = 'pg_extension'::regclass
UNION ALL
SELECT false, 'description', max(xmin::text::bigint), count(*) FROM pg_description
 WHERE objoid >= 16384 OR classoid = 'pg_namespace'::regclass
UNION ALL
SELECT false, 'database', max(xmin::text::bigint), count(*) FROM pg_database WHERE datname = current_database()
UNION ALL
SELECT false, 'trigger', max(xmin::text::bigint), count(*) FROM pg_trigger WHERE NOT tgisinternal OR tgenabled <> 'O'
UNION ALL
SELECT false, 'constraint', max(xmin::text::bigint), count(*) FROM pg_constraint WHERE contypid > 0 AND oid >= 16384
UNION ALL
SELECT false, 'aggregate', max(xmin::text::bigint), count(*) FROM pg_aggregate WHERE aggfnoid >= 16384
UNION ALL
SELECT false, 'init_privs', max(xmin::text::bigint), count(*) FROM pg_init_privs
UNION ALL
SELECT false, 'range', max(xmin::text::bigint), count(*) FROM pg_range WHERE rngtypid >= 16384
UNION ALL
SELECT false, 'sequence', max(xmin::text::bigint), count(*) FROM pg_sequence
UNION ALL
SELECT false, 'inherits', max(xmin::text::bigint), count(*) FROM pg_inherits
UNION ALL
SELECT false, 'partitioned_table', max(xmin::text::bigint), count(*) FROM pg_partitioned_table
UNION ALL
SELECT false, 'foreign_table', max(xmin::text::bigint), count(*) FROM pg_foreign_table
UNION ALL
SELECT false, 'shdescription', max(xmin::text::bigint), count(*) FROM pg_shdescription
UNION ALL
SELECT false, 'seclabel', max(xmin::text::bigint), count(*) FROM pg_seclabel
UNION ALL
SELECT false, 'db_role_setting', max(xmin::text::bigint), count(*) FROM pg_db_role_setting
UNION ALL
SELECT false, 'ts_config_map', max(xmin::text::bigint), count(*) FROM pg_ts_config_map WHERE mapcfg >= 16384
UNION ALL
SELECT false, 'proc', max(xmin::text::bigint), count(*) FROM pg_proc WHERE oid >= 16384
UNION ALL
SELECT false, 'enum', max(xmin::text::bigint), count(*) FROM pg_enum
UNION ALL
SELECT false, 'policy', max(xmin::text::bigint), count(*) FROM pg_policy
UNION ALL
SELECT false, 'extension', max(xmin::text::bigint), count(*) FROM pg_extension
UNION ALL
SELECT false, 'default_acl', max(xmin::text::bigint), count(*) FROM pg_default_acl
UNION ALL
SELECT false, 'foreign_data_wrapper', max(xmin::text::bigint), count(*) FROM pg_foreign_data_wrapper
UNION ALL
SELECT false, 'foreign_server', max(xmin::text::bigint), count(*) FROM pg_foreign_server
UNION ALL
SELECT false, 'user_mapping', max(xmin::text::bigint), count(*) FROM pg_user_mapping
UNION ALL
SELECT false, 'publication', max(xmin::text::bigint), count(*) FROM pg_publication
UNION ALL
SELECT false, 'publication_rel', max(xmin::text::bigint), count(*) FROM pg_publication_rel
UNION ALL
SELECT false, 'publication_namespace', max(xmin::text::bigint), count(*) FROM pg_publication_namespace -- since 15
UNION ALL -- since 15
SELECT false, 'subscription', max(xmin::text::bigint), count(*) FROM pg_subscription
UNION ALL
SELECT false, 'statistic_ext', max(xmin::text::bigint), count(*) FROM pg_statistic_ext
UNION ALL
SELECT false, 'event_trigger', max(xmin::text::bigint), count(*) FROM pg_event_trigger
UNION ALL
SELECT false, 'transform', max(xmin::text::bigint), count(*) FROM pg_transform
UNION ALL
SELECT false, 'language', max(xmin::text::bigint), count(*) FROM pg_language
UNION ALL
SELECT false, 'am', max(xmin::text::bigint), count(*) FROM pg_am
UNION ALL
SELECT false, 'amop', max(xmin::text::bigint), count(*) FROM pg_amop WHERE oid >= 16384
UNION ALL
SELECT false, 'amproc', max(xmin::text::bigint), count(*) FROM pg_amproc WHERE oid >= 16384
UNION ALL
SELECT false, 'opclass', max(xmin::text::bigint), count(*) FROM pg_opclass WHERE oid >= 16384
UNION ALL
SELECT false, 'opfamily', max(xmin::text::bigint), count(*) FROM pg_opfamily WHERE oid >= 16384
UNION ALL
SELECT false, 'operator', max(xmin::text::bigint), count(*) FROM pg_operator WHERE oid >= 16384
UNION ALL
SELECT false, 'cast', max(xmin::text::bigint), count(*) FROM pg_cast WHERE oid >= 16384
UNION ALL
SELECT false, 'conversion', max(xmin::text::bigint), count(*) FROM pg_conversion WHERE oid >= 16384
UNION ALL
SELECT false, 'collation', max(xmin::text::bigint), count(*) FROM pg_collation WHERE oid >= 16384
UNION ALL
SELECT false, 'ts_config', max(xmin::text::bigint), count(*) FROM pg_ts_config WHERE oid >= 16384
UNION ALL
SELECT false, 'ts_dict', max(xmin::text::bigint), count(*) FROM pg_ts_dict WHERE oid >= 16384
UNION ALL
SELECT false, 'ts_parser', max(xmin::text::bigint), count(*) FROM pg_ts_parser WHERE oid >= 16384
UNION ALL
SELECT false, 'ts_template', max(xmin::text::bigint), count(*) FROM pg_ts_template WHERE oid >= 16384
