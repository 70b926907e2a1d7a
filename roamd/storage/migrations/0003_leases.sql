-- Sessions of peers that are held by a lease: until_ms is by the peer's clock. stale 1: it ran out, and the peer is asked.
CREATE TABLE leases (
    peer TEXT NOT NULL,
    party TEXT NOT NULL,
    id TEXT NOT NULL,
    until_ms INTEGER NOT NULL,
    stale INTEGER NOT NULL,
    PRIMARY KEY (peer, party, id)
) STRICT;
CREATE INDEX leases_running ON leases (until_ms) WHERE stale = 0;
