-- Text search: configurations with their mappings, dictionaries, parsers, templates; without those of extensions.
WITH member AS (
    SELECT classid, objid FROM pg_depend WHERE refclassid = 'pg_extension'::regclass AND deptype = 'e'
)
SELECT 'text search configuration' AS kind, ARRAY[n.nspname, c.cfgname]::text[] AS names,
       json_strip_nulls(json_build_object(
           'owner', pg_get_userbyid(c.cfgowner),
           'parser', (SELECT format('%I.%I', q.nspname, p.prsname) FROM pg_ts_parser p
                      JOIN pg_namespace q ON q.oid = p.prsnamespace WHERE p.oid = c.cfgparser),
           'mappings', (SELECT json_agg(json_build_array(t.alias, m.mapdict::regdictionary::text)
                                        ORDER BY t.alias, m.mapseqno)
                        FROM pg_ts_config_map m JOIN ts_token_type(c.cfgparser) t ON t.tokid = m.maptokentype
                        WHERE m.mapcfg = c.oid))) AS fields
FROM pg_ts_config c JOIN pg_namespace n ON n.oid = c.cfgnamespace
WHERE n.nspname !~ '^pg_' AND n.nspname <> 'information_schema' AND (c.tableoid, c.oid) NOT IN (TABLE member)
UNION ALL
SELECT 'text search dictionary', ARRAY[n.nspname, d.dictname],
       json_strip_nulls(json_build_object(
           'owner', pg_get_userbyid(d.dictowner), 'options', d.dictinitoption,
           'template', (SELECT format('%I.%I', q.nspname, t.tmplname) FROM pg_ts_template t
                        JOIN pg_namespace q ON q.oid = t.tmplnamespace WHERE t.oid = d.dicttemplate)))
FROM pg_ts_dict d JOIN pg_namespace n ON n.oid = d.dictnamespace
WHERE n.nspname !~ '^pg_' AND n.nspname <> 'information_schema' AND (d.tableoid, d.oid) NOT IN (TABLE member)
UNION ALL
SELECT 'text search parser', ARRAY[n.nspname, p.prsname],
       json_build_object('start', p.prsstart::text, 'token', p.prstoken::text, 'end', p.prsend::text,
                         'types', p.prslextype::text, 'headline', p.prsheadline::text)
FROM pg_ts_parser p JOIN pg_namespace n ON n.oid = p.prsnamespace
WHERE n.nspname !~ '^pg_' AND n.nspname <> 'information_schema' AND (p.tableoid, p.oid) NOT IN (TABLE member)
UNION ALL
SELECT 'text search template', ARRAY[n.nspname, t.tmplname],
       json_build_object('init', t.tmplinit::text, 'lexize', t.tmpllexize::text)
FROM pg_ts_template t JOIN pg_namespace n ON n.oid = t.tmplnamespace
WHERE n.nspname !~ '^pg_' AND n.nspname <> 'information_schema' AND (t.tableoid, t.oid) NOT IN (TABLE member)
ORDER BY 1, 2
