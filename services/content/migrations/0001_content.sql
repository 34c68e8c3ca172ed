-- What lists and look-ups read. Every row follows from events. `product`, `reference`, `newest`, `usable` and `part_use`
-- follow from own events, `rule_pack` and `plan_use` from those of other services; a rebuild empties and replays each.

CREATE TABLE product (
    tenant TEXT NOT NULL,
    product_id TEXT NOT NULL,
    PRIMARY KEY (tenant, product_id)
);

CREATE TABLE reference (
    tenant TEXT NOT NULL,
    reference_id TEXT NOT NULL,
    PRIMARY KEY (tenant, reference_id)
);

-- Where the newest version of each claim and module stands; `kind` is the aggregate.
CREATE TABLE newest (
    tenant TEXT NOT NULL,
    kind TEXT NOT NULL,
    id TEXT NOT NULL,
    version BIGINT NOT NULL,
    state BIGINT NOT NULL,
    PRIMARY KEY (tenant, kind, id)
);

CREATE INDEX newest_in_state ON newest (tenant, kind, state, id);

-- For what the versions of modules are approved, and from when until when: what may be used at an instant is among it.
CREATE TABLE usable (
    tenant TEXT NOT NULL,
    market TEXT NOT NULL,
    audience BIGINT NOT NULL,
    channel BIGINT NOT NULL,
    module_id TEXT NOT NULL,
    version BIGINT NOT NULL,
    usable_from BIGINT NOT NULL,
    expires_at BIGINT NOT NULL,
    PRIMARY KEY (tenant, market, audience, channel, module_id, version)
);

CREATE INDEX usable_of_module ON usable (tenant, module_id, version);

-- Which versions name a part, and where those versions stand: `part` is the stream of a claim, module, reference or
-- asset. `prints` is 1 for slots and citations, 0 for rules. What is over stays: it tells what a withdrawn part stood in.
CREATE TABLE part_use (
    tenant TEXT NOT NULL,
    part TEXT NOT NULL,
    kind TEXT NOT NULL,
    id TEXT NOT NULL,
    version BIGINT NOT NULL,
    place TEXT NOT NULL,
    prints BIGINT NOT NULL,
    state BIGINT NOT NULL,
    PRIMARY KEY (tenant, part, kind, id, version, place)
);

CREATE INDEX part_use_of_version ON part_use (tenant, kind, id, version);

-- Rule packs as they were activated: the latest that is in force counts, unless it was retired.
CREATE TABLE rule_pack (
    tenant TEXT NOT NULL,
    market TEXT NOT NULL,
    version BIGINT NOT NULL,
    effective_at BIGINT NOT NULL,
    retired BIGINT NOT NULL,
    activated blob NOT NULL,
    PRIMARY KEY (tenant, market, version)
);

CREATE INDEX rule_pack_in_force ON rule_pack (tenant, market, effective_at, version);

-- Which policies and journeys name a module.
CREATE TABLE plan_use (
    tenant TEXT NOT NULL,
    part TEXT NOT NULL,
    kind TEXT NOT NULL,
    id TEXT NOT NULL,
    version BIGINT NOT NULL,
    place TEXT NOT NULL,
    PRIMARY KEY (tenant, part, kind, id, version, place)
);

CREATE INDEX plan_use_of_plan ON plan_use (tenant, kind, id, version);
