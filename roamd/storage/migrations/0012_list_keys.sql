-- Keys under which peers list their user credentials to us (objects of a keyed list carry theirs); a few of each peer.
CREATE TABLE list_keys (
    row_id INTEGER PRIMARY KEY,
    peer TEXT NOT NULL,
    key BLOB NOT NULL,
    UNIQUE (peer, key)
) STRICT;
