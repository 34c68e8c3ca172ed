-- What providers reported about messages that no touch is known to be.
CREATE TABLE report (
    tenant TEXT NOT NULL,
    report_id TEXT NOT NULL,
    position BIGINT NOT NULL,
    kept_at BIGINT NOT NULL,
    PRIMARY KEY (tenant, report_id)
);

CREATE INDEX report_in_order ON report (tenant, position);
