-- How many own records of each peer are in each state: `roamd status` must not read them all. Kept by the store itself,
-- in whatever transaction changes a record. peer is '' for records that found none.
CREATE TABLE record_counts (
    peer TEXT NOT NULL,
    state TEXT NOT NULL,
    count INTEGER NOT NULL,
    PRIMARY KEY (peer, state)
) STRICT, WITHOUT ROWID;

INSERT INTO record_counts (peer, state, count)
SELECT coalesce(peer, ''), state, COUNT(*) FROM records WHERE direction = 'out' GROUP BY peer, state;

CREATE TRIGGER record_counts_added AFTER INSERT ON records WHEN NEW.direction = 'out' BEGIN
    INSERT INTO record_counts (peer, state, count) VALUES (coalesce(NEW.peer, ''), NEW.state, 1)
    ON CONFLICT (peer, state) DO UPDATE SET count = count + 1;
END;

CREATE TRIGGER record_counts_gone AFTER DELETE ON records WHEN OLD.direction = 'out' BEGIN
    UPDATE record_counts SET count = count - 1 WHERE peer = coalesce(OLD.peer, '') AND state = OLD.state;
END;

CREATE TRIGGER record_counts_moved AFTER UPDATE OF peer, state ON records
WHEN NEW.direction = 'out' AND (NEW.state <> OLD.state OR NEW.peer IS NOT OLD.peer) BEGIN
    UPDATE record_counts SET count = count - 1 WHERE peer = coalesce(OLD.peer, '') AND state = OLD.state;
    INSERT INTO record_counts (peer, state, count) VALUES (coalesce(NEW.peer, ''), NEW.state, 1)
    ON CONFLICT (peer, state) DO UPDATE SET count = count + 1;
END;
