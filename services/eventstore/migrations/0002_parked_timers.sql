-- How often a timer's handler failed for good and why; parked when it is tried no more, 0 otherwise.
ALTER TABLE timer ADD COLUMN failures BIGINT NOT NULL DEFAULT 0;
ALTER TABLE timer ADD COLUMN parked_at BIGINT NOT NULL DEFAULT 0;
ALTER TABLE timer ADD COLUMN reason TEXT NOT NULL DEFAULT '';

-- Parked timers stand outside of the order in which timers are due.
DROP INDEX timer_due;
CREATE INDEX timer_due ON timer (due_at, tenant, id) WHERE parked_at = 0;
CREATE INDEX timer_parked ON timer (due_at, tenant, id) WHERE parked_at > 0;
-- Whether a timer of a stream is held.
CREATE INDEX timer_stream ON timer (tenant, stream);
