-- Computed traits and segments. What a source reported is read by party and name.

-- `InteractionRecorded` with nothing but its clear values. Rows from before this column have none until a rebuild.
ALTER TABLE interaction ADD COLUMN clear blob NOT NULL DEFAULT '';

CREATE INDEX interaction_by_name ON interaction (tenant, party_id, name, occurred_at, position);

-- Whoever sends shows a write key; only its hash is known. Rows from before this column have none until a rebuild.
ALTER TABLE source ADD COLUMN write_key blob NOT NULL DEFAULT '';

CREATE INDEX source_by_write_key ON source (tenant, write_key, source_id);

-- A rule pack looks at everybody in its market.
CREATE INDEX party_in_market ON party (tenant, market, registered_position);

-- The live version of every trait and segment.
CREATE TABLE definition (
    tenant TEXT NOT NULL,
    -- `trait` or `segment`.
    kind TEXT NOT NULL,
    definition_id TEXT NOT NULL,
    version BIGINT NOT NULL,
    live_at BIGINT NOT NULL,
    position BIGINT NOT NULL,
    document blob NOT NULL,
    PRIMARY KEY (tenant, kind, definition_id)
);

CREATE INDEX definition_in_order ON definition (tenant, position);

-- Every membership there is or was.
CREATE TABLE membership (
    tenant TEXT NOT NULL,
    segment_id TEXT NOT NULL,
    party_id TEXT NOT NULL,
    inside BIGINT NOT NULL,
    -- Of the definition at the last crossing.
    version BIGINT NOT NULL,
    -- The last crossing; the smallest integer when there was none.
    since BIGINT NOT NULL,
    -- The timer stated last; the greatest integer when none was.
    due_at BIGINT NOT NULL,
    stream_version BIGINT NOT NULL,
    PRIMARY KEY (tenant, segment_id, party_id)
);

CREATE INDEX membership_inside ON membership (tenant, segment_id, inside, party_id);

-- How many are in.
CREATE TABLE segment_size (
    tenant TEXT NOT NULL,
    segment_id TEXT NOT NULL,
    members BIGINT NOT NULL,
    PRIMARY KEY (tenant, segment_id)
);

-- Which journeys and policies name a trait or a segment.
CREATE TABLE segment_use (
    tenant TEXT NOT NULL,
    -- `trait` or `segment`.
    used_kind TEXT NOT NULL,
    used_id TEXT NOT NULL,
    -- `journey` or `policy`.
    kind TEXT NOT NULL,
    id TEXT NOT NULL,
    version BIGINT NOT NULL,
    PRIMARY KEY (tenant, used_kind, used_id, kind, id, version)
);

CREATE INDEX segment_use_of_document ON segment_use (tenant, kind, id);
