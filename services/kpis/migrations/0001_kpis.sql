-- What figures are read from. The first tables follow from own events, the others from the events of other services.

-- Every metric that has a version or a target.
CREATE TABLE metric (
    tenant TEXT NOT NULL,
    metric TEXT NOT NULL,
    PRIMARY KEY (tenant, metric)
);

-- The definition in force.
CREATE TABLE live_metric (
    tenant TEXT NOT NULL,
    metric TEXT NOT NULL,
    version BIGINT NOT NULL,
    document blob NOT NULL,
    PRIMARY KEY (tenant, metric)
);

CREATE TABLE alert (
    tenant TEXT NOT NULL,
    alert_id TEXT NOT NULL,
    metric TEXT NOT NULL,
    position BIGINT NOT NULL,
    raised_at BIGINT NOT NULL,
    -- The last instant there is while it stands.
    cleared_at BIGINT NOT NULL,
    clear_cause TEXT NOT NULL,
    raised blob NOT NULL,
    PRIMARY KEY (tenant, alert_id)
);

CREATE INDEX alert_in_order ON alert (tenant, position);

CREATE TABLE experiment (
    tenant TEXT NOT NULL,
    experiment TEXT NOT NULL,
    started_at BIGINT NOT NULL,
    -- The last instant there is while it runs.
    closed_at BIGINT NOT NULL,
    document blob NOT NULL,
    -- Empty while it runs.
    closed blob NOT NULL,
    PRIMARY KEY (tenant, experiment)
);

-- From here on: what other services said.

-- Series that the consumer feeds with a source: they have read it up to where the consumer stands.
CREATE TABLE followed (
    tenant TEXT NOT NULL,
    source TEXT NOT NULL,
    series TEXT NOT NULL,
    hash blob NOT NULL,
    PRIMARY KEY (tenant, source, series)
);

-- How far a series that came later has read the past of a source.
CREATE TABLE backlog (
    tenant TEXT NOT NULL,
    source TEXT NOT NULL,
    series TEXT NOT NULL,
    position BIGINT NOT NULL,
    PRIMARY KEY (tenant, source, series)
);

-- The latest instant that a source recorded for a tenant.
CREATE TABLE horizon (
    tenant TEXT NOT NULL,
    source TEXT NOT NULL,
    recorded_at BIGINT NOT NULL,
    PRIMARY KEY (tenant, source)
);

CREATE TABLE party (
    tenant TEXT NOT NULL,
    party_id TEXT NOT NULL,
    kind TEXT NOT NULL,
    PRIMARY KEY (tenant, party_id)
);

CREATE INDEX party_by_kind ON party (tenant, kind);

-- Parties that something was said of before they were known here; most of them are by now.
CREATE TABLE stranger (
    tenant TEXT NOT NULL,
    party_id TEXT NOT NULL,
    PRIMARY KEY (tenant, party_id)
);

-- What each element of each event adds to each series: what a figure drills down to. The key is also the order in which it
-- is read, bucket by bucket; there is no other index, because this is the table that every event is written to.
CREATE TABLE contribution (
    tenant TEXT NOT NULL,
    series TEXT NOT NULL,
    source TEXT NOT NULL,
    position BIGINT NOT NULL,
    role BIGINT NOT NULL,
    element BIGINT NOT NULL,
    event_id TEXT NOT NULL,
    at BIGINT NOT NULL,
    bucket BIGINT NOT NULL,
    dims TEXT NOT NULL,
    thing TEXT NOT NULL,
    value BIGINT NOT NULL,
    currency TEXT NOT NULL,
    party_id TEXT NOT NULL,
    PRIMARY KEY (tenant, series, bucket, source, position, role, element)
);

-- Sums of contributions. A source has one writer at a time, so its cells are nobody else's.
CREATE TABLE cell (
    tenant TEXT NOT NULL,
    series TEXT NOT NULL,
    source TEXT NOT NULL,
    role BIGINT NOT NULL,
    bucket BIGINT NOT NULL,
    dims TEXT NOT NULL,
    currency TEXT NOT NULL,
    n BIGINT NOT NULL,
    -- Integers of 128 bits, in millionths and their squares.
    total TEXT NOT NULL,
    squares TEXT NOT NULL,
    PRIMARY KEY (tenant, series, source, role, bucket, dims, currency)
);
