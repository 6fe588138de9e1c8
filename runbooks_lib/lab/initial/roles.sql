-- The lab's roles. Passwords are not here: each machine's lab gets its own.
CREATE ROLE replicator LOGIN REPLICATION;
CREATE ROLE kb_backend LOGIN;       -- owns what keybuzz-backend's migrations create
CREATE ROLE kb_legacy LOGIN;        -- owns the legacy database
CREATE ROLE keybuzz_operator LOGIN; -- carries the phases out
CREATE ROLE keybuzz_readonly LOGIN; -- may look, and no more

GRANT pg_read_all_stats TO keybuzz_operator;

-- The operator does not have the owner's rights, but can take them by SET ROLE.
DO $$
BEGIN
    IF current_setting('server_version_num')::int >= 160000 THEN
        EXECUTE 'GRANT kb_backend TO keybuzz_operator WITH INHERIT FALSE, SET TRUE';
    ELSE
        -- Before PostgreSQL 16 inheritance belongs to the role, not to the grant:
        -- a role in between that inherits nothing does the same.
        CREATE ROLE keybuzz_operator_as_owner NOLOGIN NOINHERIT;
        GRANT kb_backend TO keybuzz_operator_as_owner;
        GRANT keybuzz_operator_as_owner TO keybuzz_operator;
    END IF;
END
$$;
