-- One row: the end of the log. It is the first thing an appending transaction locks.
CREATE TABLE head (
    one BIGINT PRIMARY KEY CHECK (one = 1),
    position BIGINT NOT NULL,
    chain blob NOT NULL,
    database_id TEXT NOT NULL,
    fenced TEXT NOT NULL
);
INSERT INTO head VALUES (1, 0, zeroblob(32), '', '');

CREATE TABLE event (
    position BIGINT PRIMARY KEY,
    tenant TEXT NOT NULL,
    stream TEXT NOT NULL,
    version BIGINT NOT NULL,
    party_id TEXT NOT NULL,
    recorded_at BIGINT NOT NULL,
    chain blob NOT NULL,
    envelope blob NOT NULL
);
CREATE UNIQUE INDEX event_stream ON event (tenant, stream, version);
CREATE INDEX event_party ON event (tenant, party_id, position) WHERE party_id <> '';
CREATE TRIGGER event_is_not_updated BEFORE UPDATE ON event
BEGIN
    SELECT RAISE(ABORT, 'events are facts: they are never updated or deleted');
END;
CREATE TRIGGER event_is_not_deleted BEFORE DELETE ON event
BEGIN
    SELECT RAISE(ABORT, 'events are facts: they are never updated or deleted');
END;

CREATE TABLE request (
    tenant TEXT NOT NULL,
    caller TEXT NOT NULL,
    method TEXT NOT NULL,
    request_id TEXT NOT NULL,
    digest blob NOT NULL,
    stream TEXT NOT NULL,
    version BIGINT NOT NULL,
    position BIGINT NOT NULL,
    recorded_at BIGINT NOT NULL,
    PRIMARY KEY (tenant, caller, method, request_id)
);
CREATE INDEX request_age ON request (recorded_at);

CREATE TABLE timer (
    tenant TEXT NOT NULL,
    id TEXT NOT NULL,
    kind TEXT NOT NULL,
    stream TEXT NOT NULL,
    due_at BIGINT NOT NULL,
    claimed_until BIGINT NOT NULL,
    PRIMARY KEY (tenant, id)
);
CREATE INDEX timer_due ON timer (due_at, tenant, id);

CREATE TABLE lease (
    name TEXT PRIMARY KEY,
    holder TEXT NOT NULL,
    epoch BIGINT NOT NULL,
    expires_at BIGINT NOT NULL
);

CREATE TABLE checkpoint (
    consumer TEXT NOT NULL,
    source TEXT NOT NULL,
    position BIGINT NOT NULL,
    chain blob NOT NULL,
    PRIMARY KEY (consumer, source)
);

CREATE TABLE parked (
    consumer TEXT NOT NULL,
    source TEXT NOT NULL,
    position BIGINT NOT NULL,
    tenant TEXT NOT NULL,
    stream TEXT NOT NULL,
    reason TEXT NOT NULL,
    parked_at BIGINT NOT NULL,
    chain blob NOT NULL,
    envelope blob NOT NULL,
    PRIMARY KEY (consumer, source, position)
);
CREATE INDEX parked_stream ON parked (consumer, source, tenant, stream, position);

CREATE TABLE subject_key (
    tenant TEXT NOT NULL,
    key_id TEXT NOT NULL,
    subject TEXT NOT NULL,
    wrapped blob NOT NULL,
    destroyed_at BIGINT NOT NULL,
    reason TEXT NOT NULL,
    PRIMARY KEY (tenant, key_id)
);
CREATE UNIQUE INDEX subject_key_subject ON subject_key (tenant, subject);
