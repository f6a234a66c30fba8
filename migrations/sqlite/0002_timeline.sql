-- The timeline: events with what makes each one the same when it is sent again, sessions, and the traces of merges.
-- The table of events was there to be filtered and never filled, so it is made anew.

DROP TABLE events;

CREATE TABLE events (
    workspace_id BLOB NOT NULL,
    profile_id BLOB NOT NULL,
    occurred_at INTEGER NOT NULL,
    id BLOB NOT NULL,
    type TEXT NOT NULL,
    channel TEXT,
    -- JSON object.
    properties TEXT NOT NULL,
    session_id BLOB,
    -- Empty for POST /v1/events, the id of the write key for tracking SDKs.
    source TEXT NOT NULL DEFAULT '',
    message_id TEXT,
    received_at INTEGER NOT NULL,
    -- JSON list of the identities that were not taken over; NULL when there were none.
    refused TEXT,
    -- Whose it was before any merge.
    origin_profile_id BLOB NOT NULL,
    -- The timeline of a person is one stretch of the table, read backwards.
    PRIMARY KEY (workspace_id, profile_id, occurred_at, id),
    FOREIGN KEY (workspace_id, profile_id) REFERENCES profiles (workspace_id, id)
) STRICT, WITHOUT ROWID;
-- How often a person did a thing lately, and the timeline of one type.
CREATE INDEX events_by_type ON events (workspace_id, profile_id, type, occurred_at, id);
-- One event by its id.
CREATE INDEX events_by_id ON events (workspace_id, id);
-- A message counts once, however often it is sent.
CREATE UNIQUE INDEX events_by_message ON events (workspace_id, source, message_id) WHERE message_id IS NOT NULL;
-- The events of a session.
CREATE INDEX events_by_session ON events (workspace_id, session_id, occurred_at, id) WHERE session_id IS NOT NULL;

CREATE TABLE sessions (
    workspace_id BLOB NOT NULL,
    id BLOB NOT NULL,
    profile_id BLOB NOT NULL,
    origin_profile_id BLOB NOT NULL,
    -- Empty when its first event named none.
    channel TEXT NOT NULL,
    -- The sender's own id; NULL for sessions that inactivity divides.
    sender_id TEXT,
    started_at INTEGER NOT NULL,
    ended_at INTEGER NOT NULL,
    event_count INTEGER NOT NULL,
    -- JSON object; never part of the profile.
    properties TEXT NOT NULL,
    PRIMARY KEY (workspace_id, id),
    FOREIGN KEY (workspace_id, profile_id) REFERENCES profiles (workspace_id, id)
) STRICT, WITHOUT ROWID;
-- The sessions of a person, newest first.
CREATE INDEX sessions_by_profile ON sessions (workspace_id, profile_id, started_at, id);
-- The sessions an arriving event may belong to: those that ended lately, or the one its sender names.
CREATE INDEX sessions_by_end ON sessions (workspace_id, profile_id, channel, ended_at) WHERE sender_id IS NULL;
CREATE INDEX sessions_by_sender ON sessions (workspace_id, profile_id, sender_id) WHERE sender_id IS NOT NULL;

-- Ids of people who were merged into others, and who answers for them. Chains are flattened.
CREATE TABLE profile_redirects (
    workspace_id BLOB NOT NULL REFERENCES workspaces (id),
    profile_id BLOB NOT NULL,
    survivor_profile_id BLOB NOT NULL,
    PRIMARY KEY (workspace_id, profile_id)
) STRICT, WITHOUT ROWID;
-- The ids somebody answers for, to be turned when they are merged in their turn.
CREATE INDEX profile_redirects_by_survivor ON profile_redirects (workspace_id, survivor_profile_id);

-- Merges as they happened, with what is needed to explain them and to take them back.
CREATE TABLE merges (
    workspace_id BLOB NOT NULL,
    id BLOB NOT NULL,
    -- Who holds the record now: the survivor, also of later merges.
    profile_id BLOB NOT NULL,
    primary_id BLOB NOT NULL,
    secondary_id BLOB NOT NULL,
    automatic INTEGER NOT NULL,
    -- JSON documents of both, as they were before.
    primary_before TEXT NOT NULL,
    secondary_before TEXT NOT NULL,
    -- JSON object: rows moved by kind.
    moved TEXT NOT NULL,
    merged_at INTEGER NOT NULL,
    actor TEXT NOT NULL,
    request_id TEXT NOT NULL,
    reason TEXT,
    PRIMARY KEY (workspace_id, id),
    FOREIGN KEY (workspace_id, profile_id) REFERENCES profiles (workspace_id, id)
) STRICT, WITHOUT ROWID;
-- The merges of a person, newest first.
CREATE INDEX merges_by_profile ON merges (workspace_id, profile_id, id);

-- Whose entry it was before a merge; NULL: the profile's own.
ALTER TABLE profile_history ADD COLUMN origin_profile_id BLOB;
