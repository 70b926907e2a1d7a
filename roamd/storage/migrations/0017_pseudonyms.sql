-- By which name each peer knows a contract of ours; `name` is what the contract is known by however it is spelled.
CREATE TABLE pseudonyms (
    row_id INTEGER PRIMARY KEY,
    peer TEXT NOT NULL,
    pseudonym TEXT NOT NULL,
    name TEXT NOT NULL,
    contract_id TEXT NOT NULL,
    UNIQUE (pseudonym, peer),
    UNIQUE (name, peer)
) STRICT;
