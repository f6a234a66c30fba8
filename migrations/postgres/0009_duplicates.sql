-- Who may be one person with whom: the blocks people stand in, the pairs suggested, and what is common in a workspace.

-- Points from which a pair is suggested.
ALTER TABLE workspaces ADD COLUMN duplicate_threshold BIGINT NOT NULL DEFAULT 20;
-- Rises with every census, so that a cached copy knows that it is old.
ALTER TABLE workspaces ADD COLUMN census_version BIGINT NOT NULL DEFAULT 0;

-- The blocks each person stands in: numbers that nothing of the person can be read off (domain::duplicate). Only people
-- who share one are compared.
CREATE TABLE duplicate_keys (
    workspace_id UUID NOT NULL,
    profile_id UUID NOT NULL,
    key BIGINT NOT NULL,
    -- A newcomer's rows go to the end.
    PRIMARY KEY (workspace_id, profile_id, key),
    FOREIGN KEY (workspace_id, profile_id) REFERENCES profiles (workspace_id, id)
);
-- Everyone in a block.
CREATE INDEX duplicate_keys_by_key ON duplicate_keys (workspace_id, key, profile_id);

CREATE TABLE duplicate_suggestions (
    workspace_id UUID NOT NULL,
    id UUID NOT NULL,
    -- The two, the lower id first.
    profile_id UUID NOT NULL,
    other_profile_id UUID NOT NULL,
    -- Tenths of a point.
    score BIGINT NOT NULL,
    -- JSON list of {field, level, tenths, detail}.
    reasons JSONB NOT NULL,
    -- Kinds of the keys by which one message named both, with spaces between; such a pair stays whatever its score.
    named_by TEXT NOT NULL,
    -- A dismissed pair stays dismissed: its row is what remembers it.
    status TEXT NOT NULL CHECK (status IN ('open', 'dismissed')),
    found_at TIMESTAMPTZ NOT NULL,
    dismissed_at TIMESTAMPTZ,
    dismissed_by TEXT,
    PRIMARY KEY (workspace_id, id),
    -- Once per pair, and everyone suggested beside a person...
    UNIQUE (workspace_id, profile_id, other_profile_id),
    FOREIGN KEY (workspace_id, profile_id) REFERENCES profiles (workspace_id, id),
    FOREIGN KEY (workspace_id, other_profile_id) REFERENCES profiles (workspace_id, id)
);
-- ... from either side.
CREATE INDEX duplicate_suggestions_by_other ON duplicate_suggestions (workspace_id, other_profile_id);
-- The list, best first.
CREATE INDEX duplicate_suggestions_by_score ON duplicate_suggestions (workspace_id, status, score, id);

-- How often values occur, as the last scan counted them: common values only, which are nobody's in particular.
CREATE TABLE duplicate_censuses (
    workspace_id UUID NOT NULL PRIMARY KEY REFERENCES workspaces (id),
    -- JSON object (domain::duplicate::Frequencies).
    frequencies JSONB NOT NULL,
    taken_at TIMESTAMPTZ NOT NULL
);
