-- What a decision was made from. uid, contract_id, location_id and evse_uid say who was where: they are personal.
ALTER TABLE decisions ADD COLUMN service TEXT NOT NULL DEFAULT 'CHARGING';
ALTER TABLE decisions ADD COLUMN type TEXT;
ALTER TABLE decisions ADD COLUMN uid TEXT;
ALTER TABLE decisions ADD COLUMN contract_id TEXT;
ALTER TABLE decisions ADD COLUMN location_id TEXT;
ALTER TABLE decisions ADD COLUMN evse_uid TEXT;
ALTER TABLE decisions ADD COLUMN row INTEGER;
ALTER TABLE decisions ADD COLUMN facts TEXT NOT NULL DEFAULT '';

-- Grants by credential (their bodies stand in objects and mirror): peer '' is us. type is folded, uid canonical.
CREATE TABLE grants (
    peer TEXT NOT NULL,
    party TEXT NOT NULL,
    id TEXT NOT NULL,
    type TEXT NOT NULL,
    uid TEXT NOT NULL,
    until_ms INTEGER NOT NULL,
    PRIMARY KEY (peer, party, id)
) STRICT;
CREATE INDEX grants_by_uid ON grants (uid);

-- Starts under peers' grants, each committed before the driver is let in. body is the signed grant; uid and body are
-- NULL once they are erased.
CREATE TABLE grant_uses (
    row_id INTEGER PRIMARY KEY,
    peer TEXT NOT NULL,
    party TEXT NOT NULL,
    id TEXT NOT NULL,
    authorization_id TEXT NOT NULL,
    at_ms INTEGER NOT NULL,
    reference TEXT NOT NULL,
    uid TEXT,
    body BLOB
) STRICT;
CREATE INDEX grant_uses_by_grant ON grant_uses (id, party, peer);
CREATE INDEX grant_uses_by_reference ON grant_uses (reference);
CREATE INDEX grant_uses_by_authorization ON grant_uses (authorization_id);
