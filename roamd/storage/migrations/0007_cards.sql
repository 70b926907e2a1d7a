-- Digests of the names of our own cards, from which the filters for peers are made. state: 0 in the published segment,
-- 1 not yet, 2 there and withdrawn since. tokens: how many credentials have the name.
CREATE TABLE cards (
    digest BLOB NOT NULL PRIMARY KEY,
    state INTEGER NOT NULL,
    tokens INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX cards_changed ON cards (state, digest) WHERE state <> 0;
