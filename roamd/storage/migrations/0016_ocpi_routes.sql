-- Partners that speak plain OCPI and do not run roamd. No key, no link, no ledger of both sides; what each has registered
-- stands in ocpi_backends under '@' and its label. roles: ours, cso and csp.
CREATE TABLE ocpi_routes (
    peer TEXT PRIMARY KEY,
    name TEXT NOT NULL,
    parties TEXT NOT NULL,
    roles TEXT NOT NULL,
    private INTEGER NOT NULL,
    created_ms INTEGER NOT NULL
) STRICT;

-- Up to which version of each own feed a partner was told everything.
CREATE TABLE ocpi_pushed (
    peer TEXT NOT NULL,
    feed TEXT NOT NULL,
    version INTEGER NOT NULL,
    PRIMARY KEY (peer, feed)
) STRICT, WITHOUT ROWID;

-- Our own ledger of what was sent and what was answered; record is an id in records, http NULL means that no answer was
-- read. Rows are only added; body_hash is emptied when the record is erased.
CREATE TABLE ocpi_sent (
    number INTEGER PRIMARY KEY,
    peer TEXT NOT NULL,
    record INTEGER NOT NULL,
    body_hash BLOB NOT NULL,
    at_ms INTEGER NOT NULL,
    http INTEGER,
    ocpi INTEGER,
    location TEXT
) STRICT;
CREATE INDEX ocpi_sent_record ON ocpi_sent (record);

CREATE TRIGGER ocpi_sent_stays BEFORE DELETE ON ocpi_sent BEGIN
    SELECT RAISE(ABORT, 'what was sent stays');
END;
CREATE TRIGGER ocpi_sent_as_it_was BEFORE UPDATE OF number, peer, record, at_ms, http, ocpi, location ON ocpi_sent BEGIN
    SELECT RAISE(ABORT, 'what was sent stays');
END;
