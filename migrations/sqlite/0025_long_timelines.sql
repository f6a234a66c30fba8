-- Each event had a place in an index by type, a random one of a large index, though most people have few events and theirs are
-- found as quickly where they stand. Only events of people with very many need be there.
ALTER TABLE profile_documents ADD COLUMN event_count INTEGER NOT NULL DEFAULT 0;
UPDATE profile_documents SET event_count = c.n
FROM (SELECT workspace_id, profile_id, count(*) AS n FROM events GROUP BY workspace_id, profile_id) AS c
WHERE profile_documents.workspace_id = c.workspace_id AND profile_documents.profile_id = c.profile_id;

DROP INDEX events_by_type;
-- Whether the row is in the index by type. Of people with a thousand events and more every row is; of others, some may be: all
-- rows of before are, and what programs of before write, which need not know of the column.
ALTER TABLE events ADD COLUMN in_long_timeline INTEGER NOT NULL DEFAULT 1;
CREATE INDEX events_by_type ON events (workspace_id, profile_id, type, occurred_at, id) WHERE in_long_timeline;
