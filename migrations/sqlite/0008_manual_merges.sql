-- Merges asked for by hand, and merges taken back.

-- JSON object: what the caller chose, by field.
ALTER TABLE merges ADD COLUMN keep TEXT NOT NULL DEFAULT '{}';
-- JSON object: the secondary's rows of labels and segments as they were, which a union cannot give back.
ALTER TABLE merges ADD COLUMN secondary_rows TEXT;
-- Once taken back: whose the secondary's id is now; also who they were merged into since.
ALTER TABLE merges ADD COLUMN returned_profile_id BLOB;
ALTER TABLE merges ADD COLUMN reverted_at INTEGER;
ALTER TABLE merges ADD COLUMN reverted_by TEXT;
-- The entry it made in the survivor's history.
ALTER TABLE merges ADD COLUMN revert_record_id BLOB;
-- JSON list of what is not as it was before.
ALTER TABLE merges ADD COLUMN conflicts TEXT;
-- The merges somebody came back from, when they are erased and when they are listed.
CREATE INDEX merges_by_returned ON merges (workspace_id, returned_profile_id, id) WHERE returned_profile_id IS NOT NULL;

-- Sessions that a merge joined with others, as they were before.
CREATE TABLE merge_sessions (
    workspace_id BLOB NOT NULL,
    -- Who holds the merge.
    profile_id BLOB NOT NULL,
    merge_id BLOB NOT NULL,
    id BLOB NOT NULL,
    -- The session it became part of; its own id for that one.
    into_id BLOB NOT NULL,
    -- Whose it was.
    owner_profile_id BLOB NOT NULL,
    origin_profile_id BLOB NOT NULL,
    channel TEXT NOT NULL,
    sender_id TEXT,
    started_at INTEGER NOT NULL,
    ended_at INTEGER NOT NULL,
    event_count INTEGER NOT NULL,
    -- JSON object.
    properties TEXT NOT NULL,
    PRIMARY KEY (workspace_id, profile_id, merge_id, id),
    FOREIGN KEY (workspace_id, profile_id) REFERENCES profiles (workspace_id, id)
) STRICT, WITHOUT ROWID;

-- Ids of merges whose record went with somebody who was erased; nothing else of them.
CREATE TABLE merges_erased (
    workspace_id BLOB NOT NULL REFERENCES workspaces (id),
    id BLOB NOT NULL,
    PRIMARY KEY (workspace_id, id)
) STRICT, WITHOUT ROWID;
