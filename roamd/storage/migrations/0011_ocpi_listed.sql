-- What an OCPI backend's lists named, as digests of keys (a key may be a card's number), and in which fetch last. What a
-- later whole fetch of the same list does not name is gone at the backend.
CREATE TABLE ocpi_listed (
    backend TEXT NOT NULL,
    feed TEXT NOT NULL,
    digest BLOB NOT NULL,
    generation INTEGER NOT NULL,
    PRIMARY KEY (backend, feed, digest)
) STRICT, WITHOUT ROWID;
