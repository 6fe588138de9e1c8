-- Everything else that a schema holds, each as one definition: views, functions, triggers, policies, rules,
-- sequences, domains, composite and range types, extensions, schemas, comments. `names` are the parts of its name.
SELECT 'view' AS kind, ARRAY[n.nspname, c.relname]::text[] AS names, pg_get_viewdef(c.oid) AS definition
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind IN ('v', 'm') AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
UNION ALL
SELECT 'function', ARRAY[n.nspname, format('%s(%s)', p.proname, oidvectortypes(p.proargtypes))]::text[],
       CASE WHEN p.prokind = 'a' THEN format('aggregate %s', p.oid::regprocedure) ELSE pg_get_functiondef(p.oid) END
FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace
WHERE n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
UNION ALL
SELECT 'trigger', ARRAY[n.nspname, c.relname, t.tgname]::text[], pg_get_triggerdef(t.oid) || ' ' || t.tgenabled::text
FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE NOT t.tgisinternal AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
UNION ALL
SELECT 'policy', ARRAY[n.nspname, c.relname, p.polname]::text[],
       concat_ws(' ', p.polcmd::text, p.polpermissive::text,
                 (SELECT string_agg(coalesce(r.rolname, 'public'), ',' ORDER BY r.rolname)
                    FROM unnest(p.polroles) AS g (oid) LEFT JOIN pg_roles r ON r.oid = g.oid),
                 pg_get_expr(p.polqual, p.polrelid), pg_get_expr(p.polwithcheck, p.polrelid))
FROM pg_policy p JOIN pg_class c ON c.oid = p.polrelid JOIN pg_namespace n ON n.oid = c.relnamespace
UNION ALL
SELECT 'rule', ARRAY[n.nspname, c.relname, r.rulename]::text[], pg_get_ruledef(r.oid)
FROM pg_rewrite r JOIN pg_class c ON c.oid = r.ev_class JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE r.rulename <> '_RETURN' AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
UNION ALL
SELECT 'sequence', ARRAY[n.nspname, c.relname]::text[],
       concat_ws(' ', format_type(s.seqtypid, NULL), s.seqstart, s.seqincrement, s.seqmin, s.seqmax, s.seqcache,
                 s.seqcycle)
FROM pg_sequence s JOIN pg_class c ON c.oid = s.seqrelid JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
UNION ALL
SELECT 'type', ARRAY[n.nspname, t.typname]::text[],
       concat_ws(' ', t.typtype::text, pg_get_userbyid(t.typowner), format_type(t.typbasetype, t.typtypmod),
                 t.typnotnull, t.typdefault,
                 (SELECT string_agg(a.attname || ' ' || format_type(a.atttypid, a.atttypmod), ', ' ORDER BY a.attnum)
                    FROM pg_attribute a WHERE a.attrelid = t.typrelid AND a.attnum > 0 AND NOT a.attisdropped))
FROM pg_type t JOIN pg_namespace n ON n.oid = t.typnamespace
LEFT JOIN pg_class c ON c.oid = t.typrelid
WHERE (t.typtype IN ('d', 'r') OR c.relkind = 'c') AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
UNION ALL
SELECT 'extension', ARRAY[e.extname]::text[], concat_ws(' ', e.extversion, n.nspname)
FROM pg_extension e JOIN pg_namespace n ON n.oid = e.extnamespace
WHERE e.extname <> 'plpgsql'
UNION ALL
SELECT 'schema', ARRAY[n.nspname]::text[], pg_get_userbyid(n.nspowner)
FROM pg_namespace n
WHERE n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
UNION ALL
SELECT 'comment', array_remove(ARRAY[n.nspname, c.relname, a.attname]::text[], NULL), d.description
FROM pg_description d
JOIN pg_class c ON d.classoid = 'pg_class'::regclass AND c.oid = d.objoid
JOIN pg_namespace n ON n.oid = c.relnamespace
LEFT JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum = d.objsubid AND d.objsubid > 0
WHERE n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
ORDER BY 1, 2
