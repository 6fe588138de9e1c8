-- May this role do X? One row per need; `allowed` is null when the object does not exist.
-- %(read)s: tables to SELECT from; %(owners)s: roles to SET ROLE to; %(schemas)s: schemas in which these create.
SELECT 'SELECT on ' || name AS need, has_table_privilege(to_regclass(name), 'SELECT') AS allowed
FROM unnest(%(read)s::text[]) AS wanted (name)
UNION ALL
-- Before PostgreSQL 16 every member may SET ROLE, and the privilege SET is not known.
SELECT 'SET ROLE ' || owner,
       pg_has_role(r.oid, CASE WHEN current_setting('server_version_num')::integer < 160000 THEN 'MEMBER' ELSE 'SET' END)
FROM unnest(%(owners)s::text[]) AS wanted (owner)
LEFT JOIN pg_roles r ON r.rolname = owner
UNION ALL
SELECT 'CREATE in schema ' || schema || ' as ' || owner, has_schema_privilege(r.oid, n.oid, 'CREATE')
FROM unnest(%(owners)s::text[]) AS wanted (owner)
CROSS JOIN unnest(%(schemas)s::text[]) AS place (schema)
LEFT JOIN pg_roles r ON r.rolname = owner
LEFT JOIN pg_namespace n ON n.nspname = schema
UNION ALL
SELECT privilege || ' on ' || name, has_table_privilege(to_regclass(name), privilege)
FROM unnest(%(record)s::text[]) AS wanted (name)
CROSS JOIN unnest(ARRAY['SELECT', 'INSERT', 'UPDATE']) AS p (privilege)
ORDER BY 1
