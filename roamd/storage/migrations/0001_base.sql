-- The base of the store. Times are milliseconds UTC. Bodies are the backend's own JSON text, never re-encoded.
-- Tables with bodies are rowid tables (rows of 3 KB do not belong into an index); ids that run upwards keep inserts cheap.

CREATE TABLE meta (
    name TEXT PRIMARY KEY,
    value TEXT NOT NULL
) STRICT;

-- Numbers that only grow: 'version' (own objects, over all feeds), 'mirror' (mirrored objects), 'events-read',
-- 'purged:<feed>' (the highest version whose tombstone is gone).
CREATE TABLE counters (
    name TEXT PRIMARY KEY,
    value INTEGER NOT NULL
) STRICT;
INSERT INTO counters (name, value) VALUES ('version', 0), ('mirror', 0), ('events-read', 0);

-- One row per start of the process: which object versions it may have shown.
CREATE TABLE runs (
    ordinal INTEGER PRIMARY KEY,
    run_id BLOB NOT NULL UNIQUE,
    first_version INTEGER NOT NULL,
    started_ms INTEGER NOT NULL
) STRICT;

CREATE TABLE peers (
    peer TEXT PRIMARY KEY,
    endpoint_id TEXT NOT NULL UNIQUE,
    identity_der BLOB NOT NULL,
    name TEXT NOT NULL,
    parties TEXT NOT NULL,
    state TEXT NOT NULL,
    address TEXT,
    descriptor BLOB NOT NULL,
    descriptor_sequence INTEGER NOT NULL,
    agreement_json BLOB NOT NULL,
    rights_version INTEGER NOT NULL,
    words TEXT NOT NULL,
    paired_at_ms INTEGER NOT NULL,
    joined_by_us INTEGER NOT NULL
) STRICT;

CREATE TABLE invitations (
    id BLOB PRIMARY KEY,
    secret BLOB NOT NULL,
    expires_ms INTEGER NOT NULL,
    auto INTEGER NOT NULL,
    used_by TEXT,
    result BLOB,
    address TEXT NOT NULL
) STRICT;

-- Own objects, once each. body NULL is a tombstone. audience: a text that the publisher judges, '*' is everyone;
-- seen_by: every audience that the object ever had, a line each, so that those who lost sight of it are told.
CREATE TABLE objects (
    row_id INTEGER PRIMARY KEY,
    feed TEXT NOT NULL,
    id TEXT NOT NULL,
    party TEXT NOT NULL,
    sub TEXT NOT NULL,
    version INTEGER NOT NULL,
    ocpi TEXT NOT NULL,
    audience TEXT NOT NULL,
    seen_by TEXT NOT NULL,
    changed_ms INTEGER NOT NULL,
    body BLOB,
    UNIQUE (feed, id, party, sub)
) STRICT;
CREATE UNIQUE INDEX objects_by_version ON objects (feed, version);
CREATE INDEX objects_tombstones ON objects (changed_ms) WHERE body IS NULL;

-- What peers publish to us. version is ours (counter 'mirror'); generation tells a replacing snapshot's rows from older ones.
CREATE TABLE mirror (
    row_id INTEGER PRIMARY KEY,
    peer TEXT NOT NULL,
    feed TEXT NOT NULL,
    id TEXT NOT NULL,
    party TEXT NOT NULL,
    sub TEXT NOT NULL,
    version INTEGER NOT NULL,
    generation INTEGER NOT NULL,
    ocpi TEXT NOT NULL,
    body BLOB NOT NULL,
    UNIQUE (peer, feed, id, party, sub)
) STRICT;
CREATE INDEX mirror_by_id ON mirror (feed, id);

CREATE TABLE cursors (
    peer TEXT NOT NULL,
    feed TEXT NOT NULL,
    cursor BLOB NOT NULL,
    generation INTEGER NOT NULL,
    replacing INTEGER NOT NULL,
    PRIMARY KEY (peer, feed)
) STRICT;

