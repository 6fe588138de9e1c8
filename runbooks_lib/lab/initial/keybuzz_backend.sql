-- The content of keybuzz_backend as the report of 7 January 2026 found it; runs as kb_backend,
-- after the two migrations of keybuzz-backend were executed.
--
-- From the report, word for word: tables, row counts, ids, tenants, marketplaces and statuses of
-- MarketplaceConnection; tenants, marketplaces, countries, addresses and validation statuses of
-- inbound_addresses; tenants of inbound_connections. All other columns and values (display names,
-- times, the ids of inbound_connections, inbound_addresses and OAuthState, the OAuth states
-- themselves) are not in the report: they are our reconstruction.

INSERT INTO "MarketplaceConnection" ("id", "tenantId", "type", "status", "displayName", "createdAt", "updatedAt") VALUES
    ('mpc_amazon_tenant_test_dev', 'tenant_test_dev', 'AMAZON', 'CONNECTED', 'Amazon (tenant_test_dev)', '2025-12-18 09:12:04.117', '2025-12-21 10:02:51.640'),
    ('cmjecdiqj0000p0fvgljq171d', 'kbz_test', 'AMAZON', 'CONNECTED', 'Amazon (kbz_test)', '2025-12-20 14:37:22.891', '2025-12-21 00:05:13.302');

INSERT INTO "inbound_connections" ("id", "tenantId", "marketplace", "countries", "status", "createdAt", "updatedAt") VALUES
    ('ic_amazon_tenant_test_dev', 'tenant_test_dev', 'AMAZON', ARRAY['DE', 'FR', 'UK'], 'READY', '2025-12-18 09:14:30.052', '2025-12-21 10:02:51.655'),
    ('ic_amazon_kbz_test', 'kbz_test', 'AMAZON', ARRAY['DE', 'FR'], 'READY', '2025-12-20 14:39:10.418', '2025-12-21 00:05:13.317');

INSERT INTO "inbound_addresses"
    ("id", "tenantId", "connectionId", "marketplace", "country", "emailAddress",
     "validationStatus", "pipelineStatus", "marketplaceStatus", "lastInboundAt", "createdAt", "updatedAt") VALUES
    ('ia_amazon_tenant_test_dev_de', 'tenant_test_dev', 'ic_amazon_tenant_test_dev', 'AMAZON', 'DE',
     'amazon.tenant_test_dev.de.97lo14@inbound.keybuzz.io',
     'VALIDATED', 'VALIDATED', 'VALIDATED', '2025-12-21 09:58:40.000', '2025-12-18 09:14:30.071', '2025-12-21 09:58:40.233'),
    ('ia_amazon_tenant_test_dev_fr', 'tenant_test_dev', 'ic_amazon_tenant_test_dev', 'AMAZON', 'FR',
     'amazon.tenant_test_dev.fr.6v8gqm@inbound.keybuzz.io',
     'VALIDATED', 'VALIDATED', 'VALIDATED', '2025-12-21 10:02:51.000', '2025-12-18 09:14:30.080', '2025-12-21 10:02:51.412'),
    ('ia_amazon_tenant_test_dev_uk', 'tenant_test_dev', 'ic_amazon_tenant_test_dev', 'AMAZON', 'UK',
     'amazon.tenant_test_dev.uk.2hpmad@inbound.keybuzz.io',
     'VALIDATED', 'VALIDATED', 'VALIDATED', '2025-12-20 17:21:09.000', '2025-12-18 09:14:30.088', '2025-12-20 17:21:09.145'),
    ('ia_amazon_kbz_test_de', 'kbz_test', 'ic_amazon_kbz_test', 'AMAZON', 'DE',
     'amazon.kbz_test.de.k9m2de@inbound.keybuzz.io',
     'VALIDATED', 'VALIDATED', 'VALIDATED', '2025-12-20 23:59:02.000', '2025-12-20 14:39:10.436', '2025-12-20 23:59:02.518'),
    ('ia_amazon_kbz_test_fr', 'kbz_test', 'ic_amazon_kbz_test', 'AMAZON', 'FR',
     'amazon.kbz_test.fr.x7p4fr@inbound.keybuzz.io',
     'VALIDATED', 'VALIDATED', 'VALIDATED', '2025-12-21 00:05:13.000', '2025-12-20 14:39:10.445', '2025-12-21 00:05:13.199');

INSERT INTO "OAuthState" ("id", "state", "tenantId", "connectionId", "marketplaceType", "expiresAt", "usedAt", "createdAt") VALUES
    ('oas_01', 'state_tenant_test_dev_01', 'tenant_test_dev', NULL, 'AMAZON', '2025-12-21 08:40:00.000', NULL, '2025-12-21 08:30:00.000'),
    ('oas_02', 'state_tenant_test_dev_02', 'tenant_test_dev', NULL, 'AMAZON', '2025-12-21 09:25:00.000', NULL, '2025-12-21 09:15:00.000'),
    ('oas_03', 'state_tenant_test_dev_03', 'tenant_test_dev', 'mpc_amazon_tenant_test_dev', 'AMAZON', '2025-12-21 10:10:00.000', '2025-12-21 10:02:48.000', '2025-12-21 10:00:00.000'),
    ('oas_04', 'state_kbz_test_01', 'kbz_test', NULL, 'AMAZON', '2025-12-20 23:50:00.000', NULL, '2025-12-20 23:40:00.000'),
    ('oas_05', 'state_kbz_test_02', 'kbz_test', 'cmjecdiqj0000p0fvgljq171d', 'AMAZON', '2025-12-21 00:12:00.000', '2025-12-21 00:05:10.000', '2025-12-21 00:02:00.000');

-- As Prisma itself creates it. The row of the first migration is added by the lab, with the
-- checksum of the file; the row of 20251220235148_add_oauth_state_table is what the phase restores.
CREATE TABLE "_prisma_migrations" (
    id                  VARCHAR(36) PRIMARY KEY NOT NULL,
    checksum            VARCHAR(64) NOT NULL,
    finished_at         TIMESTAMPTZ,
    migration_name      VARCHAR(255) NOT NULL,
    logs                TEXT,
    rolled_back_at      TIMESTAMPTZ,
    started_at          TIMESTAMPTZ NOT NULL DEFAULT now(),
    applied_steps_count INTEGER NOT NULL DEFAULT 0
);

GRANT SELECT ON ALL TABLES IN SCHEMA public TO keybuzz_operator, keybuzz_readonly;
GRANT INSERT, UPDATE ON "_prisma_migrations" TO keybuzz_operator;
ALTER DEFAULT PRIVILEGES IN SCHEMA public GRANT SELECT ON TABLES TO keybuzz_operator, keybuzz_readonly;
