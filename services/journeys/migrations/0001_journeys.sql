-- What lists and look-ups read. Every row follows from events; a rebuild empties these tables and replays.

CREATE TABLE journey (
    tenant TEXT NOT NULL,
    journey_id TEXT NOT NULL,
    PRIMARY KEY (tenant, journey_id)
);

-- What the versions that went live once let happen, and the version of the journey's stream that said so. A version
-- that is not paused has timers 0.
CREATE TABLE journey_version (
    tenant TEXT NOT NULL,
    journey_id TEXT NOT NULL,
    version BIGINT NOT NULL,
    enters BIGINT NOT NULL,
    retired BIGINT NOT NULL,
    timers BIGINT NOT NULL,
    reason TEXT NOT NULL,
    paused_at BIGINT NOT NULL,
    stream_version BIGINT NOT NULL,
    PRIMARY KEY (tenant, journey_id, version)
);

-- What lets parties into the versions that are live: `event/<name>` or `segment/<id>/<crossing>`.
CREATE TABLE entry_trigger (
    tenant TEXT NOT NULL,
    trigger_key TEXT NOT NULL,
    journey_id TEXT NOT NULL,
    version BIGINT NOT NULL,
    PRIMARY KEY (tenant, trigger_key, journey_id)
);

CREATE INDEX entry_trigger_of_journey ON entry_trigger (tenant, journey_id);

-- Due and end that are not there are the greatest integer.
CREATE TABLE instance (
    tenant TEXT NOT NULL,
    instance_id TEXT NOT NULL,
    journey_id TEXT NOT NULL,
    version BIGINT NOT NULL,
    party_id TEXT NOT NULL,
    node TEXT NOT NULL,
    awaits TEXT NOT NULL,
    paused BIGINT NOT NULL,
    started_at BIGINT NOT NULL,
    started_position BIGINT NOT NULL,
    ended_at BIGINT NOT NULL,
    PRIMARY KEY (tenant, instance_id)
);

CREATE INDEX instance_in_order ON instance (tenant, started_position, instance_id);
CREATE INDEX instance_of_journey ON instance (tenant, journey_id, started_position, instance_id);
CREATE INDEX instance_of_party ON instance (tenant, party_id, started_position, instance_id);
CREATE INDEX instance_of_party_that_runs ON instance (tenant, party_id, ended_at);
CREATE INDEX instance_that_runs ON instance (tenant, journey_id, version, ended_at, paused, instance_id);
CREATE INDEX instance_that_waits ON instance (tenant, awaits);

-- Entries that were asked for and are not answered; `request` is the version of the entry's stream that asked.
CREATE TABLE entry_request (
    tenant TEXT NOT NULL,
    party_id TEXT NOT NULL,
    journey_id TEXT NOT NULL,
    request BIGINT NOT NULL,
    version BIGINT NOT NULL,
    PRIMARY KEY (tenant, party_id, journey_id, request)
);

CREATE TABLE entry_refusal (
    tenant TEXT NOT NULL,
    position BIGINT NOT NULL,
    journey_id TEXT NOT NULL,
    party_id TEXT NOT NULL,
    recorded_at BIGINT NOT NULL,
    refusal blob NOT NULL,
    PRIMARY KEY (tenant, position)
);

CREATE INDEX entry_refusal_of_journey ON entry_refusal (tenant, journey_id, position);
CREATE INDEX entry_refusal_of_party ON entry_refusal (tenant, party_id, position);

-- Zones of the markets, from the country packs that `decisioning` keeps. Written by the consumer `journeys.packs`.
CREATE TABLE market_zone (
    tenant TEXT NOT NULL,
    market TEXT NOT NULL,
    version BIGINT NOT NULL,
    effective_at BIGINT NOT NULL,
    retired BIGINT NOT NULL,
    zones TEXT NOT NULL,
    PRIMARY KEY (tenant, market, version)
);