-- One chain per author, receiver and epoch; own = 1 where we are the author. Sequences begin at 1; tail 0 is an empty chain.
CREATE TABLE chains (
    chain_id INTEGER PRIMARY KEY,
    peer TEXT NOT NULL,
    own INTEGER NOT NULL,
    epoch BLOB NOT NULL,
    tail_sequence INTEGER NOT NULL,
    tail_hash BLOB NOT NULL,
    receipted_sequence INTEGER NOT NULL,
    closed INTEGER NOT NULL,
    UNIQUE (peer, own, epoch)
) STRICT;

-- id = chain_id << 40 | sequence: entries of a chain lie beside each other in their order, without a second index.
CREATE TABLE entries (
    id INTEGER PRIMARY KEY,
    kind INTEGER NOT NULL,
    record_id TEXT NOT NULL,
    at_ms INTEGER NOT NULL,
    commitment BLOB NOT NULL,
    hash BLOB NOT NULL,
    ocpi TEXT NOT NULL,
    salt BLOB,
    body BLOB
) STRICT;
CREATE INDEX entries_by_record ON entries (record_id);

-- Signed heads and receipts, and heads that contradict another (forks), kept as evidence.
CREATE TABLE marks (
    chain_id INTEGER NOT NULL,
    kind TEXT NOT NULL,
    sequence INTEGER NOT NULL,
    hash BLOB NOT NULL,
    time_ms INTEGER NOT NULL,
    signature BLOB NOT NULL,
    PRIMARY KEY (chain_id, kind, sequence, hash)
) STRICT;

-- scope is the peer for 'in' and '' for 'out': an own record is one, wherever it goes. record_key is the id, folded.
CREATE TABLE records (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    direction TEXT NOT NULL,
    scope TEXT NOT NULL,
    party TEXT NOT NULL,
    record_key TEXT NOT NULL,
    record_id TEXT NOT NULL,
    peer TEXT,
    kind TEXT NOT NULL,
    state TEXT NOT NULL,
    reason TEXT,
    ocpi TEXT NOT NULL,
    chain_id INTEGER,
    sequence INTEGER,
    authorization_reference TEXT,
    created_ms INTEGER NOT NULL,
    updated_ms INTEGER NOT NULL,
    body_hash BLOB NOT NULL,
    body BLOB,
    UNIQUE (record_key, party, direction, scope)
) STRICT;
CREATE INDEX records_by_state ON records (direction, peer, state);
CREATE INDEX records_queued ON records (chain_id, sequence) WHERE state = 'QUEUED';

CREATE TABLE events (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    at_ms INTEGER NOT NULL,
    peer TEXT,
    type TEXT NOT NULL,
    subject TEXT NOT NULL,
    coalescing TEXT,
    data BLOB NOT NULL
) STRICT;
CREATE INDEX events_coalescing ON events (coalescing, id) WHERE coalescing IS NOT NULL;

-- Acknowledgements by the minute: at most 1,440 rows a day, whatever the backend's pace.
CREATE TABLE acknowledgements (
    minute INTEGER PRIMARY KEY,
    upto INTEGER NOT NULL
) STRICT;

CREATE TABLE positions (
    name TEXT PRIMARY KEY,
    event_id INTEGER NOT NULL
) STRICT;

CREATE TABLE idempotency (
    key TEXT NOT NULL,
    operation TEXT NOT NULL,
    request_hash BLOB NOT NULL,
    status INTEGER NOT NULL,
    answer BLOB NOT NULL,
    at_ms INTEGER NOT NULL,
    PRIMARY KEY (key, operation)
) STRICT;
CREATE INDEX idempotency_by_age ON idempotency (at_ms);

CREATE TABLE decisions (
    id INTEGER PRIMARY KEY,
    authorization_id TEXT NOT NULL,
    at_ms INTEGER NOT NULL,
    peer TEXT,
    direction TEXT NOT NULL,
    decision TEXT NOT NULL,
    reason TEXT NOT NULL,
    source TEXT NOT NULL,
    reference TEXT,
    elapsed_ms REAL NOT NULL
) STRICT;
CREATE INDEX decisions_by_reference ON decisions (reference) WHERE reference IS NOT NULL;
CREATE INDEX decisions_by_age ON decisions (at_ms);
