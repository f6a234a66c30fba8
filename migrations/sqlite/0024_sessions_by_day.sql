-- A session stood in its table where it ended, so each event that went on with one moved it, and what leads to it by its id.
-- It stands on the day that it ended now, and moves once a day at most.
CREATE TABLE sessions_by_day (
    workspace_id BLOB NOT NULL,
    profile_id BLOB NOT NULL,
    -- Day of `ended_at` since 1970, in UTC.
    ended_day INTEGER NOT NULL,
    id BLOB NOT NULL,
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
    -- Those that ended lately stand together: what an arriving event may belong to, and the first page of a list.
    PRIMARY KEY (workspace_id, profile_id, ended_day, id),
    FOREIGN KEY (workspace_id, profile_id) REFERENCES profile_documents (workspace_id, profile_id) DEFERRABLE INITIALLY DEFERRED
) STRICT, WITHOUT ROWID;

INSERT INTO sessions_by_day (
    workspace_id, profile_id, ended_day, id, origin_profile_id, channel, sender_id, started_at, ended_at, event_count, properties
)
SELECT workspace_id, profile_id, (ended_at + 69120000000000000) / 86400000000 - 800000, id, origin_profile_id, channel, sender_id,
       started_at, ended_at, event_count, properties
FROM sessions;

DROP TABLE sessions;
ALTER TABLE sessions_by_day RENAME TO sessions;
CREATE UNIQUE INDEX sessions_by_id ON sessions (workspace_id, id);
CREATE INDEX sessions_by_sender ON sessions (workspace_id, sender_id) WHERE sender_id IS NOT NULL;
