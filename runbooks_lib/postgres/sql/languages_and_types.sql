-- Base types, aggregates, operators with their classes and families, access methods, casts, conversions, collations,
-- transforms, languages. What belongs to an extension is left out: the extension stands for it.
WITH member AS (
    SELECT classid, objid FROM pg_depend WHERE refclassid = 'pg_extension'::regclass AND deptype = 'e'
)
SELECT 'type' AS kind, ARRAY[n.nspname, t.typname]::text[] AS names,
       CASE WHEN NOT t.typisdefined THEN json_build_object('kind', 'shell', 'owner', pg_get_userbyid(t.typowner)) ELSE
       json_strip_nulls(json_build_object(
           'kind', 'base', 'owner', pg_get_userbyid(t.typowner), 'input', t.typinput::text, 'output', t.typoutput::text,
           'receive', t.typreceive::text, 'send', t.typsend::text, 'modifier_in', t.typmodin::text,
           'modifier_out', t.typmodout::text, 'analyze', t.typanalyze::text, 'subscript', t.typsubscript::text,
           'length', t.typlen, 'by_value', t.typbyval, 'align', t.typalign::text, 'storage', t.typstorage::text,
           'category', t.typcategory::text, 'preferred', t.typispreferred, 'default', t.typdefault,
           'element', CASE WHEN t.typelem <> 0 THEN format_type(t.typelem, NULL) END, 'delimiter', t.typdelim::text,
           'collatable', t.typcollation <> 0)) END AS fields
FROM pg_type t JOIN pg_namespace n ON n.oid = t.typnamespace
WHERE (NOT t.typisdefined OR t.typtype = 'b' AND NOT EXISTS (SELECT FROM pg_type e WHERE e.typarray = t.oid))
  AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema' AND (t.tableoid, t.oid) NOT IN (TABLE member)
UNION ALL
SELECT 'function', ARRAY[n.nspname, format('%s(%s)', p.proname, oidvectortypes(p.proargtypes))],
       json_strip_nulls(json_build_object(
           'kind', 'aggregate', 'owner', pg_get_userbyid(p.proowner), 'class', a.aggkind::text,
           'arguments', pg_get_function_arguments(p.oid), 'result', pg_get_function_result(p.oid),
           'direct_arguments', a.aggnumdirectargs, 'parallel', p.proparallel::text,
           'state_function', a.aggtransfn::text, 'final_function', a.aggfinalfn::text,
           'combine', a.aggcombinefn::text, 'serial', a.aggserialfn::text, 'deserial', a.aggdeserialfn::text,
           'moving_state_function', a.aggmtransfn::text, 'moving_inverse', a.aggminvtransfn::text,
           'moving_final_function', a.aggmfinalfn::text, 'final_extra', a.aggfinalextra,
           'moving_final_extra', a.aggmfinalextra, 'final_modify', a.aggfinalmodify::text,
           'moving_final_modify', a.aggmfinalmodify::text,
           'sort_operator', CASE WHEN a.aggsortop <> 0 THEN a.aggsortop::regoperator::text END,
           'state_type', format_type(a.aggtranstype, NULL), 'state_size', a.aggtransspace,
           'moving_state_type', CASE WHEN a.aggmtranstype <> 0 THEN format_type(a.aggmtranstype, NULL) END,
           'moving_state_size', a.aggmtransspace, 'initial', a.agginitval, 'moving_initial', a.aggminitval))
FROM pg_aggregate a JOIN pg_proc p ON p.oid = a.aggfnoid JOIN pg_namespace n ON n.oid = p.pronamespace
WHERE n.nspname !~ '^pg_' AND n.nspname <> 'information_schema' AND (p.tableoid, p.oid) NOT IN (TABLE member)
UNION ALL
SELECT 'operator', ARRAY[n.nspname, format('%s(%s, %s)', o.oprname,
                                           CASE WHEN o.oprleft = 0 THEN 'NONE' ELSE format_type(o.oprleft, NULL) END,
                                           format_type(o.oprright, NULL))],
       json_strip_nulls(json_build_object(
           'owner', pg_get_userbyid(o.oprowner), 'function', o.oprcode::text,
           'commutator', CASE WHEN o.oprcom <> 0 THEN o.oprcom::regoperator::text END,
           'negator', CASE WHEN o.oprnegate <> 0 THEN o.oprnegate::regoperator::text END,
           'restrict', o.oprrest::text, 'join', o.oprjoin::text, 'merges', o.oprcanmerge, 'hashes', o.oprcanhash))
