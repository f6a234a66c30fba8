-- Duplicates are looked for beside the writes: how far the look-out has followed the change feed.
CREATE TABLE duplicate_cursors (
    workspace_id UUID NOT NULL PRIMARY KEY REFERENCES workspaces (id),
    -- The change up to which everybody's blocks and suggestions are in line.
    seq BIGINT NOT NULL,
    -- Rises with everything that is written about blocks and suggestions, so that whoever looked before looks again.
    revision BIGINT NOT NULL
);
-- Up to now they were kept in line by the writes themselves.
INSERT INTO duplicate_cursors (workspace_id, seq, revision) SELECT workspace_id, seq, 0 FROM change_heads;
