-- Where an OCPI backend wants to hear what became of a command that it asked for: committed with the command, removed
-- with its last word. told: the result that it was told last, '' while it was told none. due_ms: from then on silence
-- counts as an outcome.
CREATE TABLE ocpi_results (
    command_id TEXT PRIMARY KEY,
    backend TEXT NOT NULL,
    url TEXT NOT NULL,
    told TEXT NOT NULL,
    asked_ms INTEGER NOT NULL,
    due_ms INTEGER NOT NULL
) STRICT;
CREATE INDEX ocpi_results_by_backend ON ocpi_results (backend);
