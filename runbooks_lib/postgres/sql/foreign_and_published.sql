-- Foreign data, publications, subscriptions, event triggers, extended statistics; without those of extensions.
-- A line that ends in `-- since N` is of that version and newer. Neither a subscription's connection nor a user
-- mapping's options are read: both hold passwords, and only some roles may see them.
WITH member AS (
    SELECT classid, objid FROM pg_depend WHERE refclassid = 'pg_extension'::regclass AND deptype = 'e'
)
SELECT 'foreign data wrapper' AS kind, ARRAY[w.fdwname]::text[] AS names,
       json_strip_nulls(json_build_object(
           'owner', pg_get_userbyid(w.fdwowner), 'handler', w.fdwhandler::regproc::text,
           'validator', w.fdwvalidator::regproc::text, 'options', w.fdwoptions)) AS fields
FROM pg_foreign_data_wrapper w WHERE (w.tableoid, w.oid) NOT IN (TABLE member)
UNION ALL
SELECT 'foreign server', ARRAY[s.srvname],
       json_strip_nulls(json_build_object(
           'owner', pg_get_userbyid(s.srvowner), 'wrapper', w.fdwname, 'type', s.srvtype, 'version', s.srvversion,
           'options', s.srvoptions))
FROM pg_foreign_server s JOIN pg_foreign_data_wrapper w ON w.oid = s.srvfdw
WHERE (s.tableoid, s.oid) NOT IN (TABLE member)
UNION ALL
SELECT 'user mapping', ARRAY[m.srvname, m.usename], json_build_object('server', m.srvname)
FROM pg_user_mappings m
UNION ALL
SELECT 'foreign table', ARRAY[n.nspname, c.relname],
       json_strip_nulls(json_build_object('server', s.srvname, 'options', t.ftoptions))
FROM pg_foreign_table t JOIN pg_class c ON c.oid = t.ftrelid JOIN pg_namespace n ON n.oid = c.relnamespace
JOIN pg_foreign_server s ON s.oid = t.ftserver
WHERE n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
UNION ALL
SELECT 'publication', ARRAY[p.pubname],
       json_strip_nulls(json_build_object(
           'owner', pg_get_userbyid(p.pubowner), 'all_tables', p.puballtables, 'insert', p.pubinsert,
           'update', p.pubupdate, 'delete', p.pubdelete, 'truncate', p.pubtruncate, 'via_root', p.pubviaroot,
           'generated_columns', to_jsonb(p) ->> 'pubgencols',
           'schemas', (SELECT json_agg(q.nspname ORDER BY q.nspname) FROM pg_publication_namespace s -- since 15
                       JOIN pg_namespace q ON q.oid = s.pnnspid WHERE s.pnpubid = p.oid), -- since 15
           'tables', (SELECT json_agg(json_build_array(r.prrelid::regclass::text
                                 , coalesce(pg_get_expr(r.prqual, r.prrelid), '') -- since 15
                                 , coalesce((SELECT string_agg(quote_ident(a.attname), ', ' ORDER BY a.attnum) -- since 15
                                    FROM pg_attribute a WHERE a.attrelid = r.prrelid -- since 15
                                    AND a.attnum = ANY (r.prattrs::int2[])), '') -- since 15
                                 ) ORDER BY r.prrelid::regclass::text)
                      FROM pg_publication_rel r WHERE r.prpubid = p.oid)))
FROM pg_publication p WHERE (p.tableoid, p.oid) NOT IN (TABLE member)
UNION ALL
SELECT 'subscription', ARRAY[s.subname],
       json_strip_nulls(json_build_object(
           'owner', pg_get_userbyid(s.subowner), 'enabled', s.subenabled, 'binary', s.subbinary,
           'streaming', s.substream::text, 'slot', s.subslotname, 'synchronous_commit', s.subsynccommit,
           'two_phase', s.subtwophasestate <> 'd', -- since 15
           'disable_on_error', s.subdisableonerr, -- since 15
           'password_required', s.subpasswordrequired, 'run_as_owner', s.subrunasowner, 'origin', s.suborigin, -- since 16
           'failover', s.subfailover, -- since 17
           'publications', s.subpublications))
FROM pg_subscription s JOIN pg_database d ON d.oid = s.subdbid AND d.datname = current_database()
UNION ALL
SELECT 'event trigger', ARRAY[e.evtname],
       json_strip_nulls(json_build_object('owner', pg_get_userbyid(e.evtowner), 'event', e.evtevent,
                                          'function', e.evtfoid::regproc::text, 'enabled', e.evtenabled::text,
                                          'tags', e.evttags))
FROM pg_event_trigger e WHERE (e.tableoid, e.oid) NOT IN (TABLE member)
UNION ALL
SELECT 'statistics', ARRAY[n.nspname, x.stxname],
       json_strip_nulls(json_build_object('owner', pg_get_userbyid(x.stxowner),
                                          'definition', pg_get_statisticsobjdef(x.oid),
                                          'target', CASE WHEN x.stxstattarget >= 0 THEN x.stxstattarget END))
FROM pg_statistic_ext x JOIN pg_namespace n ON n.oid = x.stxnamespace
WHERE n.nspname !~ '^pg_' AND n.nspname <> 'information_schema' AND (x.tableoid, x.oid) NOT IN (TABLE member)
ORDER BY 1, 2
