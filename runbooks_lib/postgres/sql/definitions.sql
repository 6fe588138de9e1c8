-- Everything else that a schema holds, each as one definition: views, functions, triggers, policies, rules,
-- sequences, domains, composite and range types, extensions, schemas, comments, and privileges of others than the
-- owner (the owner's own grew with PostgreSQL's versions).
SELECT 'view' AS kind, n.nspname AS schema, c.relname AS name, pg_get_viewdef(c.oid) AS definition
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind IN ('v', 'm') AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
UNION ALL
SELECT 'function', n.nspname, p.oid::regprocedure::text,
       CASE WHEN p.prokind = 'a' THEN format('aggregate %s', p.oid::regprocedure) ELSE pg_get_functiondef(p.oid) END
FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace
WHERE n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
UNION ALL
SELECT 'trigger', n.nspname, c.relname || '.' || t.tgname, pg_get_triggerdef(t.oid) || ' ' || t.tgenabled::text
FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE NOT t.tgisinternal AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
UNION ALL
SELECT 'policy', n.nspname, c.relname || '.' || p.polname,
       concat_ws(' ', p.polcmd::text, p.polpermissive::text,
                 (SELECT string_agg(coalesce(r.rolname, 'public'), ',' ORDER BY r.rolname)
                    FROM unnest(p.polroles) AS g (oid) LEFT JOIN pg_roles r ON r.oid = g.oid),
                 pg_get_expr(p.polqual, p.polrelid), pg_get_expr(p.polwithcheck, p.polrelid))
FROM pg_policy p JOIN pg_class c ON c.oid = p.polrelid JOIN pg_namespace n ON n.oid = c.relnamespace
UNION ALL
SELECT 'rule', n.nspname, c.relname || '.' || r.rulename, pg_get_ruledef(r.oid)
FROM pg_rewrite r JOIN pg_class c ON c.oid = r.ev_class JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE r.rulename <> '_RETURN' AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
UNION ALL
SELECT 'sequence', n.nspname, c.relname,
       concat_ws(' ', format_type(s.seqtypid, NULL), s.seqstart, s.seqincrement, s.seqmin, s.seqmax, s.seqcache,
                 s.seqcycle)
FROM pg_sequence s JOIN pg_class c ON c.oid = s.seqrelid JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
UNION ALL
SELECT 'type', n.nspname, t.typname,
       concat_ws(' ', t.typtype::text, pg_get_userbyid(t.typowner), format_type(t.typbasetype, t.typtypmod),
                 t.typnotnull, t.typdefault,
                 (SELECT string_agg(a.attname || ' ' || format_type(a.atttypid, a.atttypmod), ', ' ORDER BY a.attnum)
                    FROM pg_attribute a WHERE a.attrelid = t.typrelid AND a.attnum > 0 AND NOT a.attisdropped))
FROM pg_type t JOIN pg_namespace n ON n.oid = t.typnamespace
LEFT JOIN pg_class c ON c.oid = t.typrelid
WHERE (t.typtype IN ('d', 'r') OR c.relkind = 'c') AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
UNION ALL
SELECT 'extension', n.nspname, e.extname, e.extversion
FROM pg_extension e JOIN pg_namespace n ON n.oid = e.extnamespace
WHERE e.extname <> 'plpgsql'
UNION ALL
SELECT 'schema', n.nspname, n.nspname, pg_get_userbyid(n.nspowner)
FROM pg_namespace n
WHERE n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
UNION ALL
SELECT 'comment', n.nspname, concat_ws('.', c.relname, a.attname), d.description
FROM pg_description d
JOIN pg_class c ON d.classoid = 'pg_class'::regclass AND c.oid = d.objoid
JOIN pg_namespace n ON n.oid = c.relnamespace
LEFT JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum = d.objsubid AND d.objsubid > 0
WHERE n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
UNION ALL
SELECT 'privileges', n.nspname, c.relname,
       string_agg(concat(coalesce(r.rolname, 'public'), ' ', g.privilege_type, CASE WHEN g.is_grantable THEN '*' END),
                  ', ' ORDER BY r.rolname, g.privilege_type)
FROM pg_class c
JOIN pg_namespace n ON n.oid = c.relnamespace
CROSS JOIN LATERAL aclexplode(c.relacl) AS g
LEFT JOIN pg_roles r ON r.oid = g.grantee
WHERE g.grantee <> c.relowner
  AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
GROUP BY n.nspname, c.relname
UNION ALL
SELECT 'default privileges', coalesce(n.nspname, '*'), concat(pg_get_userbyid(d.defaclrole), ' ', d.defaclobjtype),
       string_agg(concat(coalesce(r.rolname, 'public'), ' ', g.privilege_type, CASE WHEN g.is_grantable THEN '*' END),
                  ', ' ORDER BY r.rolname, g.privilege_type)
FROM pg_default_acl d
LEFT JOIN pg_namespace n ON n.oid = d.defaclnamespace
CROSS JOIN LATERAL aclexplode(d.defaclacl) AS g
LEFT JOIN pg_roles r ON r.oid = g.grantee
WHERE g.grantee <> d.defaclrole
GROUP BY n.nspname, d.defaclrole, d.defaclobjtype
ORDER BY 1, 2, 3
