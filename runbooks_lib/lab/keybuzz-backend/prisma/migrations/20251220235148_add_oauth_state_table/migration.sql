-- CreateTable
CREATE TABLE "OAuthState" (
    "id" TEXT NOT NULL,
    "state" TEXT NOT NULL,
    "tenantId" TEXT NOT NULL,
    "connectionId" TEXT,
    "marketplaceType" "MarketplaceType" NOT NULL,
    "expiresAt" TIMESTAMP(3) NOT NULL,
    "usedAt" TIMESTAMP(3),
    "createdAt" TIMESTAMP(3) NOT NULL DEFAULT CURRENT_TIMESTAMP,

    CONSTRAINT "OAuthState_pkey" PRIMARY KEY ("id")
);

-- CreateIndex
CREATE UNIQUE INDEX "oauth_states_state_key" ON "OAuthState"("state");

-- CreateIndex
CREATE INDEX "oauth_states_state_idx" ON "OAuthState"("state");

-- CreateIndex
CREATE INDEX "oauth_states_tenantId_idx" ON "OAuthState"("tenantId");

-- CreateIndex
CREATE INDEX "oauth_states_connectionId_idx" ON "OAuthState"("connectionId");

-- CreateIndex
CREATE INDEX "oauth_states_expiresAt_idx" ON "OAuthState"("expiresAt");
