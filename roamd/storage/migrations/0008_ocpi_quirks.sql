-- What was learned of an OCPI backend: each way in which it differs from OCPI's text, and when it was first met.
CREATE TABLE ocpi_quirks (
    backend TEXT NOT NULL,
    quirk TEXT NOT NULL,
    first_ms INTEGER NOT NULL,
    PRIMARY KEY (backend, quirk)
) STRICT;