FROM pg_operator o JOIN pg_namespace n ON n.oid = o.oprnamespace
WHERE o.oprcode <> 0 AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema' AND (o.tableoid, o.oid) NOT IN (TABLE member)
UNION ALL
SELECT 'operator family', ARRAY[n.nspname, f.opfname, m.amname],
       json_strip_nulls(json_build_object(
           'owner', pg_get_userbyid(f.opfowner),
           'operators', (SELECT json_agg(json_build_array(x.amopstrategy, x.amopopr::regoperator::text,
                                             (SELECT s.opfname FROM pg_opfamily s WHERE s.oid = x.amopsortfamily))
                                         ORDER BY x.amopstrategy, x.amopopr::regoperator::text)
                         FROM pg_amop x WHERE x.amopfamily = f.oid),
           'functions', (SELECT json_agg(json_build_array(x.amprocnum, format_type(x.amproclefttype, NULL),
                                             format_type(x.amprocrighttype, NULL), x.amproc::regprocedure::text)
                                         ORDER BY x.amprocnum, format_type(x.amproclefttype, NULL),
                                             format_type(x.amprocrighttype, NULL))
                         FROM pg_amproc x WHERE x.amprocfamily = f.oid)))
FROM pg_opfamily f JOIN pg_namespace n ON n.oid = f.opfnamespace JOIN pg_am m ON m.oid = f.opfmethod
WHERE n.nspname !~ '^pg_' AND n.nspname <> 'information_schema' AND (f.tableoid, f.oid) NOT IN (TABLE member)
UNION ALL
SELECT 'operator class', ARRAY[n.nspname, c.opcname, m.amname],
       json_strip_nulls(json_build_object(
           'owner', pg_get_userbyid(c.opcowner), 'type', format_type(c.opcintype, NULL), 'default', c.opcdefault,
           'stored', CASE WHEN c.opckeytype <> 0 THEN format_type(c.opckeytype, NULL) END,
           'family', (SELECT format('%I.%I', g.nspname, f.opfname) FROM pg_opfamily f
                      JOIN pg_namespace g ON g.oid = f.opfnamespace WHERE f.oid = c.opcfamily)))
FROM pg_opclass c JOIN pg_namespace n ON n.oid = c.opcnamespace JOIN pg_am m ON m.oid = c.opcmethod
WHERE n.nspname !~ '^pg_' AND n.nspname <> 'information_schema' AND (c.tableoid, c.oid) NOT IN (TABLE member)
UNION ALL
SELECT 'access method', ARRAY[m.amname], json_build_object('type', m.amtype::text, 'handler', m.amhandler::text)
FROM pg_am m WHERE m.oid >= 16384 AND (m.tableoid, m.oid) NOT IN (TABLE member)
UNION ALL
SELECT 'cast', ARRAY[format_type(c.castsource, NULL), format_type(c.casttarget, NULL)],
       json_strip_nulls(json_build_object(
           'function', CASE WHEN c.castfunc <> 0 THEN c.castfunc::regprocedure::text END,
           'context', c.castcontext::text, 'method', c.castmethod::text))
FROM pg_cast c WHERE c.oid >= 16384 AND (c.tableoid, c.oid) NOT IN (TABLE member)
UNION ALL
SELECT 'conversion', ARRAY[n.nspname, c.conname],
       json_build_object('owner', pg_get_userbyid(c.conowner), 'from', pg_encoding_to_char(c.conforencoding),
                         'to', pg_encoding_to_char(c.contoencoding), 'function', c.conproc::text,
                         'default', c.condefault)
FROM pg_conversion c JOIN pg_namespace n ON n.oid = c.connamespace
WHERE n.nspname !~ '^pg_' AND n.nspname <> 'information_schema' AND (c.tableoid, c.oid) NOT IN (TABLE member)
UNION ALL
SELECT 'collation', ARRAY[n.nspname, c.collname],
       json_strip_nulls(json_build_object(
           'owner', pg_get_userbyid(c.collowner), 'provider', c.collprovider::text,
           'deterministic', c.collisdeterministic, 'collate', c.collcollate, 'ctype', c.collctype,
           'locale', coalesce(to_jsonb(c) ->> 'colllocale', to_jsonb(c) ->> 'colliculocale'),
           'rules', to_jsonb(c) ->> 'collicurules'))
FROM pg_collation c JOIN pg_namespace n ON n.oid = c.collnamespace
WHERE n.nspname !~ '^pg_' AND n.nspname <> 'information_schema' AND (c.tableoid, c.oid) NOT IN (TABLE member)
UNION ALL
SELECT 'transform', ARRAY[format_type(t.trftype, NULL), l.lanname],
       json_build_object('from', t.trffromsql::text, 'to', t.trftosql::text)
FROM pg_transform t JOIN pg_language l ON l.oid = t.trflang
WHERE (t.tableoid, t.oid) NOT IN (TABLE member)
UNION ALL
SELECT 'language', ARRAY[l.lanname],
       json_build_object('owner', pg_get_userbyid(l.lanowner), 'trusted', l.lanpltrusted,
                         'handler', l.lanplcallfoid::regproc::text, 'inline', l.laninline::regproc::text,
                         'validator', l.lanvalidator::regproc::text)
FROM pg_language l WHERE l.oid >= 16384 AND (l.tableoid, l.oid) NOT IN (TABLE member)
ORDER BY 1, 2
