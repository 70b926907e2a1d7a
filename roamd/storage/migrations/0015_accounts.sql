-- What single records add to a month, by their id in `records`: made once, kept when the content is erased.
CREATE TABLE accounts (
    record INTEGER PRIMARY KEY,
    peer TEXT NOT NULL,
    own INTEGER NOT NULL,
    kind TEXT NOT NULL,
    day TEXT NOT NULL,
    party TEXT NOT NULL,
    record_key TEXT NOT NULL,
    currency TEXT NOT NULL,
    energy TEXT NOT NULL,
    before TEXT NOT NULL,
    taxes TEXT NOT NULL
) STRICT;
CREATE INDEX accounts_by_day ON accounts (peer, day, own, kind, party, record_key);

-- What each side signed of a month last.
CREATE TABLE statements (
    peer TEXT NOT NULL,
    month TEXT NOT NULL,
    by_us INTEGER NOT NULL,
    root BLOB NOT NULL,
    body BLOB NOT NULL,
    chain_id INTEGER NOT NULL,
    sequence INTEGER NOT NULL,
    at_ms INTEGER NOT NULL,
    PRIMARY KEY (peer, month, by_us)
) STRICT;

-- Entries without content are few: those that were erased, and those that lost it.
CREATE INDEX entries_without_body ON entries (id) WHERE body IS NULL;
