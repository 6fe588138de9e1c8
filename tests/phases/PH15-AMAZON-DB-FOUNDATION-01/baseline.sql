-- PH15-AMAZON-DB-FOUNDATION-01: the Amazon/Inbound tables of keybuzz-backend, as a baseline.
--
-- Idempotent: what exists is left as it is; a second run changes nothing. There is no BEGIN or
-- COMMIT here: the runner wraps the file in one transaction, with its time-outs and as the owner.
-- An existing object of the same name but another shape is *not* mended: the plan names it.
--
-- The result equals that of the Prisma migrations 20251210093000_init_amazon_inbound and
-- 20251220235148_add_oauth_state_table: column order, defaults, names of constraints and indexes.
-- Names of tables, enums, labels and indexes come from the report of 7 January 2026; columns that
-- it does not name are a reconstruction (phase.toml says which).

-- Enums: CREATE TYPE knows no IF NOT EXISTS.
DO $$ BEGIN
    CREATE TYPE public."MarketplaceType" AS ENUM ('AMAZON', 'FNAC', 'CDISCOUNT', 'OTHER');
EXCEPTION WHEN duplicate_object THEN NULL;
END $$;

DO $$ BEGIN
    CREATE TYPE public."MarketplaceConnectionStatus" AS ENUM ('PENDING', 'CONNECTED', 'ERROR', 'DISABLED');
EXCEPTION WHEN duplicate_object THEN NULL;
END $$;

DO $$ BEGIN
    CREATE TYPE public."InboundConnectionStatus" AS ENUM
        ('DRAFT', 'WAITING_EMAIL', 'WAITING_AMAZON', 'READY', 'DEGRADED', 'ERROR');
EXCEPTION WHEN duplicate_object THEN NULL;
END $$;

DO $$ BEGIN
    CREATE TYPE public."InboundValidationStatus" AS ENUM ('PENDING', 'VALIDATED', 'FAILED');
EXCEPTION WHEN duplicate_object THEN NULL;
END $$;

-- Tables, each after those that it refers to.
CREATE TABLE IF NOT EXISTS public."MarketplaceConnection" (
    "id" TEXT NOT NULL,
    "tenantId" TEXT NOT NULL,
    "type" public."MarketplaceType" NOT NULL,
    "status" public."MarketplaceConnectionStatus" NOT NULL DEFAULT 'PENDING',
    "displayName" TEXT,
    "createdAt" TIMESTAMP(3) NOT NULL DEFAULT CURRENT_TIMESTAMP,
    "updatedAt" TIMESTAMP(3) NOT NULL,

    CONSTRAINT "MarketplaceConnection_pkey" PRIMARY KEY ("id")
);

CREATE TABLE IF NOT EXISTS public."MarketplaceSyncState" (
    "connectionId" TEXT NOT NULL,
    "cursor" TEXT,
    "lastSyncedAt" TIMESTAMP(3),
    "errorCount" INTEGER NOT NULL DEFAULT 0,
    "updatedAt" TIMESTAMP(3) NOT NULL,

    CONSTRAINT "MarketplaceSyncState_pkey" PRIMARY KEY ("connectionId"),
    CONSTRAINT "MarketplaceSyncState_connectionId_fkey" FOREIGN KEY ("connectionId")
        REFERENCES public."MarketplaceConnection" ("id") ON DELETE CASCADE ON UPDATE CASCADE
);

CREATE TABLE IF NOT EXISTS public."inbound_connections" (
    "id" TEXT NOT NULL,
    "tenantId" TEXT NOT NULL,
    "marketplace" public."MarketplaceType" NOT NULL,
    "countries" TEXT[],
    "status" public."InboundConnectionStatus" NOT NULL DEFAULT 'DRAFT',
    "createdAt" TIMESTAMP(3) NOT NULL DEFAULT CURRENT_TIMESTAMP,
    "updatedAt" TIMESTAMP(3) NOT NULL,

    CONSTRAINT "inbound_connections_pkey" PRIMARY KEY ("id")
);

CREATE TABLE IF NOT EXISTS public."inbound_addresses" (
    "id" TEXT NOT NULL,
    "tenantId" TEXT NOT NULL,
    "connectionId" TEXT NOT NULL,
    "marketplace" public."MarketplaceType" NOT NULL,
    "country" TEXT NOT NULL,
    "emailAddress" TEXT NOT NULL,
    "validationStatus" public."InboundValidationStatus" NOT NULL DEFAULT 'PENDING',
    "pipelineStatus" public."InboundValidationStatus" NOT NULL DEFAULT 'PENDING',
    "marketplaceStatus" public."InboundValidationStatus" NOT NULL DEFAULT 'PENDING',
    "lastInboundAt" TIMESTAMP(3),
    "createdAt" TIMESTAMP(3) NOT NULL DEFAULT CURRENT_TIMESTAMP,
    "updatedAt" TIMESTAMP(3) NOT NULL,

    CONSTRAINT "inbound_addresses_pkey" PRIMARY KEY ("id"),
    CONSTRAINT "inbound_addresses_connectionId_fkey" FOREIGN KEY ("connectionId")
        REFERENCES public."inbound_connections" ("id") ON DELETE CASCADE ON UPDATE CASCADE
);

CREATE TABLE IF NOT EXISTS public."OAuthState" (
    "id" TEXT NOT NULL,
    "state" TEXT NOT NULL,
    "tenantId" TEXT NOT NULL,
    "connectionId" TEXT,
    "marketplaceType" public."MarketplaceType" NOT NULL,
    "expiresAt" TIMESTAMP(3) NOT NULL,
    "usedAt" TIMESTAMP(3),
    "createdAt" TIMESTAMP(3) NOT NULL DEFAULT CURRENT_TIMESTAMP,

    CONSTRAINT "OAuthState_pkey" PRIMARY KEY ("id")
);

-- Indexes. Not CONCURRENTLY: that cannot run in a transaction, and these tables are new or small.
CREATE INDEX IF NOT EXISTS "marketplace_connections_tenantId_type_idx"
    ON public."MarketplaceConnection" ("tenantId", "type");

CREATE UNIQUE INDEX IF NOT EXISTS "inbound_connections_tenantId_marketplace_key"
    ON public."inbound_connections" ("tenantId", "marketplace");

CREATE INDEX IF NOT EXISTS "inbound_connections_status_idx"
    ON public."inbound_connections" ("status");

CREATE UNIQUE INDEX IF NOT EXISTS "inbound_addresses_tenantId_marketplace_country_key"
    ON public."inbound_addresses" ("tenantId", "marketplace", "country");

CREATE INDEX IF NOT EXISTS "inbound_addresses_validationStatus_lastInboundAt_idx"
    ON public."inbound_addresses" ("validationStatus", "lastInboundAt");

CREATE INDEX IF NOT EXISTS "inbound_addresses_pipelineStatus_marketplaceStatus_idx"
    ON public."inbound_addresses" ("pipelineStatus", "marketplaceStatus");

CREATE UNIQUE INDEX IF NOT EXISTS "oauth_states_state_key" ON public."OAuthState" ("state");

CREATE INDEX IF NOT EXISTS "oauth_states_state_idx" ON public."OAuthState" ("state");

CREATE INDEX IF NOT EXISTS "oauth_states_tenantId_idx" ON public."OAuthState" ("tenantId");

CREATE INDEX IF NOT EXISTS "oauth_states_connectionId_idx" ON public."OAuthState" ("connectionId");

CREATE INDEX IF NOT EXISTS "oauth_states_expiresAt_idx" ON public."OAuthState" ("expiresAt");
