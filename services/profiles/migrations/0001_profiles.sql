-- What lists and look-ups read. Every row follows from events; a rebuild empties these tables and replays.
-- Personal values are not here: only their blind indexes.

CREATE TABLE party (
    tenant TEXT NOT NULL,
    party_id TEXT NOT NULL,
    kind BIGINT NOT NULL,
    state BIGINT NOT NULL,
    market TEXT NOT NULL,
    registered_position BIGINT NOT NULL,
    PRIMARY KEY (tenant, party_id)
);

CREATE UNIQUE INDEX party_in_order ON party (tenant, registered_position);

-- One row for each identifier that holds. An open end is the smallest or the greatest integer.
CREATE TABLE identifier (
    tenant TEXT NOT NULL,
    value_index blob NOT NULL,
    party_id TEXT NOT NULL,
    number BIGINT NOT NULL,
    valid_from BIGINT NOT NULL,
    valid_until BIGINT NOT NULL,
    PRIMARY KEY (tenant, value_index)
);

CREATE INDEX identifier_of_party ON identifier (tenant, party_id, number);

CREATE TABLE consent (
    tenant TEXT NOT NULL,
    party_id TEXT NOT NULL,
    consent_id TEXT NOT NULL,
    PRIMARY KEY (tenant, party_id, consent_id)
);

CREATE TABLE relation (
    tenant TEXT NOT NULL,
    relation_id TEXT NOT NULL,
    from_party_id TEXT NOT NULL,
    to_party_id TEXT NOT NULL,
    valid_from BIGINT NOT NULL,
    valid_until BIGINT NOT NULL,
    PRIMARY KEY (tenant, relation_id)
);

CREATE INDEX relation_from ON relation (tenant, from_party_id, relation_id);
CREATE INDEX relation_to ON relation (tenant, to_party_id, relation_id);

CREATE TABLE source (
    tenant TEXT NOT NULL,
    source_id TEXT NOT NULL,
    PRIMARY KEY (tenant, source_id)
);

CREATE TABLE interaction (
    tenant TEXT NOT NULL,
    source_id TEXT NOT NULL,
    message_id TEXT NOT NULL,
    interaction_id TEXT NOT NULL,
    party_id TEXT NOT NULL,
    name TEXT NOT NULL,
    occurred_at BIGINT NOT NULL,
    position BIGINT NOT NULL,
    body_digest blob NOT NULL,
    PRIMARY KEY (tenant, source_id, message_id)
);

CREATE INDEX interaction_of_party ON interaction (tenant, party_id, occurred_at, position);
