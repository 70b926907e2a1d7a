-- Commands: direction 'out' were asked by us of a peer, 'in' by a peer of us. command_id is the call's id in hex. No body
-- is kept, for it may name a driver; subject is a session's, location's or reservation's folded id. party asks, station is
-- the party whose station it is ('' if not known). answer_status NULL: not
-- answered yet. due_ms: when roamd has to look at it again by itself.
CREATE TABLE commands (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    direction TEXT NOT NULL,
    peer TEXT NOT NULL,
    command_id TEXT NOT NULL,
    command TEXT NOT NULL,
    party TEXT NOT NULL,
    station TEXT NOT NULL,
    subject TEXT NOT NULL,
    evse_uid TEXT,
    state TEXT NOT NULL,
    reason TEXT,
    late TEXT NOT NULL,
    authorization_reference TEXT,
    session_id TEXT,
    request_hash BLOB NOT NULL,
    answer_status INTEGER,
    answer BLOB,
    asked_ms INTEGER NOT NULL,
    expires_ms INTEGER NOT NULL,
    updated_ms INTEGER NOT NULL,
    due_ms INTEGER,
    UNIQUE (command_id, direction, peer)
) STRICT;
CREATE INDEX commands_by_reference ON commands (authorization_reference) WHERE authorization_reference IS NOT NULL;
CREATE INDEX commands_by_subject ON commands (subject, command);
CREATE INDEX commands_by_session ON commands (UPPER(session_id)) WHERE session_id IS NOT NULL;
CREATE INDEX commands_unanswered ON commands (direction, peer) WHERE answer_status IS NULL;
CREATE INDEX commands_due ON commands (due_ms) WHERE due_ms IS NOT NULL;
