-- May this role do X? One row per need, with what GRANT says of it: privilege, kind (empty: a role), object, grantee.
-- `allowed` is null when the object or the grantee does not exist; a schema that does not is a NEW SCHEMA.
-- `one_by_one`: each of these is told, allowed or not. `blocking` false: only a deployed migration needs it.
-- %(read)s: tables to SELECT from, where they are there; %(owners)s: roles to SET ROLE to; %(schemas)s: schemas in which these create.
-- %(record)s: the history to write to, and %(creates)s the schemas in which this role itself makes it; %(stats)s:
-- others' sessions are looked at. %(dump)s: every table is locked by a dump of the schema; %(rows)s: and its rows are read.
-- %(deploy)s: roles as which migrations are deployed, who write to the history, too.
-- Names are looked up in pg_class: to_regclass() refuses a schema that the role may not use.
WITH me AS (
    SELECT oid, quote_ident(rolname) AS quoted, rolbypassrls OR rolsuper AS sees_rows
    FROM pg_roles WHERE rolname = current_user
), owner AS (
    SELECT name, quote_ident(name) AS quoted, r.oid, bool_and(deploys) AS deploys_only
    FROM (SELECT unnest(%(owners)s::text[]) AS name, false AS deploys
          UNION ALL SELECT unnest(%(deploy)s::text[]), true) AS w
    LEFT JOIN pg_roles r ON r.rolname = name
    GROUP BY 1, 2, 3
), asked AS (
    SELECT unnest(%(read)s::text[]) AS name, false AS history UNION ALL SELECT unnest(%(record)s::text[]), true
), found AS (
    SELECT a.name, a.history, c.oid, n.nspname AS schema
    FROM asked a
    JOIN pg_namespace n ON n.nspname = (parse_ident(a.name))[1]
    JOIN pg_class c ON c.relnamespace = n.oid AND c.relname = (parse_ident(a.name))[2]
), dumped AS (
    SELECT c.oid, c.relkind, c.relnamespace, format('%%I.%%I', n.nspname, c.relname) AS name,
           c.relkind IN ('r', 'p') AND row_security_active(c.oid) AS hides
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE %(dump)s AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
      AND (c.relkind IN ('r', 'p') OR (%(rows)s AND c.relkind = 'S'))
      AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid
                        AND d.deptype = 'e')
), used AS (
    SELECT unnest(%(schemas)s::text[]) AS schema
    UNION SELECT schema FROM found
    UNION SELECT unnest(%(creates)s::text[])
    UNION SELECT nspname FROM pg_namespace WHERE oid IN (SELECT relnamespace FROM dumped)
), needs (need, privilege, kind, object, grantee, allowed, one_by_one, blocking) AS (
    SELECT privilege || ' on ' || f.name, privilege, 'TABLE', f.name, me.quoted,
           has_table_privilege(f.oid, privilege), true, true
    FROM me CROSS JOIN found f CROSS JOIN unnest(ARRAY['SELECT', 'INSERT', 'UPDATE']) AS p (privilege)
    WHERE f.history OR privilege = 'SELECT'
    UNION ALL
    -- Before PostgreSQL 16 every member may SET ROLE, and the privilege SET is not known.
    SELECT 'SET ROLE ' || o.name,
           CASE WHEN current_setting('server_version_num')::integer < 160000 THEN ''
                WHEN pg_has_role(o.oid, 'MEMBER') THEN 'SET TRUE' ELSE 'INHERIT FALSE, SET TRUE' END,
           'ROLE', o.quoted, me.quoted,
           pg_has_role(o.oid, CASE WHEN current_setting('server_version_num')::integer < 160000 THEN 'MEMBER'
                                   ELSE 'SET' END),
           true, NOT o.deploys_only
    FROM me CROSS JOIN owner o
    UNION ALL
    SELECT privilege || CASE privilege WHEN 'USAGE' THEN ' of' ELSE ' in' END || ' schema ' || schema || ' as ' || o.name,
           privilege, CASE WHEN n.oid IS NULL THEN 'NEW SCHEMA' ELSE 'SCHEMA' END, quote_ident(schema), o.quoted,
           has_schema_privilege(o.oid, n.oid, privilege), true, NOT o.deploys_only
    FROM owner o CROSS JOIN unnest(%(schemas)s::text[]) AS place (schema)
    CROSS JOIN unnest(ARRAY['USAGE', 'CREATE']) AS p (privilege)
    LEFT JOIN pg_namespace n ON n.nspname = schema
    UNION ALL
    SELECT 'CREATE in schema ' || schema, 'CREATE', CASE WHEN n.oid IS NULL THEN 'NEW SCHEMA' ELSE 'SCHEMA' END,
           quote_ident(schema), me.quoted,
           has_schema_privilege(n.oid, 'CREATE'), true, true
    FROM me CROSS JOIN unnest(%(creates)s::text[]) AS place (schema) LEFT JOIN pg_namespace n ON n.nspname = schema
    WHERE NOT EXISTS (SELECT FROM found WHERE history)
    UNION ALL
    SELECT privilege || ' on ' || f.name || ' as ' || o.name, privilege, 'TABLE', f.name, o.quoted,
           has_table_privilege(o.oid, f.oid, privilege), true, false
    FROM owner o CROSS JOIN found f CROSS JOIN unnest(ARRAY['SELECT', 'INSERT', 'UPDATE']) AS p (privilege)
    WHERE f.history AND o.name = ANY (%(deploy)s::text[])
    UNION ALL
    SELECT 'USAGE of schema ' || schema, 'USAGE', 'SCHEMA', quote_ident(schema), me.quoted,
           has_schema_privilege(n.oid, 'USAGE'), false, true
    FROM me CROSS JOIN used LEFT JOIN pg_namespace n ON n.nspname = schema
    WHERE n.oid IS NOT NULL OR EXISTS (SELECT FROM owner)  -- who is to make that schema
    UNION ALL
    SELECT 'SELECT on ' || CASE d.relkind WHEN 'S' THEN 'sequence ' ELSE '' END || d.name, 'SELECT',
           CASE d.relkind WHEN 'S' THEN 'SEQUENCE' ELSE 'TABLE' END, d.name, me.quoted,
           CASE d.relkind WHEN 'S' THEN has_sequence_privilege(d.oid, 'SELECT')
                          ELSE has_table_privilege(d.oid, 'SELECT') END, false, true
    FROM me CROSS JOIN dumped d
    WHERE d.oid NOT IN (SELECT oid FROM found)
    UNION ALL
    SELECT 'every row of ' || d.name || ' (row security)', 'BYPASSRLS', 'ATTRIBUTE', '', me.quoted,
           me.sees_rows, false, true
    FROM me CROSS JOIN dumped d WHERE %(rows)s AND d.hides
    UNION ALL
    SELECT 'USAGE of type ' || format_type(t.oid, NULL) || ' as ' || o.name, 'USAGE', 'TYPE',
           format('%%I.%%I', n.nspname, t.typname), o.quoted,
           has_type_privilege(o.oid, t.oid, 'USAGE'), false, NOT o.deploys_only
    FROM owner o CROSS JOIN pg_type t JOIN pg_namespace n ON n.oid = t.typnamespace
    WHERE n.nspname = ANY (%(schemas)s::text[]) AND t.typtype IN ('e', 'd', 'r') AND o.oid IS NOT NULL
    UNION ALL
    SELECT 'see what other sessions do', '', 'ROLE', 'pg_read_all_stats', me.quoted,
           pg_has_role('pg_read_all_stats', 'USAGE'), false, true
    FROM me WHERE %(stats)s
)
SELECT * FROM needs ORDER BY need
