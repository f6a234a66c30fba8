-- What happens most often touches as little as possible. An event rewrites its person's document and nothing else of
-- theirs: when they were last seen, and how often they did what, stand beside the document. Lists are ordered and
-- filters answered in memory; what SQL needs for that while a model is being loaded, it reads from the rows themselves,
-- so the indexes that every write paid for go.

CREATE TABLE profile_documents_with_activity (
    workspace_id BLOB NOT NULL,
    profile_id BLOB NOT NULL,
    version INTEGER NOT NULL,
    -- 0001-01-01 for people never seen, so that they come last in the newest-first order.
    last_seen_at INTEGER NOT NULL,
    -- Its day since 1970: what the index knows, so that only the first event of a day moves a person in it.
    seen_day INTEGER NOT NULL,
    -- JSON object: by type of event, how many, the first, the last (see domain::activity).
    activity TEXT NOT NULL,
    -- Byte for byte what the API answers.
    document TEXT NOT NULL,
    PRIMARY KEY (workspace_id, profile_id),
    FOREIGN KEY (workspace_id, profile_id) REFERENCES profiles (workspace_id, id)
) STRICT;
INSERT INTO profile_documents_with_activity (workspace_id, profile_id, version, last_seen_at, seen_day, activity, document)
SELECT d.workspace_id, d.profile_id, d.version, p.last_seen_at,
       CASE WHEN p.last_seen_at >= 0 THEN p.last_seen_at / 86400000000 ELSE (p.last_seen_at - 86399999999) / 86400000000 END,
       coalesce(
           (SELECT json_group_object(':' || replace(replace(replace(t.type, '%', '%25'), '"', '%22'), '\', '%5C'), json_array(t.n, t.first, t.last))
            FROM (SELECT e.type, count(*) AS n, min(e.occurred_at) AS first, max(e.occurred_at) AS last
                  FROM events AS e WHERE e.workspace_id = d.workspace_id AND e.profile_id = d.profile_id GROUP BY e.type) AS t),
           '{}'
       ),
       d.document
FROM profile_documents AS d JOIN profiles AS p ON p.workspace_id = d.workspace_id AND p.id = d.profile_id;
DROP TABLE profile_documents;
ALTER TABLE profile_documents_with_activity RENAME TO profile_documents;
-- The newest seen come first in a list. Without the id, so that nobody is looked up here.
CREATE INDEX profile_documents_by_day ON profile_documents (workspace_id, seen_day);

DROP INDEX profiles_by_last_seen;
DROP INDEX profiles_by_updated;
DROP INDEX profiles_by_name;
DROP INDEX profiles_by_country;
DROP INDEX profile_channels_by_channel;
DROP INDEX profile_consents_by_status;
ALTER TABLE profiles DROP COLUMN version;
ALTER TABLE profiles DROP COLUMN last_seen_at;

-- Custom attributes in the form conditions compare, as on PostgreSQL: text as it is, numbers, dates and times as numbers
-- (microseconds), booleans, lists of texts.
ALTER TABLE profiles ADD COLUMN comparables TEXT NOT NULL DEFAULT '{}';
UPDATE profiles SET comparables = coalesce(
    (SELECT json_group_object(v.key, json(v.value))
     FROM (SELECT a.key AS key,
                  CASE p.type
                      WHEN 'text_list' THEN json_group_array(a.text)
                      WHEN 'boolean' THEN CASE WHEN max(a.number) = 1 THEN 'true' ELSE 'false' END
                      ELSE json_quote(coalesce(max(a.text), max(a.number)))
                  END AS value
           FROM profile_attributes AS a
           JOIN properties AS p ON p.workspace_id = a.workspace_id AND p.key = a.key
           WHERE a.workspace_id = profiles.workspace_id AND a.profile_id = profiles.id
           GROUP BY a.key, p.type) AS v),
    '{}'
);
DROP TABLE profile_attributes;

CREATE TABLE events_lighter (
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
    source TEXT NOT NULL,
    message_id TEXT,
    received_at INTEGER NOT NULL,
    -- JSON list of the identities that were not taken over; NULL when there were none.
    refused TEXT,
    -- Whose it was before any merge.
    origin_profile_id BLOB NOT NULL,
    -- The timeline of a person is one stretch of the table, read backwards; that of a session is a part of it.
    PRIMARY KEY (workspace_id, profile_id, occurred_at, id),
    FOREIGN KEY (workspace_id, profile_id) REFERENCES profile_documents (workspace_id, profile_id)
) STRICT, WITHOUT ROWID;
INSERT INTO events_lighter SELECT * FROM events;
DROP TABLE events;
ALTER TABLE events_lighter RENAME TO events;
-- How often a person did a thing lately, and the timeline of one type.
CREATE INDEX events_by_type ON events (workspace_id, profile_id, type, occurred_at, id);
-- One event by its id.
CREATE INDEX events_by_id ON events (workspace_id, id);
-- A message counts once, however often it is sent.
CREATE UNIQUE INDEX events_by_message ON events (workspace_id, source, message_id) WHERE message_id IS NOT NULL;

CREATE TABLE sessions_lighter (
    workspace_id BLOB NOT NULL,
    profile_id BLOB NOT NULL,
    ended_at INTEGER NOT NULL,
    id BLOB NOT NULL,
    origin_profile_id BLOB NOT NULL,
    -- Empty when its first event named none.
    channel TEXT NOT NULL,
    -- The sender's own id; NULL for sessions that inactivity divides.
    sender_id TEXT,
    started_at INTEGER NOT NULL,
    event_count INTEGER NOT NULL,
    -- JSON object; never part of the profile.
    properties TEXT NOT NULL,
    -- Those that ended lately stand together: what an arriving event may belong to, and the first page of a list.
    PRIMARY KEY (workspace_id, profile_id, ended_at, id),
    FOREIGN KEY (workspace_id, profile_id) REFERENCES profile_documents (workspace_id, profile_id)
) STRICT, WITHOUT ROWID;
INSERT INTO sessions_lighter (workspace_id, profile_id, ended_at, id, origin_profile_id, channel, sender_id, started_at, event_count, properties)
SELECT workspace_id, profile_id, ended_at, id, origin_profile_id, channel, sender_id, started_at, event_count, properties FROM sessions;
DROP TABLE sessions;
ALTER TABLE sessions_lighter RENAME TO sessions;
-- One session by its id.
CREATE UNIQUE INDEX sessions_by_id ON sessions (workspace_id, id);
-- The session its sender names.
CREATE INDEX sessions_by_sender ON sessions (workspace_id, sender_id) WHERE sender_id IS NOT NULL;
