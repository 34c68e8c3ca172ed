-- What lists and look-ups read. Every row follows from events, own ones or those of `content` and `profiles`; a rebuild
-- empties these tables and replays. No text is here, and nothing else that is personal.

CREATE TABLE survey (
    tenant TEXT NOT NULL,
    survey_id TEXT NOT NULL,
    -- Invitations that count against the quota.
    issued BIGINT NOT NULL,
    PRIMARY KEY (tenant, survey_id)
);

CREATE TABLE invitation (
    tenant TEXT NOT NULL,
    invitation_id TEXT NOT NULL,
    survey_id TEXT NOT NULL,
    party_id TEXT NOT NULL,
    touch_id TEXT NOT NULL,
    requested_position BIGINT NOT NULL,
    PRIMARY KEY (tenant, invitation_id)
);

CREATE UNIQUE INDEX invitation_in_order ON invitation (tenant, requested_position);
CREATE INDEX invitation_of_party ON invitation (tenant, party_id, requested_position);
CREATE INDEX invitation_by_touch ON invitation (tenant, touch_id);

CREATE TABLE response (
    tenant TEXT NOT NULL,
    response_id TEXT NOT NULL,
    survey_id TEXT NOT NULL,
    party_id TEXT NOT NULL,
    submitted_position BIGINT NOT NULL,
    PRIMARY KEY (tenant, response_id)
);

CREATE UNIQUE INDEX response_in_order ON response (tenant, submitted_position);
CREATE INDEX response_of_party ON response (tenant, party_id, submitted_position);

-- Without a target a case is due at the end of time.
CREATE TABLE customer_case (
    tenant TEXT NOT NULL,
    case_id TEXT NOT NULL,
    party_id TEXT NOT NULL,
    type BIGINT NOT NULL,
    state BIGINT NOT NULL,
    respond_by BIGINT NOT NULL,
    resolve_by BIGINT NOT NULL,
    due_at BIGINT NOT NULL,
    PRIMARY KEY (tenant, case_id)
);

CREATE INDEX case_by_due_time ON customer_case (tenant, due_at, case_id);
CREATE INDEX case_of_party ON customer_case (tenant, party_id, due_at);

CREATE TABLE candidate (
    tenant TEXT NOT NULL,
    candidate_id TEXT NOT NULL,
    text_id TEXT NOT NULL,
    state BIGINT NOT NULL,
    due_at BIGINT NOT NULL,
    PRIMARY KEY (tenant, candidate_id)
);

CREATE INDEX candidate_by_due_time ON candidate (tenant, state, due_at, candidate_id);
CREATE UNIQUE INDEX candidate_by_text ON candidate (tenant, text_id);

-- Names of products, as `content` registered them.
CREATE TABLE product (
    tenant TEXT NOT NULL,
    product_id TEXT NOT NULL,
    brand TEXT NOT NULL,
    PRIMARY KEY (tenant, product_id)
);

-- Classes of modules, by the newest version that `content` approved.
CREATE TABLE module (
    tenant TEXT NOT NULL,
    module_id TEXT NOT NULL,
    content_class BIGINT NOT NULL,
    PRIMARY KEY (tenant, module_id)
);

-- Where parties are and what they read, as `profiles` says.
CREATE TABLE party (
    tenant TEXT NOT NULL,
    party_id TEXT NOT NULL,
    market TEXT NOT NULL,
    language TEXT NOT NULL,
    PRIMARY KEY (tenant, party_id)
);
