-- Messages of tracking SDKs that were not taken, for whoever looks after the sender. Nothing of what a message said is
-- kept: no payload, no identity, no trait; only where it stood, the sender's own id of it, and our words for what was
-- wrong. So nothing in it refers to a person, and erasure has nothing to remove. Bounded: what is older than seven days,
-- and what is beyond the newest ten thousand of a workspace, goes with the next ones that are written.
CREATE TABLE rejected_messages (
    workspace_id UUID NOT NULL REFERENCES workspaces (id),
    -- In the order they were rejected.
    id UUID NOT NULL,
    -- The write key it came with; keys may be gone later.
    api_key_id UUID NOT NULL,
    -- Its place in the batch, from 0.
    place BIGINT NOT NULL,
    message_id TEXT,
    code TEXT NOT NULL,
    detail TEXT NOT NULL,
    received_at TIMESTAMPTZ NOT NULL,
    -- The list, newest first, is the key read backwards.
    PRIMARY KEY (workspace_id, id)
);

-- What the sender's clock said; NULL where it said nothing. `occurred_at` is the first, corrected by how far that clock
-- was off.
ALTER TABLE events ADD COLUMN original_timestamp TIMESTAMPTZ;
ALTER TABLE events ADD COLUMN sent_at TIMESTAMPTZ;
