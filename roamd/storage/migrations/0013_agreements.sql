-- Agreements as documents, by peer and SHA-256 of the text. own 1: we proposed it; side: which of its two sides we are.
-- state: PROPOSED, SIGNED, DECLINED or REFUSED; signature is the proposer's, answer the other's under a SIGNED one.
CREATE TABLE agreements (
    peer TEXT NOT NULL,
    digest TEXT NOT NULL,
    number INTEGER NOT NULL,
    own INTEGER NOT NULL,
    side INTEGER NOT NULL,
    state TEXT NOT NULL,
    reason TEXT,
    from_ms INTEGER,
    until_ms INTEGER,
    proposed_ms INTEGER NOT NULL,
    decided_ms INTEGER,
    document BLOB NOT NULL,
    signature BLOB NOT NULL,
    answer BLOB,
    PRIMARY KEY (peer, digest)
) STRICT;
CREATE INDEX agreements_by_number ON agreements (peer, number);

-- The settings of a peer (peers.agreement_json) that hold when no signed agreement does.
CREATE TABLE presets (
    peer TEXT PRIMARY KEY,
    settings BLOB NOT NULL
) STRICT;
