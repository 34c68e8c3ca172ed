-- What a party did is summed when it is read, decision by decision: a sum that is kept would show in which order rewards
-- were closed.
CREATE INDEX decision_learnt ON decision (tenant, party_id, decided_at, decision_id);
ALTER TABLE decision DROP COLUMN half_life;
ALTER TABLE affinity DROP COLUMN positive;
ALTER TABLE affinity DROP COLUMN total;
