-- Reconciliation looks for entries whose content is gone. There are few, and without this each look reads every entry.
CREATE INDEX entries_without_content ON entries (id) WHERE body IS NULL;
