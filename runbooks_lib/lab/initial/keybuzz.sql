-- The legacy database: none of the Amazon tables (so the report says). That it holds a table of
-- tenants is our reconstruction: it lets the finder tell a wrong database from an empty one.
GRANT USAGE, CREATE ON SCHEMA public TO kb_backend;

SET ROLE kb_legacy;

CREATE TABLE tenants (
    id   text PRIMARY KEY,
    name text NOT NULL
);
INSERT INTO tenants (id, name) VALUES
    ('tenant_test_dev', 'Tenant Test Dev'),
    ('kbz_test', 'KeyBuzz Test');

GRANT SELECT ON ALL TABLES IN SCHEMA public TO keybuzz_operator, keybuzz_readonly;

RESET ROLE;

ALTER DEFAULT PRIVILEGES FOR ROLE kb_backend IN SCHEMA public
    GRANT SELECT ON TABLES TO keybuzz_operator, keybuzz_readonly;
