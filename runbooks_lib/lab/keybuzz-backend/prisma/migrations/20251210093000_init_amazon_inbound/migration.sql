-- CreateEnum
CREATE TYPE "MarketplaceType" AS ENUM ('AMAZON', 'FNAC', 'CDISCOUNT', 'OTHER');

-- CreateEnum
CREATE TYPE "MarketplaceConnectionStatus" AS ENUM ('PENDING', 'CONNECTED', 'ERROR', 'DISABLED');

-- CreateEnum
CREATE TYPE "InboundConnectionStatus" AS ENUM ('DRAFT', 'WAITING_EMAIL', 'WAITING_AMAZON', 'READY', 'DEGRADED', 'ERROR');

-- CreateEnum
CREATE TYPE "InboundValidationStatus" AS ENUM ('PENDING', 'VALIDATED', 'FAILED');

-- CreateTable
CREATE TABLE "MarketplaceConnection" (
    "id" TEXT NOT NULL,
    "tenantId" TEXT NOT NULL,
    "type" "MarketplaceType" NOT NULL,
    "status" "MarketplaceConnectionStatus" NOT NULL DEFAULT 'PENDING',
    "displayName" TEXT,
    "createdAt" TIMESTAMP(3) NOT NULL DEFAULT CURRENT_TIMESTAMP,
    "updatedAt" TIMESTAMP(3) NOT NULL,

    CONSTRAINT "MarketplaceConnection_pkey" PRIMARY KEY ("id")
);

-- CreateTable
CREATE TABLE "MarketplaceSyncState" (
    "connectionId" TEXT NOT NULL,
    "cursor" TEXT,
    "lastSyncedAt" TIMESTAMP(3),
    "errorCount" INTEGER NOT NULL DEFAULT 0,
    "updatedAt" TIMESTAMP(3) NOT NULL,

    CONSTRAINT "MarketplaceSyncState_pkey" PRIMARY KEY ("connectionId")
);

-- CreateTable
CREATE TABLE "inbound_connections" (
    "id" TEXT NOT NULL,
    "tenantId" TEXT NOT NULL,
    "marketplace" "MarketplaceType" NOT NULL,
    "countries" TEXT[],
    "status" "InboundConnectionStatus" NOT NULL DEFAULT 'DRAFT',
    "createdAt" TIMESTAMP(3) NOT NULL DEFAULT CURRENT_TIMESTAMP,
    "updatedAt" TIMESTAMP(3) NOT NULL,

    CONSTRAINT "inbound_connections_pkey" PRIMARY KEY ("id")
);

-- CreateTable
CREATE TABLE "inbound_addresses" (
    "id" TEXT NOT NULL,
    "tenantId" TEXT NOT NULL,
    "connectionId" TEXT NOT NULL,
    "marketplace" "MarketplaceType" NOT NULL,
    "country" TEXT NOT NULL,
    "emailAddress" TEXT NOT NULL,
    "validationStatus" "InboundValidationStatus" NOT NULL DEFAULT 'PENDING',
    "pipelineStatus" "InboundValidationStatus" NOT NULL DEFAULT 'PENDING',
    "marketplaceStatus" "InboundValidationStatus" NOT NULL DEFAULT 'PENDING',
    "lastInboundAt" TIMESTAMP(3),
    "createdAt" TIMESTAMP(3) NOT NULL DEFAULT CURRENT_TIMESTAMP,
    "updatedAt" TIMESTAMP(3) NOT NULL,

    CONSTRAINT "inbound_addresses_pkey" PRIMARY KEY ("id")
);

-- CreateIndex
CREATE INDEX "marketplace_connections_tenantId_type_idx" ON "MarketplaceConnection"("tenantId", "type");

-- CreateIndex
CREATE INDEX "inbound_connections_status_idx" ON "inbound_connections"("status");

-- CreateIndex
CREATE UNIQUE INDEX "inbound_connections_tenantId_marketplace_key" ON "inbound_connections"("tenantId", "marketplace");

-- CreateIndex
CREATE INDEX "inbound_addresses_validationStatus_lastInboundAt_idx" ON "inbound_addresses"("validationStatus", "lastInboundAt");

-- CreateIndex
CREATE INDEX "inbound_addresses_pipelineStatus_marketplaceStatus_idx" ON "inbound_addresses"("pipelineStatus", "marketplaceStatus");

-- CreateIndex
CREATE UNIQUE INDEX "inbound_addresses_tenantId_marketplace_country_key" ON "inbound_addresses"("tenantId", "marketplace", "country");

-- AddForeignKey
ALTER TABLE "MarketplaceSyncState" ADD CONSTRAINT "MarketplaceSyncState_connectionId_fkey" FOREIGN KEY ("connectionId") REFERENCES "MarketplaceConnection"("id") ON DELETE CASCADE ON UPDATE CASCADE;

-- AddForeignKey
ALTER TABLE "inbound_addresses" ADD CONSTRAINT "inbound_addresses_connectionId_fkey" FOREIGN KEY ("connectionId") REFERENCES "inbound_connections"("id") ON DELETE CASCADE ON UPDATE CASCADE;
