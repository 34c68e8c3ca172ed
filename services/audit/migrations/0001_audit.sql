-- One row for each event of each source. Every row follows from the log; a rebuild empties the table and reads the log
-- again. No payload is here, so there is nothing personal and nothing to erase.

CREATE TABLE event_index (
    source TEXT NOT NULL,
    position BIGINT NOT NULL,
    tenant TEXT NOT NULL,
    recorded_at BIGINT NOT NULL,
    event_id TEXT NOT NULL,
    stream TEXT NOT NULL,
    version BIGINT NOT NULL,
    type TEXT NOT NULL,
    occurred_at BIGINT NOT NULL,
    subject TEXT NOT NULL,
    actor blob NOT NULL,
    method TEXT NOT NULL,
    correlation_id TEXT NOT NULL,
    causation_id TEXT NOT NULL,
    party_id TEXT NOT NULL,
    reason TEXT NOT NULL,
    chain blob NOT NULL,
    PRIMARY KEY (source, position)
);

CREATE INDEX event_in_order ON event_index (tenant, recorded_at, source, position);
CREATE INDEX event_of_party ON event_index (tenant, party_id, recorded_at, source, position);
CREATE INDEX event_by_correlation ON event_index (tenant, correlation_id, recorded_at, source, position);
CREATE INDEX event_by_subject ON event_index (tenant, subject, recorded_at, source, position);
CREATE INDEX event_by_type ON event_index (tenant, type, recorded_at, source, position);
