-- On a large directory this takes longer than a request's statement may.
SET LOCAL statement_timeout = 0;

-- Each event had a place in an index by type, a random one of a large index, though most people have few events and theirs are
-- found as quickly without it. Only events of people with very many need be there.
ALTER TABLE profile_documents ADD COLUMN event_count BIGINT NOT NULL DEFAULT 0;
UPDATE profile_documents SET event_count = c.n
FROM (SELECT workspace_id, profile_id, count(*) AS n FROM events GROUP BY workspace_id, profile_id) AS c
WHERE profile_documents.workspace_id = c.workspace_id AND profile_documents.profile_id = c.profile_id;

DROP INDEX events_by_type;
-- Whether the row is in the index by type. Of people with a thousand events and more every row is; of others, some may be: all
-- rows of before are, and what programs of before write, which may still be running and need not know of the column.
ALTER TABLE events ADD COLUMN in_long_timeline BOOLEAN NOT NULL DEFAULT true;
CREATE INDEX events_by_type ON events (workspace_id, profile_id, type, occurred_at, id) WHERE in_long_timeline;

-- Rows of one person lie all over the table here, so those of a type are told apart in the index of the timeline already. It
-- no longer says that an id is there once; the index of ids does.
ALTER TABLE events DROP CONSTRAINT events_pkey;
ALTER TABLE events ADD CONSTRAINT events_pkey PRIMARY KEY (workspace_id, profile_id, occurred_at, id, type);
DROP INDEX events_by_id;
CREATE UNIQUE INDEX events_by_id ON events (workspace_id, id);
