-- Places of ledgers whose content was erased: in our chain (own 1) or the peer's. Never filled again, and no driver is
-- named. ask 1: the peer is asked to erase its copy; ask_entry: the entry that asks it, NULL while there is none.
-- answer: ERASED, KEPT (until_ms, if it named a day), UNKNOWN or REFUSED.
CREATE TABLE erasures (
    id INTEGER PRIMARY KEY,
    peer TEXT NOT NULL,
    own INTEGER NOT NULL,
    epoch BLOB NOT NULL,
    sequence INTEGER NOT NULL,
    record_id TEXT NOT NULL,
    request TEXT NOT NULL,
    erased_ms INTEGER NOT NULL,
    ask INTEGER NOT NULL,
    ask_entry INTEGER,
    answer TEXT,
    until_ms INTEGER,
    answered_ms INTEGER,
    UNIQUE (peer, own, epoch, sequence)
) STRICT;
CREATE INDEX erasures_by_request ON erasures (request);
CREATE INDEX erasures_by_ask ON erasures (ask_entry) WHERE ask_entry IS NOT NULL;
CREATE INDEX erasures_unasked ON erasures (peer, id) WHERE ask = 1 AND ask_entry IS NULL;

-- Copies of the store that were made by request: an erasure names those that still hold the data.
CREATE TABLE backups (
    path TEXT PRIMARY KEY,
    made_ms INTEGER NOT NULL
) STRICT;
