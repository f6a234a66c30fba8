-- What erasure leaves to do and to remember: receipts whose bytes are still in the files, identities that are not to
-- come back, and the traces an erased person has in the rows of others.

-- The receipts to be stamped once their bytes are out of the files.
CREATE INDEX erasures_to_scrub ON erasures (workspace_id, erased_at) WHERE scrubbed_at IS NULL;

-- Identities of erased people who are not to be taken in again, as keyed hashes (HMAC-SHA-256).
CREATE TABLE suppressions (
    workspace_id UUID NOT NULL REFERENCES workspaces (id),
    kind TEXT NOT NULL,
    -- Of the value, in hex; one hash for all spellings of a phone number.
    hash TEXT NOT NULL,
    id UUID NOT NULL,
    -- The receipt it came with.
    erasure_id UUID NOT NULL,
    suppressed_at TIMESTAMPTZ NOT NULL,
    actor TEXT NOT NULL,
    request_id TEXT NOT NULL,
    -- Messages that named it and were dropped.
    dropped BIGINT NOT NULL DEFAULT 0,
    last_dropped_at TIMESTAMPTZ,
    -- Whether a key that arrives is on the list.
    PRIMARY KEY (workspace_id, kind, hash)
);
-- One entry by its id, and the list in the order it grew.
CREATE UNIQUE INDEX suppressions_by_id ON suppressions (workspace_id, id);

-- What the workspace's hashes are made with, beside the installation's own key: NULL until something is suppressed, so
-- that whoever suppresses nobody pays nothing. The check tells whether the installation's key is the same one.
ALTER TABLE workspaces ADD COLUMN suppression_salt TEXT;
ALTER TABLE workspaces ADD COLUMN suppression_check TEXT;

-- Rows of others that may quote an identity of somebody who is erased. Few: somebody had to send the one's key with the
-- other's.
CREATE INDEX events_with_refused ON events (workspace_id, profile_id) WHERE refused IS NOT NULL;
CREATE INDEX profile_history_of_refusals ON profile_history (workspace_id, profile_id) WHERE action = 'identity_refused';
