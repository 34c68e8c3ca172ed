DO $$ BEGIN
    CREATE DOMAIN blob AS bytea;
EXCEPTION WHEN duplicate_object THEN NULL;
END $$;

-- One row: the end of the log. It is the first thing an appending transaction locks.
CREATE TABLE head (
    one BIGINT PRIMARY KEY CHECK (one = 1),
    position BIGINT NOT NULL,
    chain blob NOT NULL,
    database_id TEXT NOT NULL,
    fenced TEXT NOT NULL
) WITH (fillfactor = 10);
INSERT INTO head VALUES (1, 0, decode(repeat('00', 32), 'hex'), '', '');

CREATE TABLE event (
    position BIGINT PRIMARY KEY,
    tenant TEXT COLLATE "C" NOT NULL,
    stream TEXT COLLATE "C" NOT NULL,
    version BIGINT NOT NULL,
    party_id TEXT COLLATE "C" NOT NULL,
    recorded_at BIGINT NOT NULL,
    chain blob NOT NULL,
    envelope blob NOT NULL
);
CREATE UNIQUE INDEX event_stream ON event (tenant, stream, version);
CREATE INDEX event_party ON event (tenant, party_id, position) WHERE party_id <> '';
ALTER TABLE event ALTER COLUMN envelope SET STORAGE EXTERNAL;

CREATE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'events are facts: they are never updated or deleted';
END $$;
CREATE TRIGGER event_is_a_fact BEFORE UPDATE OR DELETE OR TRUNCATE ON event
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();

CREATE TABLE request (
    tenant TEXT COLLATE "C" NOT NULL,
    caller TEXT COLLATE "C" NOT NULL,
    method TEXT COLLATE "C" NOT NULL,
    request_id TEXT COLLATE "C" NOT NULL,
    digest blob NOT NULL,
    stream TEXT NOT NULL,
    version BIGINT NOT NULL,
    position BIGINT NOT NULL,
    recorded_at BIGINT NOT NULL,
    PRIMARY KEY (tenant, caller, method, request_id)
);
CREATE INDEX request_age ON request (recorded_at);

CREATE TABLE timer (
    tenant TEXT COLLATE "C" NOT NULL,
    id TEXT COLLATE "C" NOT NULL,
    kind TEXT NOT NULL,
    stream TEXT NOT NULL,
    due_at BIGINT NOT NULL,
    claimed_until BIGINT NOT NULL,
    PRIMARY KEY (tenant, id)
) WITH (fillfactor = 80);
CREATE INDEX timer_due ON timer (due_at, tenant, id);

CREATE TABLE lease (
    name TEXT COLLATE "C" PRIMARY KEY,
    holder TEXT NOT NULL,
    epoch BIGINT NOT NULL,
    expires_at BIGINT NOT NULL
);

CREATE TABLE checkpoint (
    consumer TEXT COLLATE "C" NOT NULL,
    source TEXT COLLATE "C" NOT NULL,
    position BIGINT NOT NULL,
    chain blob NOT NULL,
    PRIMARY KEY (consumer, source)
) WITH (fillfactor = 10);

CREATE TABLE parked (
    consumer TEXT COLLATE "C" NOT NULL,
    source TEXT COLLATE "C" NOT NULL,
    position BIGINT NOT NULL,
    tenant TEXT COLLATE "C" NOT NULL,
    stream TEXT COLLATE "C" NOT NULL,
    reason TEXT NOT NULL,
    parked_at BIGINT NOT NULL,
    chain blob NOT NULL,
    envelope blob NOT NULL,
    PRIMARY KEY (consumer, source, position)
);
CREATE INDEX parked_stream ON parked (consumer, source, tenant, stream, position);

CREATE TABLE subject_key (
    tenant TEXT COLLATE "C" NOT NULL,
    key_id TEXT COLLATE "C" NOT NULL,
    subject TEXT COLLATE "C" NOT NULL,
    wrapped blob NOT NULL,
    destroyed_at BIGINT NOT NULL,
    reason TEXT NOT NULL,
    PRIMARY KEY (tenant, key_id)
);
CREATE UNIQUE INDEX subject_key_subject ON subject_key (tenant, subject);
