-- What a script's meaning depends on beside its schema: locale, settings, extensions, and the roles that it may name.
-- Columns of pg_database differ by version, so they are read by name out of its row.
SELECT current_database() AS database,
       pg_encoding_to_char(d.encoding) AS encoding,
       coalesce(row.d ->> 'datlocprovider', 'c') AS provider,
       d.datcollate AS collate,
       d.datctype AS ctype,
       coalesce(row.d ->> 'datlocale', row.d ->> 'daticulocale') AS locale,
       (SELECT pg_get_userbyid(nspowner) FROM pg_namespace WHERE nspname = 'public') AS public_owner,
       ARRAY(SELECT rolname::text FROM pg_roles WHERE rolname !~ '^pg_' ORDER BY 1) AS roles,
       ARRAY(SELECT ARRAY[coalesce(r.rolname, ''), split_part(c, '=', 1), substr(c, strpos(c, '=') + 1)]
               FROM pg_db_role_setting s LEFT JOIN pg_roles r ON r.oid = s.setrole CROSS JOIN unnest(s.setconfig) c
              WHERE s.setdatabase IN (0, d.oid)
              ORDER BY s.setrole <> 0, s.setdatabase <> 0, c) AS settings,
       ARRAY(SELECT ARRAY[e.extname::text, n.nspname::text]
               FROM pg_extension e JOIN pg_namespace n ON n.oid = e.extnamespace
              WHERE e.extname <> 'plpgsql' ORDER BY 1) AS extensions
FROM pg_database d CROSS JOIN LATERAL (SELECT to_jsonb(d) AS d) AS row
WHERE d.datname = current_database()
