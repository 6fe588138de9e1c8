-- Comments, security labels and dependencies on extensions, of whatever class, and the database with its settings.
-- What initdb made (below 16384) has comments of its own; those of extensions' objects come with the extension. The
-- database's name is left out: what is in it is the same under another.
WITH member AS (
    SELECT classid, objid FROM pg_depend WHERE refclassid = 'pg_extension'::regclass AND deptype = 'e'
)
SELECT 'comment on ' || a.type AS kind, a.object_names || a.object_args AS names,
       json_build_object('text', d.description) AS fields
FROM pg_description d, pg_identify_object_as_address(d.classoid, d.objoid, d.objsubid) AS a
WHERE (d.objoid >= 16384 OR (d.classoid = 'pg_namespace'::regclass AND d.description <> 'standard public schema'
                             AND d.objoid = to_regnamespace('public')::oid))
  AND a.type IS NOT NULL AND a.object_names[1] !~ '^pg_(toast|temp)'
  AND (d.classoid, d.objoid) NOT IN (TABLE member)
UNION ALL
SELECT 'security label on ' || a.type, l.provider || (a.object_names || a.object_args),
       json_build_object('label', l.label)
FROM pg_seclabel l, pg_identify_object_as_address(l.classoid, l.objoid, l.objsubid) AS a
WHERE l.classoid <> 'pg_largeobject'::regclass AND a.type IS NOT NULL
UNION ALL
SELECT 'extension needed by ' || a.type, a.object_names || a.object_args || e.extname::text,
       json_build_object('extension', e.extname)
FROM pg_depend d JOIN pg_extension e ON e.oid = d.refobjid,
     pg_identify_object_as_address(d.classid, d.objid, d.objsubid) AS a
WHERE d.refclassid = 'pg_extension'::regclass AND d.deptype = 'x' AND a.type IS NOT NULL
UNION ALL
SELECT 'database', ARRAY['this']::text[],
       json_strip_nulls(json_build_object(
           'owner', pg_get_userbyid(d.datdba), 'encoding', pg_encoding_to_char(d.encoding), 'collate', d.datcollate,
           'ctype', d.datctype, 'connections', d.datconnlimit, 'allows_connections', d.datallowconn,
           'template', d.datistemplate, 'comment', shobj_description(d.oid, 'pg_database')))
FROM pg_database d WHERE d.datname = current_database()
UNION ALL
SELECT 'setting', array_remove(ARRAY[r.rolname, split_part(setting, '=', 1)]::text[], NULL),
       json_build_object('value', CASE WHEN split_part(setting, '=', 1) LIKE '%.%' THEN '(not read)'
                                       ELSE substr(setting, strpos(setting, '=') + 1) END)
FROM pg_db_role_setting s JOIN pg_database d ON d.oid = s.setdatabase LEFT JOIN pg_roles r ON r.oid = s.setrole,
     unnest(s.setconfig) AS setting
WHERE d.datname = current_database()
ORDER BY 1, 2
