-- Views, sequences, functions, types, extensions and schemas. `names` are the parts of an object's name.
-- Functions of extensions are left out: the extension stands for them. So are those that PostgreSQL makes for a range
-- type, in the name of the superuser that its server was born with.
WITH member AS (
    SELECT classid, objid FROM pg_depend
    WHERE (refclassid = 'pg_extension'::regclass AND deptype = 'e') OR (classid = 'pg_proc'::regclass AND deptype = 'i')
), own AS MATERIALIZED (
    SELECT oid, nspname, nspowner FROM pg_namespace WHERE nspname !~ '^pg_' AND nspname <> 'information_schema'
)
SELECT 'view' AS kind, ARRAY[n.nspname, c.relname]::text[] AS names,
       json_build_object('definition', pg_get_viewdef(c.oid)) AS fields
FROM pg_class c JOIN own n ON n.oid = c.relnamespace
WHERE c.relkind IN ('v', 'm')
UNION ALL
SELECT 'sequence', ARRAY[n.nspname, c.relname],
       json_strip_nulls(json_build_object(
           'type', format_type(s.seqtypid, NULL), 'start', s.seqstart, 'increment', s.seqincrement, 'min', s.seqmin,
           'max', s.seqmax, 'cache', s.seqcache, 'cycle', s.seqcycle,
           'owned_by', o.refobjid::regclass::text || '.' || quote_ident(a.attname)))
FROM pg_sequence s
JOIN pg_class c ON c.oid = s.seqrelid
JOIN own n ON n.oid = c.relnamespace
LEFT JOIN pg_depend o ON o.classid = 'pg_class'::regclass AND o.objid = c.oid AND o.objsubid = 0
     AND o.refclassid = 'pg_class'::regclass AND o.refobjsubid > 0 AND o.deptype IN ('a', 'i')
LEFT JOIN pg_attribute a ON a.attrelid = o.refobjid AND a.attnum = o.refobjsubid
UNION ALL
SELECT 'function', ARRAY[n.nspname, format('%s(%s)', p.proname, oidvectortypes(p.proargtypes))],
       json_build_object('definition', pg_get_functiondef(p.oid), 'owner', pg_get_userbyid(p.proowner))
FROM pg_proc p JOIN own n ON n.oid = p.pronamespace
WHERE p.prokind <> 'a'
  AND p.oid NOT IN (SELECT objid FROM member WHERE classid = 'pg_proc'::regclass)
UNION ALL
SELECT 'type', ARRAY[n.nspname, t.typname],
       json_strip_nulls(json_build_object(
           'kind', 'domain', 'owner', pg_get_userbyid(t.typowner), 'type', format_type(t.typbasetype, t.typtypmod),
           'not_null', t.typnotnull, 'default', pg_get_expr(t.typdefaultbin, 0),
           'collation', CASE WHEN t.typcollation <> b.typcollation THEN t.typcollation::regcollation::text END))
FROM pg_type t JOIN own n ON n.oid = t.typnamespace JOIN pg_type b ON b.oid = t.typbasetype
WHERE t.typtype = 'd'
UNION ALL
SELECT 'type', ARRAY[n.nspname, t.typname],
       json_build_object(
           'kind', 'composite', 'owner', pg_get_userbyid(t.typowner),
           'attributes', (SELECT json_agg(json_build_array(
                                     a.attname, format_type(a.atttypid, a.atttypmod),
                                     CASE WHEN a.attcollation <> b.typcollation
                                          THEN 'COLLATE ' || a.attcollation::regcollation ELSE '' END)
                                     ORDER BY a.attnum)
                          FROM pg_attribute a JOIN pg_type b ON b.oid = a.atttypid
                          WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped))
FROM pg_class c JOIN pg_type t ON t.oid = c.reltype JOIN own n ON n.oid = t.typnamespace
WHERE c.relkind = 'c'
UNION ALL
SELECT 'type', ARRAY[n.nspname, t.typname],
       json_strip_nulls(json_build_object(
           'kind', 'range', 'owner', pg_get_userbyid(t.typowner), 'subtype', format_type(r.rngsubtype, NULL),
           'operator_class', (SELECT format('%I.%I', m.nspname, o.opcname)
                              FROM pg_opclass o JOIN pg_namespace m ON m.oid = o.opcnamespace WHERE o.oid = r.rngsubopc),
           'collation', CASE WHEN r.rngcollation <> 0 THEN r.rngcollation::regcollation::text END,
           'canonical', nullif(r.rngcanonical::text, '-'), 'difference', nullif(r.rngsubdiff::text, '-'),
           'multirange', format_type(r.rngmultitypid, NULL)))
FROM pg_range r JOIN pg_type t ON t.oid = r.rngtypid JOIN own n ON n.oid = t.typnamespace
UNION ALL
SELECT 'extension', ARRAY[e.extname], json_build_object('version', e.extversion, 'schema', n.nspname)
FROM pg_extension e JOIN pg_namespace n ON n.oid = e.extnamespace
WHERE e.extname <> 'plpgsql'
UNION ALL
SELECT 'schema', ARRAY[n.nspname], json_build_object('owner', pg_get_userbyid(n.nspowner))
FROM own n
UNION ALL
SELECT 'extension member', ARRAY['relation', n.nspname, c.relname], json_build_object('extension', e.extname)
FROM pg_depend d JOIN pg_extension e ON e.oid = d.refobjid JOIN pg_class c ON c.oid = d.objid
JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE d.refclassid = 'pg_extension'::regclass AND d.deptype = 'e' AND d.classid = 'pg_class'::regclass
UNION ALL
SELECT 'extension member', ARRAY['type', n.nspname, t.typname], json_build_object('extension', e.extname)
FROM pg_depend d JOIN pg_extension e ON e.oid = d.refobjid JOIN pg_type t ON t.oid = d.objid
JOIN pg_namespace n ON n.oid = t.typnamespace
WHERE d.refclassid = 'pg_extension'::regclass AND d.deptype = 'e' AND d.classid = 'pg_type'::regclass
  AND (t.typtype IN ('d', 'e', 'r') OR t.typrelid <> 0)
UNION ALL
SELECT 'extension member', ARRAY['schema', n.nspname], json_build_object('extension', e.extname)
FROM pg_depend d JOIN pg_extension e ON e.oid = d.refobjid JOIN pg_namespace n ON n.oid = d.objid
WHERE d.refclassid = 'pg_extension'::regclass AND d.deptype = 'e' AND d.classid = 'pg_namespace'::regclass
ORDER BY 1, 2
