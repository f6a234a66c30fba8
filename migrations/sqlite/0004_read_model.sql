-- Any part of any text is found in memory (the read model), which is faster and does not slow every write down. While it
-- is being loaded, texts are read along the orders of a list.
DROP TABLE profile_search;

-- The audit trail as a table with rows of its own: without them, SQLite gives a row of more than a quarter of a page a
-- whole further page, and most entries are that long.
CREATE TABLE profile_history_with_rows (
    workspace_id BLOB NOT NULL,
    profile_id BLOB NOT NULL,
    id BLOB NOT NULL,
    at INTEGER NOT NULL,
    action TEXT NOT NULL,
    source TEXT NOT NULL,
    actor TEXT NOT NULL,
    request_id TEXT NOT NULL,
    reason TEXT,
    version INTEGER NOT NULL,
    -- Names of the changed fields, each on a line of its own with a line break on both sides.
    fields TEXT NOT NULL,
    -- JSON list of {field, old, new}.
    changes TEXT NOT NULL,
    -- Whose entry it was before a merge; NULL: the profile's own.
    origin_profile_id BLOB,
    PRIMARY KEY (workspace_id, profile_id, id),
    FOREIGN KEY (workspace_id, profile_id) REFERENCES profiles (workspace_id, id)
) STRICT;
INSERT INTO profile_history_with_rows SELECT * FROM profile_history;
DROP TABLE profile_history;
ALTER TABLE profile_history_with_rows RENAME TO profile_history;
