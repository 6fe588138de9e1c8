-- Access lists that are not as they were when the object was made, or as initdb or an extension left them. Each with
-- that beginning: what differs is told by `privileges.py`.
SELECT 'privileges' AS kind, ARRAY[n.nspname, c.relname]::text[] AS names, c.relacl::text[] AS acl,
       coalesce(i.initprivs, acldefault(CASE c.relkind WHEN 'S' THEN 's' ELSE 'r' END::"char", c.relowner))::text[] AS initially
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
LEFT JOIN pg_init_privs i ON i.classoid = 'pg_class'::regclass AND i.objoid = c.oid AND i.objsubid = 0
WHERE c.relacl IS NOT NULL AND c.relkind IN ('r', 'p', 'v', 'm', 'f', 'S')
  AND (n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
       OR n.nspname = 'pg_catalog' AND c.relacl IS DISTINCT FROM i.initprivs)
UNION ALL
SELECT 'column privileges' AS kind, ARRAY[n.nspname, c.relname, a.attname]::text[] AS names, a.attacl::text[] AS acl,
       coalesce(i.initprivs, acldefault('c', c.relowner))::text[] AS initially
FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid JOIN pg_namespace n ON n.oid = c.relnamespace
LEFT JOIN pg_init_privs i ON i.classoid = 'pg_class'::regclass AND i.objoid = a.attrelid AND i.objsubid = a.attnum
WHERE a.attacl IS NOT NULL AND NOT a.attisdropped
  AND (n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
       OR n.nspname = 'pg_catalog' AND a.attacl IS DISTINCT FROM i.initprivs)
UNION ALL
SELECT 'function privileges' AS kind, ARRAY[n.nspname, format('%s(%s)', p.proname, oidvectortypes(p.proargtypes))]::text[] AS names, p.proacl::text[] AS acl,
       coalesce(i.initprivs, acldefault('f', p.proowner))::text[] AS initially
FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace
LEFT JOIN pg_init_privs i ON i.classoid = 'pg_proc'::regclass AND i.objoid = p.oid AND i.objsubid = 0
WHERE p.proacl IS NOT NULL
  AND (n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
       OR n.nspname = 'pg_catalog' AND p.proacl IS DISTINCT FROM i.initprivs)
UNION ALL
SELECT 'type privileges' AS kind, ARRAY[n.nspname, t.typname]::text[] AS names, t.typacl::text[] AS acl,
       coalesce(i.initprivs, acldefault('T', t.typowner))::text[] AS initially
FROM pg_type t JOIN pg_namespace n ON n.oid = t.typnamespace
LEFT JOIN pg_init_privs i ON i.classoid = 'pg_type'::regclass AND i.objoid = t.oid AND i.objsubid = 0
WHERE t.typacl IS NOT NULL
  AND (n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
       OR n.nspname = 'pg_catalog' AND t.typacl IS DISTINCT FROM i.initprivs)
UNION ALL
SELECT 'schema privileges' AS kind, ARRAY[n.nspname]::text[] AS names, n.nspacl::text[] AS acl,
       coalesce(i.initprivs, acldefault('n', n.nspowner))::text[] AS initially
FROM pg_namespace n
LEFT JOIN pg_init_privs i ON i.classoid = 'pg_namespace'::regclass AND i.objoid = n.oid AND i.objsubid = 0
WHERE n.nspacl IS NOT NULL
  AND (n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
       OR n.nspname = 'pg_catalog' AND n.nspacl IS DISTINCT FROM i.initprivs)
UNION ALL
SELECT 'language privileges' AS kind, ARRAY[l.lanname]::text[] AS names, l.lanacl::text[] AS acl,
       coalesce(i.initprivs, acldefault('l', l.lanowner))::text[] AS initially
FROM pg_language l
LEFT JOIN pg_init_privs i ON i.classoid = 'pg_language'::regclass AND i.objoid = l.oid AND i.objsubid = 0
WHERE l.lanacl IS NOT NULL
UNION ALL
SELECT 'foreign data wrapper privileges' AS kind, ARRAY[w.fdwname]::text[] AS names, w.fdwacl::text[] AS acl,
       coalesce(i.initprivs, acldefault('F', w.fdwowner))::text[] AS initially
FROM pg_foreign_data_wrapper w
LEFT JOIN pg_init_privs i ON i.classoid = 'pg_foreign_data_wrapper'::regclass AND i.objoid = w.oid AND i.objsubid = 0
WHERE w.fdwacl IS NOT NULL
UNION ALL
SELECT 'foreign server privileges' AS kind, ARRAY[s.srvname]::text[] AS names, s.srvacl::text[] AS acl,
       coalesce(i.initprivs, acldefault('S', s.srvowner))::text[] AS initially
FROM pg_foreign_server s
LEFT JOIN pg_init_privs i ON i.classoid = 'pg_foreign_server'::regclass AND i.objoid = s.oid AND i.objsubid = 0
WHERE s.srvacl IS NOT NULL
UNION ALL
SELECT 'default privileges', array_remove(ARRAY[pg_get_userbyid(d.defaclrole), d.defaclobjtype, n.nspname]::text[], NULL),
       d.defaclacl::text[], CASE WHEN n.oid IS NULL THEN acldefault(CASE d.defaclobjtype WHEN 'S' THEN 's'
                                     ELSE d.defaclobjtype END, d.defaclrole)::text[] ELSE '{}' END
FROM pg_default_acl d LEFT JOIN pg_namespace n ON n.oid = d.defaclnamespace
UNION ALL
SELECT 'database privileges', ARRAY['this'], d.datacl::text[], acldefault('d', d.datdba)::text[]
FROM pg_database d WHERE d.datname = current_database() AND d.datacl IS NOT NULL
