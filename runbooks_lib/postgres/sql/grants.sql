-- What others than the owner may do: one row a privilege (the owner's own grew with PostgreSQL's versions).
SELECT 'privileges' AS kind, ARRAY[n.nspname, c.relname]::text[] AS names,
       coalesce(r.rolname, 'public')::text AS grantee, g.privilege_type AS privilege, g.is_grantable AS grantable
FROM pg_class c
JOIN pg_namespace n ON n.oid = c.relnamespace
CROSS JOIN LATERAL aclexplode(c.relacl) AS g
LEFT JOIN pg_roles r ON r.oid = g.grantee
WHERE g.grantee <> c.relowner
  AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
UNION ALL
SELECT 'default privileges', array_remove(ARRAY[n.nspname, concat(pg_get_userbyid(d.defaclrole), ' ', d.defaclobjtype)]::text[], NULL),
       coalesce(r.rolname, 'public'), g.privilege_type, g.is_grantable
FROM pg_default_acl d
LEFT JOIN pg_namespace n ON n.oid = d.defaclnamespace
CROSS JOIN LATERAL aclexplode(d.defaclacl) AS g
LEFT JOIN pg_roles r ON r.oid = g.grantee
WHERE g.grantee <> d.defaclrole
