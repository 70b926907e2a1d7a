-- The operator's backends that speak OCPI and have registered: tokens, endpoints and how far they were served, as the
-- face keeps it (JSON). Our own tokens stand in it hashed; the backend's token must be sent and stands as it is.
CREATE TABLE ocpi_backends (
    name TEXT PRIMARY KEY,
    registration BLOB NOT NULL,
    updated_ms INTEGER NOT NULL
) STRICT;
