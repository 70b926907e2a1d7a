-- Only what is said about records is looked for by their id; the records themselves have their place in records. So the
-- great number of entries need no index of their own.
DROP INDEX entries_by_record;
CREATE INDEX entries_about_records ON entries (record_id) WHERE kind > 3;
