-- How the identity that a peer uses follows from the one that its endpoint id names; empty while it is that one.
ALTER TABLE peers ADD COLUMN succession BLOB NOT NULL DEFAULT x'';
