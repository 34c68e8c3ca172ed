-- What providers reported about messages that no touch is known to be.
CREATE TABLE report (
    tenant TEXT NOT NULL,
    report_id TEXT NOT NULL,
    position BIGINT NOT NULL,
    kept_at BIGINT NOT NULL,
    provider_id TEXT NOT NULL,
    PRIMARY KEY (tenant, report_id)
);

CREATE INDEX report_in_order ON report (tenant, position);
CREATE INDEX report_of_message ON report (tenant, provider_id, position);
