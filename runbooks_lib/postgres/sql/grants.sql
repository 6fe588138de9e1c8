-- Access lists that are not as they were when the object was made, or as initdb or an extension left them. Each with
-- that beginning: what differs is told by `privileges.py`.
SELECT o.kind, array_remove(n.nspname::text || o.names, NULL) AS names, o.acl::text[] AS acl,
       coalesce(i.initprivs, acldefault(o.letter, o.owner))::text[] AS initially
FROM (
    SELECT 'privileges' AS kind, 'pg_class'::regclass AS class, oid AS object, 0 AS part, relnamespace AS schema,
           ARRAY[relname]::text[] AS names, relacl AS acl, (CASE relkind WHEN 'S' THEN 's' ELSE 'r' END)::"char" AS letter,
           relowner AS owner
    FROM pg_class WHERE relacl IS NOT NULL AND relkind IN ('r', 'p', 'v', 'm', 'f', 'S')
    UNION ALL
    SELECT 'column privileges', 'pg_class'::regclass, c.oid, a.attnum, c.relnamespace, ARRAY[c.relname, a.attname],
           a.attacl, 'c', c.relowner
    FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid WHERE a.attacl IS NOT NULL AND NOT a.attisdropped
    UNION ALL
    SELECT 'function privileges', 'pg_proc'::regclass, oid, 0, pronamespace,
           ARRAY[format('%s(%s)', proname, oidvectortypes(proargtypes))], proacl, 'f', proowner
    FROM pg_proc WHERE proacl IS NOT NULL
    UNION ALL
    SELECT 'type privileges', 'pg_type'::regclass, oid, 0, typnamespace, ARRAY[typname], typacl, 'T', typowner
    FROM pg_type WHERE typacl IS NOT NULL
    UNION ALL
    SELECT 'schema privileges', 'pg_namespace'::regclass, oid, 0, oid, NULL, nspacl, 'n', nspowner
    FROM pg_namespace WHERE nspacl IS NOT NULL
    UNION ALL
    SELECT 'language privileges', 'pg_language'::regclass, oid, 0, NULL, ARRAY[lanname], lanacl, 'l', lanowner
    FROM pg_language WHERE lanacl IS NOT NULL
    UNION ALL
    SELECT 'foreign data wrapper privileges', 'pg_foreign_data_wrapper'::regclass, oid, 0, NULL, ARRAY[fdwname], fdwacl,
           'F', fdwowner
    FROM pg_foreign_data_wrapper WHERE fdwacl IS NOT NULL
    UNION ALL
    SELECT 'foreign server privileges', 'pg_foreign_server'::regclass, oid, 0, NULL, ARRAY[srvname], srvacl, 'S', srvowner
    FROM pg_foreign_server WHERE srvacl IS NOT NULL
) AS o
LEFT JOIN pg_namespace n ON n.oid = o.schema
LEFT JOIN pg_init_privs i ON i.classoid = o.class AND i.objoid = o.object AND i.objsubid = o.part
WHERE o.acl IS DISTINCT FROM i.initprivs
  AND (o.schema IS NULL OR n.nspname = 'pg_catalog' OR n.nspname !~ '^pg_' AND n.nspname <> 'information_schema')
UNION ALL
SELECT 'default privileges', array_remove(ARRAY[pg_get_userbyid(d.defaclrole), d.defaclobjtype, n.nspname]::text[], NULL),
       d.defaclacl::text[], CASE WHEN n.oid IS NULL THEN acldefault(CASE d.defaclobjtype WHEN 'S' THEN 's'
                                     ELSE d.defaclobjtype END, d.defaclrole)::text[] ELSE '{}' END
FROM pg_default_acl d LEFT JOIN pg_namespace n ON n.oid = d.defaclnamespace
UNION ALL
SELECT 'database privileges', ARRAY['this'], d.datacl::text[], acldefault('d', d.datdba)::text[]
FROM pg_database d WHERE d.datname = current_database() AND d.datacl IS NOT NULL
