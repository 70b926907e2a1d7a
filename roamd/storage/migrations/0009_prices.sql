-- What came of holding received records against their tariffs, by their id in `records`.
CREATE TABLE price_checks (
    record INTEGER PRIMARY KEY,
    verdict TEXT NOT NULL,
    total TEXT,
    detail BLOB NOT NULL,
    at_ms INTEGER NOT NULL
) STRICT;
