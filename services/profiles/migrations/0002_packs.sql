-- The rule packs of the markets, from `decisioning`: what this service evaluates of them.

CREATE TABLE pack (
    tenant TEXT NOT NULL,
    market TEXT NOT NULL,
    version BIGINT NOT NULL,
    effective_at BIGINT NOT NULL,
    -- The greatest integer while it is in force.
    retired_at BIGINT NOT NULL,
    -- `RulePackActivated` with the consent sections of its documents.
    document blob NOT NULL,
    PRIMARY KEY (tenant, market, version)
);

-- Position in `decisioning` of the event that was last applied to a tenant's packs: what replicas hold in memory is
-- what the table holds as long as this stands.
CREATE TABLE pack_revision (
    tenant TEXT NOT NULL,
    position BIGINT NOT NULL,
    PRIMARY KEY (tenant)
);

-- Every contact point there is or was, by a blind index of channel and value: who has the same address.
CREATE TABLE contact_point (
    tenant TEXT NOT NULL,
    contact_point_id TEXT NOT NULL,
    value_index blob NOT NULL,
    PRIMARY KEY (tenant, contact_point_id)
);

CREATE INDEX contact_point_by_value ON contact_point (tenant, value_index, contact_point_id);

-- Who covers a party is asked before every field task.
ALTER TABLE relation ADD COLUMN kind BIGINT NOT NULL DEFAULT 0;
ALTER TABLE relation ADD COLUMN product_id TEXT NOT NULL DEFAULT '';

CREATE INDEX relation_coverage ON relation (tenant, from_party_id, kind);
