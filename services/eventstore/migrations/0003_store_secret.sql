-- What the keys of this store are derived from, wrapped by the key-encryption key that is named.
CREATE TABLE store_secret (
    one BIGINT PRIMARY KEY CHECK (one = 1),
    kek TEXT NOT NULL,
    wrapped blob NOT NULL
);
