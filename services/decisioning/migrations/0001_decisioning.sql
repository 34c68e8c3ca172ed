-- What decisions read. Own rows follow from own events, the others from the events of content, delivery and profiles.

-- The position of the last event that changed what decisions of a tenant share, by aggregate: policy, rule_pack, holdout,
-- model.
CREATE TABLE revision (
    tenant TEXT NOT NULL,
    aggregate TEXT NOT NULL,
    number BIGINT NOT NULL,
    PRIMARY KEY (tenant, aggregate)
);

-- The policy in force.
CREATE TABLE live_policy (
    tenant TEXT NOT NULL,
    version BIGINT NOT NULL,
    hash blob NOT NULL,
    document blob NOT NULL,
    PRIMARY KEY (tenant)
);

CREATE TABLE pack (
    tenant TEXT NOT NULL,
    rule_pack TEXT NOT NULL,
    PRIMARY KEY (tenant, rule_pack)
);

-- Every activation of a pack: of those effective and not retired the one recorded last counts.
CREATE TABLE pack_in_force (
    tenant TEXT NOT NULL,
    market TEXT NOT NULL,
    version BIGINT NOT NULL,
    effective_at BIGINT NOT NULL,
    retired_at BIGINT NOT NULL,
    position BIGINT NOT NULL,
    activated blob NOT NULL,
    PRIMARY KEY (tenant, market, version)
);

CREATE TABLE holdout (
    tenant TEXT NOT NULL,
    holdout_id TEXT NOT NULL,
    started_at BIGINT NOT NULL,
    ended_at BIGINT NOT NULL,
    started blob NOT NULL,
    PRIMARY KEY (tenant, holdout_id)
);

CREATE INDEX holdout_running ON holdout (tenant, ended_at, holdout_id);

CREATE TABLE prior_snapshot (
    tenant TEXT NOT NULL,
    as_of BIGINT NOT NULL,
    hash blob NOT NULL,
    published blob NOT NULL,
    PRIMARY KEY (tenant)
);

CREATE TABLE decision (
    tenant TEXT NOT NULL,
    decision_id TEXT NOT NULL,
    party_id TEXT NOT NULL,
    position BIGINT NOT NULL,
    decided_at BIGINT NOT NULL,
    market TEXT NOT NULL,
    action TEXT NOT NULL,
    treatment TEXT NOT NULL,
    action_group TEXT NOT NULL,
    channel BIGINT NOT NULL,
    topic TEXT NOT NULL,
    pi DOUBLE PRECISION NOT NULL,
    arm BIGINT NOT NULL,
    requested_by TEXT NOT NULL,
    -- What was learnt from it, in millionths; -1 before its reward was closed or when it was censored.
    learnt BIGINT NOT NULL,
    PRIMARY KEY (tenant, decision_id)
);

CREATE INDEX decision_of_party ON decision (tenant, party_id, position);
CREATE INDEX decision_in_order ON decision (tenant, position);
-- What a party did is summed when it is read, decision by decision: a sum that is kept would show in which order rewards
-- were closed. Decisions that nothing is learnt from are not in it.
CREATE INDEX decision_learnt ON decision (tenant, party_id, decided_at, decision_id) WHERE learnt >= 0;

-- Which interactions a decision waits for.
CREATE TABLE awaited (
    tenant TEXT NOT NULL,
    party_id TEXT NOT NULL,
    event TEXT NOT NULL,
    decision_id TEXT NOT NULL,
    decided_at BIGINT NOT NULL,
    until BIGINT NOT NULL,
    PRIMARY KEY (tenant, party_id, event, decided_at, decision_id)
);

-- A party's own counts in millionths, for the priors of its group.
CREATE TABLE affinity (
    tenant TEXT NOT NULL,
    party_id TEXT NOT NULL,
    channel BIGINT NOT NULL,
    topic TEXT NOT NULL,
    market TEXT NOT NULL,
    as_of BIGINT NOT NULL,
    successes BIGINT NOT NULL,
    closed BIGINT NOT NULL,
    PRIMARY KEY (tenant, party_id, channel, topic)
);

-- From here on: what other services said.

-- The position of the last event of a source that changed what decisions of a tenant share: modules.
CREATE TABLE outside_revision (
    tenant TEXT NOT NULL,
    source TEXT NOT NULL,
    number BIGINT NOT NULL,
    PRIMARY KEY (tenant, source)
);

CREATE TABLE module_version (
    tenant TEXT NOT NULL,
    module_id TEXT NOT NULL,
    version BIGINT NOT NULL,
    approved_position BIGINT NOT NULL,
    ended_position BIGINT NOT NULL,
    ended TEXT NOT NULL,
    approved blob NOT NULL,
    PRIMARY KEY (tenant, module_id, version)
);

CREATE TABLE trait_name (
    tenant TEXT NOT NULL,
    trait_id TEXT NOT NULL,
    kind BIGINT NOT NULL,
    PRIMARY KEY (tenant, trait_id)
);

CREATE TABLE touch (
    tenant TEXT NOT NULL,
    touch_id TEXT NOT NULL,
    party_id TEXT NOT NULL,
    decision_id TEXT NOT NULL,
    channel BIGINT NOT NULL,
    PRIMARY KEY (tenant, touch_id)
);

-- The past of parties: contacts by touch, interactions and outcomes by the position of their event.
CREATE TABLE happening (
    tenant TEXT NOT NULL,
    happening_id TEXT NOT NULL,
    party_id TEXT NOT NULL,
    kind BIGINT NOT NULL,
    name TEXT NOT NULL,
    happened_at BIGINT NOT NULL,
    reason TEXT NOT NULL,
    product_id TEXT NOT NULL,
    decision_id TEXT NOT NULL,
    channel BIGINT NOT NULL,
    PRIMARY KEY (tenant, happening_id)
);

CREATE INDEX happening_of_party ON happening (tenant, party_id, kind, name, happened_at);
