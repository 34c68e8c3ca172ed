-- What lists, look-ups and the gate read. Every row follows from events, own ones or those of `decisioning` and
-- `profiles`; a rebuild empties these tables and replays. No personal value is here.

CREATE TABLE sender (
    tenant TEXT NOT NULL,
    sender_id TEXT NOT NULL,
    PRIMARY KEY (tenant, sender_id)
);

CREATE TABLE touch (
    tenant TEXT NOT NULL,
    touch_id TEXT NOT NULL,
    party_id TEXT NOT NULL,
    channel BIGINT NOT NULL,
    state BIGINT NOT NULL,
    market TEXT NOT NULL,
    assignee_party_id TEXT NOT NULL,
    provider_id TEXT NOT NULL,
    expires_at BIGINT NOT NULL,
    requested_position BIGINT NOT NULL,
    PRIMARY KEY (tenant, touch_id)
);

CREATE UNIQUE INDEX touch_in_order ON touch (tenant, requested_position);
CREATE INDEX touch_of_party ON touch (tenant, party_id, requested_position);
CREATE INDEX touch_in_state ON touch (tenant, state, requested_position);
CREATE INDEX touch_by_due_time ON touch (tenant, state, expires_at, touch_id);
CREATE INDEX touch_by_provider ON touch (tenant, provider_id);

-- One row for each suppression that holds.
CREATE TABLE suppression (
    tenant TEXT NOT NULL,
    party_id TEXT NOT NULL,
    suppression_id TEXT NOT NULL,
    PRIMARY KEY (tenant, party_id, suppression_id)
);

-- Whose each contact point is that a touch was let through to: a suppression of it stands in that party's stream.
CREATE TABLE contact_point (
    tenant TEXT NOT NULL,
    contact_point_id TEXT NOT NULL,
    party_id TEXT NOT NULL,
    PRIMARY KEY (tenant, contact_point_id)
);

-- What each pressure stream adds up to at its version: the contacts that a line may still count.
CREATE TABLE pressure (
    tenant TEXT NOT NULL,
    party_id TEXT NOT NULL,
    version BIGINT NOT NULL,
    contacts blob NOT NULL,
    PRIMARY KEY (tenant, party_id)
);

-- What providers reported, each once for ever.
CREATE TABLE provider_event (
    tenant TEXT NOT NULL,
    provider TEXT NOT NULL,
    provider_event_id TEXT NOT NULL,
    touch_id TEXT NOT NULL,
    request_id TEXT NOT NULL,
    PRIMARY KEY (tenant, provider, provider_event_id)
);

-- Versions of rule packs and of the policy that `decisioning` activated. Which one is in force it tells itself.
CREATE TABLE rule_pack (
    tenant TEXT NOT NULL,
    market TEXT NOT NULL,
    version BIGINT NOT NULL,
    pack blob NOT NULL,
    PRIMARY KEY (tenant, market, version)
);

CREATE TABLE policy (
    tenant TEXT NOT NULL,
    version BIGINT NOT NULL,
    policy blob NOT NULL,
    PRIMARY KEY (tenant, version)
);

-- Interactions that lines of a policy may count, by position in `profiles`. All of them: a policy that is live
-- tomorrow counts those of today.
CREATE TABLE interaction (
    tenant TEXT NOT NULL,
    position BIGINT NOT NULL,
    party_id TEXT NOT NULL,
    name TEXT NOT NULL,
    occurred_at BIGINT NOT NULL,
    PRIMARY KEY (tenant, position)
);

CREATE INDEX interaction_of_party ON interaction (tenant, party_id, name, occurred_at);

-- Which modules the tasks carry that are not done yet: a module that ends takes them with it.
CREATE TABLE task_module (
    tenant TEXT NOT NULL,
    module_id TEXT NOT NULL,
    touch_id TEXT NOT NULL,
    version BIGINT NOT NULL,
    PRIMARY KEY (tenant, module_id, touch_id)
);

CREATE INDEX task_module_of_touch ON task_module (tenant, touch_id);
