-- What belongs to a table: triggers, policies, rules, inheritance, and what is unusual of constraints and indexes.
WITH own AS MATERIALIZED (SELECT oid, nspname FROM pg_namespace WHERE nspname !~ '^pg_' AND nspname <> 'information_schema')
SELECT 'trigger' AS kind, ARRAY[n.nspname, c.relname, t.tgname]::text[] AS names,
       json_build_object('definition', pg_get_triggerdef(t.oid), 'enabled', t.tgenabled::text) AS fields
FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid JOIN own n ON n.oid = c.relnamespace
WHERE NOT t.tgisinternal
UNION ALL
SELECT 'internal trigger', ARRAY[n.nspname, c.relname, k.conname, p.proname],
       json_build_object('enabled', t.tgenabled::text)
FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid JOIN own n ON n.oid = c.relnamespace
JOIN pg_proc p ON p.oid = t.tgfoid LEFT JOIN pg_constraint k ON k.oid = t.tgconstraint
WHERE t.tgisinternal AND t.tgenabled <> 'O'
UNION ALL
SELECT 'policy', ARRAY[n.nspname, c.relname, p.polname],
       json_strip_nulls(json_build_object(
           'command', CASE p.polcmd WHEN 'r' THEN 'SELECT' WHEN 'a' THEN 'INSERT' WHEN 'w' THEN 'UPDATE'
                                    WHEN 'd' THEN 'DELETE' ELSE 'ALL' END,
           'permissive', p.polpermissive,
           'roles', (SELECT json_agg(coalesce(r.rolname, 'public') ORDER BY r.rolname)
                     FROM unnest(p.polroles) AS g (oid) LEFT JOIN pg_roles r ON r.oid = g.oid),
           'using', pg_get_expr(p.polqual, p.polrelid), 'with_check', pg_get_expr(p.polwithcheck, p.polrelid)))
FROM pg_policy p JOIN pg_class c ON c.oid = p.polrelid JOIN pg_namespace n ON n.oid = c.relnamespace
UNION ALL
SELECT 'rule', ARRAY[n.nspname, c.relname, r.rulename],
       json_build_object('definition', pg_get_ruledef(r.oid), 'enabled', r.ev_enabled::text, 'instead', r.is_instead,
                         'nothing', pg_get_ruledef(r.oid) ~ 'DO INSTEAD NOTHING;\s*$')
FROM pg_rewrite r JOIN pg_class c ON c.oid = r.ev_class JOIN own n ON n.oid = c.relnamespace
WHERE r.rulename <> '_RETURN'
UNION ALL
SELECT 'inherits', ARRAY[n.nspname, c.relname],
       json_build_object('parents', json_agg(i.inhparent::regclass::text ORDER BY i.inhseqno),
                         'detach_pending', bool_or(i.inhdetachpending))
FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid JOIN own n ON n.oid = c.relnamespace
GROUP BY n.nspname, c.relname
UNION ALL
-- What PostgreSQL 18 has of a domain's NOT NULL; columns.sql has that of tables.
SELECT 'not null', ARRAY[n.nspname, t.typname, k.conname], json_build_object('validated', k.convalidated)
FROM pg_constraint k JOIN own n ON n.oid = k.connamespace JOIN pg_type t ON t.oid = k.contypid
WHERE k.contype = 'n' AND k.contypid <> 0 AND k.conname <> t.typname || '_not_null'
UNION ALL
SELECT 'index statistics', ARRAY[n.nspname, c.relname, a.attnum::text], json_build_object('statistics', a.attstattarget)
FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid JOIN own n ON n.oid = c.relnamespace
WHERE a.attstattarget >= 0 AND c.relkind IN ('i', 'I')
ORDER BY 1, 2
